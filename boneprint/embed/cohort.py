"""Strangers' radiographs, by which distances from a bone are put right.

Some bones are near to the radiographs of everybody: they look as most do, or their fingerprints lie where many lie. A
small distance from such a bone says less than the same distance from another. How near the radiographs of strangers,
whom no database holds, come to a bone tells it: distances from the bone are measured by it. Biometrics calls this zero
normalisation of scores.

References
----------
R. Auckenthaler, M. Carey, H. Lloyd-Thomas, "Score normalization for text-independent speaker verification systems",
Digital Signal Processing 10, 42-54, 2000; of the nearest strangers only: D. E. Sturim, D. A. Reynolds, "Speaker
adaptive cohort selection for Tnorm in text-independent speaker verification", ICASSP 2005.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from boneprint.embed.card import name_of, sha256_of
from boneprint.errors import BoneprintError

FloatArray: TypeAlias = NDArray[np.float32]
# Kind of bone, and height of the canvas in mm.
Place: TypeAlias = tuple[str, float]

# Chosen on calibration femora, of which half were strangers to the others, with the weights compact-3: from a tenth to
# a half of the strangers it made no difference.
_NEAREST_SHARE = 0.2
# No factor is larger, or smaller than its inverse: so it can be proved that no bone was missed which nobody looked at.
MOST = 1.25


@dataclass(frozen=True, eq=False)
class Cohort:
    """Fingerprints of strangers' radiographs, and how near they usually come.

    Parameters
    ----------
    strangers : (M, D) unit rows for each kind of bone and canvas
    usual : distance of a bone from its nearest strangers, on average over bones of that kind on that canvas
    """

    strangers: Mapping[Place, FloatArray] = field(default_factory=dict)
    usual: Mapping[Place, float] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """No factor is larger, or smaller than its inverse."""
        return MOST if self.usual else 1.0

    def nearness(self, views: NDArray[np.floating], place: Place) -> float:
        """Mean distance of a bone, (V, D) views, from the nearest fifth of the strangers of its kind and canvas."""
        alike = (self.strangers[place] @ views.astype(np.float32, copy=False).T).max(axis=1)
        distance = np.sqrt(np.maximum(2 - 2 * alike.astype(np.float64), 0))
        nearest = max(1, round(_NEAREST_SHARE * len(distance)))
        return float(np.partition(distance, nearest - 1)[:nearest].mean())

    def factor(self, views: NDArray[np.floating], place: Place) -> float:
        """What distances from a bone are multiplied by: more than 1 where strangers come nearer to it than usual.

        1 for a kind of bone or a canvas without strangers.
        """
        if place not in self.usual:
            return 1.0
        return float(np.clip(self.usual[place] / max(self.nearness(views, place), 1e-6), 1 / MOST, MOST))


def write_cohort(weights: Path, cohort: Cohort) -> dict[str, Any]:
    """Write the strangers beside weights; returns the entry for their card."""
    path = cohort_path(weights)
    written = path.with_suffix(".tmp")
    rows = {f"{bone}/{canvas_mm:g}": each for (bone, canvas_mm), each in cohort.strangers.items()}
    save_file({name: np.ascontiguousarray(each, dtype=np.float16) for name, each in rows.items()}, written)
    written.chmod(0o644)  # safetensors keeps its files to their owner
    written.replace(path)
    usual = {f"{bone}/{canvas_mm:g}": each for (bone, canvas_mm), each in cohort.usual.items()}
    return {"sha256": sha256_of(path), "usual": usual}


def read_cohort(weights: Path, card: Mapping[str, Any]) -> Cohort:
    """The strangers of some weights; none where their card names none.

    Raises
    ------
    BoneprintError
        If the card names some, and the file is missing or another one.
    """
    entry = card.get("cohort")
    if entry is None:
        return Cohort()
    path = cohort_path(weights)
    if not path.is_file():
        raise BoneprintError(f"{path}: no such file, but the card of {card['name']} names it; copy it beside the card.")
    found = sha256_of(path)
    if found != entry["sha256"]:
        raise BoneprintError(
            f"{path}: SHA-256 {found[:12]}..., the card expects {entry['sha256'][:12]}...; copy weights, cohort and "
            "card again, together."
        )
    try:
        rows = load_file(path)
    except SafetensorError as error:
        raise BoneprintError(f"{path}: cannot be read ({error}); copy it again.") from error
    return Cohort(
        {_place(name): each.astype(np.float32) for name, each in rows.items()},
        {_place(name): float(each) for name, each in entry["usual"].items()},
    )


def cohort_path(weights: Path) -> Path:
    """NAME.cohort.safetensors, for the weights NAME."""
    return weights.with_name(name_of(weights) + ".cohort.safetensors")


def _place(name: str) -> Place:
    bone, _, canvas_mm = name.rpartition("/")
    return bone, float(canvas_mm)
