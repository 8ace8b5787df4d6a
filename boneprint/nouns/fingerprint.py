"""A template: what is left of radiographs once they have been embedded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """P radiographs of one bone, embedded; can be stored and searched with later, without torch.

    Parameters
    ----------
    vectors : for each canvas height in mm, (P, D) float32 unit rows
    embedder : id of what made them
    all_round : whether the views show one bone from all sides, as those of a CT do
    angles_deg : (P,) directions that the radiographs were taken from, about the long axis; None if unknown
    notes : sentences for the user about the CT

    Raises
    ------
    BoneprintError
        If there are no vectors, or not the same number on every canvas; or if not every one has an angle.
    """

    vectors: Mapping[float, NDArray[np.float32]]
    embedder: str
    all_round: bool = False
    angles_deg: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {np.shape(rows) for rows in self.vectors.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise BoneprintError(
                f"fingerprint: vectors of shapes {sorted(shapes)}, expected one shape (P, D) for every canvas."
            )
        if self.angles_deg is not None and len(self.angles_deg) != self.probes:
            raise BoneprintError(
                f"{self.probes} radiographs and {len(self.angles_deg)} angles, expected one angle for each radiograph."
            )

    @property
    def probes(self) -> int:
        """P, the number of radiographs."""
        return len(next(iter(self.vectors.values())))
