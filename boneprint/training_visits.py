"""Bones of the training stream as life shows them: their views, and radiographs after two later visits, on disk.

The last course is taught on some of them (`radiograph_lessons`), and the last layer learns from others how far such
radiographs lie from the views of their own bone (`whitening_set`). Nobody else sees either.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boneprint import two_visits
from boneprint._version import RENDERING
from boneprint.simulate import HEALTHY, TRAINING, Body, Condition, individual
from boneprint.training_recipe import CAT, LONG, PIECE, piece
from boneprint.two_visits import Visited


class Numbers(NamedTuple):
    """From which number on people are counted: whole bones, and those of whom an end of a long bone is left."""

    whole: int
    pieces: int


_SELDOM = 0.1  # of visits at which neighbours are in the picture have each of the other conditions, too
# Beyond all whose bodies are trained on (`training_recipe`), and apart from each other.
WHITENED_BY, TAUGHT_ON = Numbers(600_000, 750_000), Numbers(610_000, 760_000)


def build(
    seed: int,
    counts: Mapping[str, int],
    numbers: Numbers,
    folder: Path,
    *,
    harmed: tuple[int, ...] = (),
    marked: bool = False,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Render so many bones of each kind, one file each, or go on where an earlier run stopped.

    Parameters
    ----------
    harmed : visits, beside those after which bones are as they were, by which something has happened to them
    marked : it is said where in the radiographs the bone is
    """
    paths: dict[str, list[Path]] = {kind: [] for kind in counts}
    wanted = {}
    for kind, count in counts.items():
        first = numbers.pieces if kind == PIECE else numbers.whole
        for index in range(first, first + count):
            paths[kind].append(folder / f"{RENDERING}-{seed}-{kind}-{index}.npz")
            wanted[paths[kind][-1]] = replace(_visited(seed, kind, index, harmed), marked=marked)
    two_visits.build(wanted, workers, report)
    return paths


def _visited(seed: int, kind: str, index: int, harmed: tuple[int, ...] = ()) -> Visited:
    of, condition = piece(seed, index) if kind == PIECE else ("femur" if kind == CAT else kind, HEALTHY)
    body = individual(seed, index, bone=of, species="cat" if kind == CAT else "human", stream=TRAINING)
    harms = {session: _harm(body, condition, np.random.default_rng((seed, index, session))) for session in harmed}
    return Visited(body, condition, changes=harms)


def _harm(body: Body, condition: Condition, rng: np.random.Generator) -> Condition:
    """Something that has happened to a bone, mostly one thing or two; a piece loses no more than its surface.

    What is not long lies between its neighbours, and mostly nothing else has happened to it.
    """
    long = body.bone in LONG and condition == HEALTHY
    while True:
        drawn = Condition.drawn(rng, share=0.25 if long else _SELDOM, implants=body.implants)
        if not long:
            drawn = replace(drawn, neighbours=True)
        if replace(drawn, seed=0) != HEALTHY:
            break
    if condition == HEALTHY:
        return drawn
    return replace(condition, neighbours=True, erosion_mm=drawn.erosion_mm, osteoporosis=drawn.osteoporosis)
