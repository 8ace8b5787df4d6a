"""Bones of which the network learns last: how far realistic radiographs lie from the views of their own bone.

They come from the stream of training, are not trained on otherwise, and are neither calibrated nor tested with.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import training_visits, two_visits
from boneprint.nouns import canvas_of_height
from boneprint.training_recipe import PIECE
from boneprint.two_visits import SESSIONS, SIDES

if TYPE_CHECKING:
    from boneprint.embed import Embedder

# So many bones of each kind as two cores can render in twelve minutes (measured: 700 s).
COUNTS: Final[Mapping[str, int]] = {
    "femur": 120,
    "tibia": 60,
    "humerus": 60,
    "radius": 60,
    "vertebra": 120,
    "hip": 120,
    "lump": 60,
    PIECE: 90,
}


def build(
    seed: int,
    counts: Mapping[str, int],
    folder: Path,
    *,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Render so many bones of each kind, one file each, or go on where an earlier run stopped."""
    return training_visits.build(seed, counts, training_visits.WHITENED_BY, folder, workers=workers, report=report)


def differences(paths: Iterable[Path], embedder: "Embedder") -> dict[bool, torch.Tensor]:
    """Fingerprint of each radiograph less that of its bone's nearest view: (N, D), by whether the canvas is tall."""
    found: dict[bool, list[NDArray[np.float32]]] = {}
    for path in paths:
        arrays = two_visits.load(path)
        canvas = canvas_of_height(float(arrays["canvas_mm"]))
        views = two_visits.enrolled(arrays, embedder)
        taken = [two_visits.radiograph(arrays, session, side) for session in SESSIONS for side in SIDES]
        probes = embedder.embed(taken, canvas)
        nearest = views[(probes @ views.T).argmax(axis=1)]
        found.setdefault(canvas.height_mm > canvas.width_mm, []).append(probes - nearest)
    return {tall: torch.from_numpy(np.concatenate(each)) for tall, each in found.items()}
