"""Bones of the training stream as life shows them: their views, and radiographs after two later visits, on disk.

The last course is taught on some of them (`radiograph_lessons`), and the last layer learns from others how far such
radiographs lie from the views of their own bone (`whitening_set`). Nobody else sees either.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from boneprint import two_visits
from boneprint._version import __version__
from boneprint.simulate import TRAINING, individual
from boneprint.training_recipe import CAT, PIECE, piece
from boneprint.two_visits import Visited


class Numbers(NamedTuple):
    """From which number on people are counted: whole bones, and those of whom an end of a long bone is left."""

    whole: int
    pieces: int


# Beyond all whose bodies are trained on (`training_recipe`), and apart from each other.
WHITENED_BY, TAUGHT_ON = Numbers(600_000, 750_000), Numbers(610_000, 760_000)


def build(
    seed: int,
    counts: Mapping[str, int],
    numbers: Numbers,
    folder: Path,
    *,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Render so many bones of each kind, one file each, or go on where an earlier run stopped."""
    paths: dict[str, list[Path]] = {kind: [] for kind in counts}
    wanted = {}
    for kind, count in counts.items():
        first = numbers.pieces if kind == PIECE else numbers.whole
        for index in range(first, first + count):
            paths[kind].append(folder / f"{__version__}-{seed}-{kind}-{index}.npz")
            wanted[paths[kind][-1]] = _visited(seed, kind, index)
    two_visits.build(wanted, workers, report)
    return paths


def _visited(seed: int, kind: str, index: int) -> Visited:
    if kind == CAT:
        return Visited(individual(seed, index, bone="femur", species="cat", stream=TRAINING))
    if kind != PIECE:
        return Visited(individual(seed, index, bone=kind, stream=TRAINING))
    of, condition = piece(seed, index)
    return Visited(individual(seed, index, bone=of, stream=TRAINING), condition)
