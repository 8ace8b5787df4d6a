"""Bones that nobody trains on and nobody is tested with: their views and radiographs, for fixing thresholds.

And strangers, of whom only radiographs are needed: by them distances from a bone are measured (`embed.cohort`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from boneprint import directions, two_visits
from boneprint._version import RENDERING
from boneprint.drr import enrolment_directions
from boneprint.embed.cohort import Cohort, FloatArray, Place
from boneprint.evidence import BIPLANE, ONE_PROBE, PAIR, TWO_PROBES, UNSAID
from boneprint.evidence.metrics import Comparisons, equal_error_rate
from boneprint.nouns import canvas_of_height
from boneprint.probe import can_hold, canvas_of_contents, content_mm
from boneprint.simulate import CALIBRATION, Body, Condition, individual
from boneprint.training_recipe import LONG
from boneprint.two_visits import SESSIONS, SIDES

if TYPE_CHECKING:
    from boneprint.embed import Embedder

# So many simulated bones of each kind (lumps are no bones) as two cores can render in ten minutes. A false match rate
# of 1e-3 wants 1,000 comparisons of different bones at least: 60 bones make 7,080 pairs of radiographs.
COUNTS: Final[Mapping[str, int]] = {
    "femur": 120,
    "tibia": 60,
    "humerus": 60,
    "radius": 60,
    "vertebra": 60,
    "hip": 60,
}

# Strangers of each kind, of whom only radiographs are needed: one of each side.
STRANGERS: Final = 60
_FIRST_STRANGER = 10_000  # of the stream; calibration bones are numbered from 0

# A canvas is calibrated where at least this share of the comparisons of one bone is made on it; they are judged by all
# canvases of the kind together. On fewer than three of 60 bones nothing can be seen.
_ENOUGH = 0.05

NOBODY = Cohort()

CONTENT = (
    f"enrolled from a first scan, probed after a second and a third one by another scanner, within "
    f"{two_visits.AXIS_DEG:g} degrees about the long axis of {' or '.join(SIDES)}, {two_visits.PLANE_DEG:g} in plane, "
    f"tilt sd {two_visits.TILT_DEG:g}; vertebrae and hip bones alone at one visit and between their neighbours at the "
    f"other; {two_visits.CONTENT}"
)


@dataclass(frozen=True, eq=False)
class Measured:
    """Comparisons of bones of one kind, and the heights of the canvases that they were made on, in mm."""

    comparisons: Comparisons
    canvas_heights_mm: tuple[float, ...]


def build(
    seed: int,
    counts: Mapping[str, int],
    folder: Path,
    *,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Render so many bones of each kind, one file each, or go on where an earlier run stopped."""
    return _build(seed, {bone: range(count) for bone, count in counts.items()}, folder, workers, report)


def build_strangers(
    seed: int,
    kinds: Iterable[str],
    folder: Path,
    *,
    count: int = STRANGERS,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Render the radiographs of strangers of each kind, one file each, or go on where an earlier run stopped."""
    numbers = range(_FIRST_STRANGER, _FIRST_STRANGER + count)
    return _build(seed, dict.fromkeys(kinds, numbers), folder, workers, report)


def _build(
    seed: int,
    numbers: Mapping[str, range],
    folder: Path,
    workers: int,
    report: Callable[[int, int], None] | None,
) -> dict[str, list[Path]]:
    paths = {
        bone: {index: folder / f"{RENDERING}-{seed}-{bone}-{index:04d}.npz" for index in each}
        for bone, each in numbers.items()
    }
    wanted = {
        path: _visited(individual(seed, index, bone=bone, stream=CALIBRATION), stranger=index >= _FIRST_STRANGER)
        for bone, of_bone in paths.items()
        for index, path in of_bone.items()
    }
    two_visits.build(wanted, workers, report)
    return {bone: list(of_bone.values()) for bone, of_bone in paths.items()}


def _visited(body: Body, *, stranger: bool) -> two_visits.Visited:
    """What is not long is alone in its flesh at one visit, and lies between its neighbours at the other."""
    if stranger:
        return two_visits.Visited(body, sessions=SESSIONS[:1], stranger=True)
    if body.bone in LONG:
        return two_visits.Visited(body)
    return two_visits.Visited(body, sessions=SESSIONS[:1], changes={SESSIONS[1]: Condition(neighbours=True)})


def cohort(paths: Mapping[str, list[Path]], strangers: Mapping[str, list[Path]], embedder: "Embedder") -> Cohort:
    """How near strangers come to bones of each kind, on each canvas that enough of these are seen on.

    Parameters
    ----------
    paths, strangers : of ``build`` and ``build_strangers``, by kind of bone
    """
    rows: dict[Place, FloatArray] = {}
    usual: dict[Place, float] = {}
    for bone, of_bone in paths.items():
        enrolled: dict[float, list[FloatArray]] = {}
        for arrays in map(two_visits.load, of_bone):
            enrolled.setdefault(float(arrays["canvas_mm"]), []).append(two_visits.enrolled(arrays, embedder))
        taken = [
            two_visits.radiograph(arrays, SESSIONS[0], side)
            for arrays in map(two_visits.load, strangers[bone])
            for side in SIDES
        ]
        for canvas_mm, bones in enrolled.items():
            if len(bones) >= _ENOUGH * len(of_bone):
                place = bone, canvas_mm
                # As they will be read back.
                rows[place] = embedder.embed(taken, canvas_of_height(canvas_mm)).astype(np.float16).astype(np.float32)
                found = Cohort(rows)
                usual[place] = float(np.mean([found.nearness(views, place) for views in bones]))
    return Cohort(rows, usual)


def measure(paths: list[Path], embedder: "Embedder", bone: str = "", strangers: Cohort = NOBODY) -> dict[str, Measured]:
    """Compare every one of some bones of ``build`` with every one, in each kind of comparison, as the product does.

    Enrolled bones are seen on their own canvas, and a probe on each of these that can hold it; two radiographs on the
    one of them on which such pairs are told apart best, which is chosen here; where their kind is not said, on the
    canvas that holds both.

    Parameters
    ----------
    bone : their kind
    strangers : by whom distances from an enrolled bone are measured
    """
    bones = [two_visits.load(path) for path in paths]
    taken = [two_visits.radiograph(arrays, session, side) for arrays in bones for side in SIDES for session in SESSIONS]
    shape = (len(bones), len(SIDES), len(SESSIONS))
    sizes = np.array([content_mm(radiograph) for radiograph in taken]).reshape(*shape, 2)

    @cache
    def templates(canvas_mm: float) -> NDArray[np.float32]:
        return embedder.embed(taken, canvas_of_height(canvas_mm)).reshape(*shape, -1)

    own = np.array([float(arrays["canvas_mm"]) for arrays in bones])
    # (side, picture, probed bone, enrolled bone): distance to the nearest view, infinite where none is compared
    nearest = np.full((*shape[1:], len(bones), len(bones)), np.inf)
    # (picture, probed bone, enrolled bone): both sides compared together
    joint = np.full(nearest.shape[1:], np.inf)
    for column, (arrays, canvas_mm) in enumerate(zip(bones, own.tolist())):
        enrolled = two_visits.enrolled(arrays, embedder)
        views_deg, _ = enrolment_directions(long="tilted" not in arrays)
        factor = strangers.factor(enrolled, (bone, canvas_mm))
        squared = _squared(templates(canvas_mm) @ enrolled.T)
        held = np.vectorize(can_hold)(canvas_mm, sizes[..., 0])
        apart = np.where(held, factor * np.sqrt(squared.min(axis=-1)), np.inf)
        nearest[..., column] = apart.transpose(1, 2, 0)
        both, _ = directions.together(squared.swapaxes(0, 1), views_deg, list(SIDES.values()))
        joint[..., column] = np.where(held.all(axis=1), factor * np.sqrt(both), np.inf).T
    fused = np.sqrt((nearest**2).mean(axis=0))

    return {
        PAIR: _pairs({canvas_mm: templates(canvas_mm) for canvas_mm in _frequent(own)}),
        ONE_PROBE: Measured(_listed(nearest.reshape(-1, *nearest.shape[2:])), _frequent(own)),
        TWO_PROBES: Measured(_listed(fused), _frequent(own)),
        BIPLANE: Measured(_listed(joint), _frequent(own)),
        UNSAID: _unsaid(templates, sizes),
    }


def _pairs(templates: Mapping[float, NDArray[np.float32]]) -> Measured:
    """The later radiograph of each bone and the still later one of every, on the canvas that tells them apart best.

    Parameters
    ----------
    templates : (bone, side, picture, D) of each canvas that bones of the kind are enrolled on
    """
    found = []
    for canvas_mm, vectors in templates.items():
        first, second = np.moveaxis(vectors, 2, 0).swapaxes(1, 2)
        found.append(Measured(_listed(np.sqrt(_squared(first @ second.swapaxes(1, 2)))), (canvas_mm,)))
    return min(found, key=lambda measured: equal_error_rate(measured.comparisons))


def _unsaid(templates: Callable[[float], NDArray[np.float32]], sizes_mm: NDArray[np.float64]) -> Measured:
    """The same pairs, each on the canvas that holds both.

    Parameters
    ----------
    templates : (bone, side, picture, D) of a canvas
    sizes_mm : (bone, side, picture, 2) heights and widths of what is shown
    """
    fields = np.array(
        [
            [[canvas_of_contents([one, other]).height_mm for other in of_side[:, 1]] for one in of_side[:, 0]]
            for of_side in sizes_mm.swapaxes(0, 1)
        ]
    )
    pairs = np.zeros(fields.shape)
    for canvas_mm in np.unique(fields).tolist():
        first, second = np.moveaxis(templates(canvas_mm), 2, 0).swapaxes(1, 2)
        pairs = np.where(fields == canvas_mm, np.sqrt(_squared(first @ second.swapaxes(1, 2))), pairs)
    return Measured(_listed(pairs), _frequent(np.diagonal(fields, axis1=1, axis2=2)))


def _squared(cosine: NDArray[np.floating]) -> NDArray[np.floating]:
    """Squared distances of unit vectors."""
    return np.asarray(np.maximum(2 - 2 * cosine, 0))


def _frequent(canvas_mm: NDArray[np.float64]) -> tuple[float, ...]:
    heights, times = np.unique(canvas_mm, return_counts=True)
    return tuple(heights[times >= _ENOUGH * canvas_mm.size].tolist())


def _listed(distances: NDArray[np.floating]) -> Comparisons:
    """Stacked (N, N) matrices of distances between numbered bones as one list; who misses itself stays in it."""
    first, second = (np.broadcast_to(grid, distances.shape) for grid in np.indices(distances.shape[1:]))
    made = np.isfinite(distances) | (first == second)
    return Comparisons(distances[made].astype(np.float64), first[made], second[made])
