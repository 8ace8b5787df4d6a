"""Bones that nobody trains on and nobody is tested with: their views and radiographs, for fixing thresholds."""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import two_visits
from boneprint._version import __version__
from boneprint.evidence import ONE_PROBE, PAIR, TWO_PROBES
from boneprint.evidence.metrics import Comparisons
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.probe import can_hold, canvas_of_contents, content_mm
from boneprint.simulate import CALIBRATION, individual
from boneprint.two_visits import SIDES

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

_SESSIONS = (2, 3)  # visits after the first, each with a radiograph of every side
# A canvas is calibrated where at least this share of the comparisons of one bone is made on it: on fewer than a
# dozen nothing can be seen.
_ENOUGH = 0.1

CONTENT = (
    f"enrolled from a first scan, probed after a second and a third one by another scanner, within "
    f"{two_visits.AXIS_DEG:g} degrees about the long axis of {' or '.join(SIDES)}, {two_visits.PLANE_DEG:g} in plane, "
    f"tilt sd {two_visits.TILT_DEG:g}; {two_visits.CONTENT}"
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
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        bone: [folder / f"{__version__}-{seed}-{bone}-{index:04d}.npz" for index in range(count)]
        for bone, count in counts.items()
    }
    listed = [(bone, index, path) for bone, each in paths.items() for index, path in enumerate(each)]
    waiting = [each for each in listed if not each[2].exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_render, seed, *each) for each in waiting]
        for done, job in enumerate(jobs, 1):
            job.result()
            if report:
                report(len(listed) - len(waiting) + done, len(listed))
    return paths


def measure(paths: list[Path], embedder: "Embedder") -> dict[str, Measured]:
    """Compare every one of some bones of ``build`` with every one, in each kind of comparison, as the product does.

    Enrolled bones are seen on their own canvas, and a probe on each of these that can hold it; two radiographs on the
    canvas that holds both.
    """
    bones = [_loaded(path) for path in paths]
    taken = [_radiograph(arrays, f"{session}-{side}") for arrays in bones for side in SIDES for session in _SESSIONS]
    shape = (len(bones), len(SIDES), len(_SESSIONS))
    sizes = np.array([content_mm(radiograph) for radiograph in taken]).reshape(*shape, 2)

    @cache
    def templates(canvas_mm: float) -> NDArray[np.float32]:
        return embedder.embed(taken, canvas_of_height(canvas_mm)).reshape(*shape, -1)

    own = np.array([float(arrays["canvas_mm"]) for arrays in bones])
    # (side, picture, probed bone, enrolled bone): distance to the nearest view, infinite where none is compared
    nearest = np.full((*shape[1:], len(bones), len(bones)), np.inf)
    for column, (arrays, canvas_mm) in enumerate(zip(bones, own.tolist())):
        views = torch.from_numpy(two_visits.all_round(arrays["pixels"].astype(np.float32)))
        enrolled = embedder.embed_tensors(views, float(arrays["spacing_mm"]), canvas_of_height(canvas_mm)).cpu().numpy()
        apart = _distance((templates(canvas_mm) @ enrolled.T).max(axis=-1))
        held = np.vectorize(can_hold)(canvas_mm, sizes[..., 0])
        nearest[..., column] = np.where(held, apart, np.inf).transpose(1, 2, 0)
    fused = np.sqrt((nearest**2).mean(axis=0))

    # (side, bone, bone): the later picture of the one and the still later one of the other
    fields = np.array(
        [
            [[canvas_of_contents([one, other]).height_mm for other in sizes[:, side, 1]] for one in sizes[:, side, 0]]
            for side in range(len(SIDES))
        ]
    )
    pairs = np.zeros(fields.shape)
    for canvas_mm in np.unique(fields).tolist():
        first, second = np.moveaxis(templates(canvas_mm), 2, 0).swapaxes(1, 2)
        pairs = np.where(fields == canvas_mm, _distance(first @ second.swapaxes(1, 2)), pairs)
    return {
        PAIR: Measured(_listed(pairs), _frequent(np.diagonal(fields, axis1=1, axis2=2))),
        ONE_PROBE: Measured(_listed(nearest.reshape(-1, *nearest.shape[2:])), _frequent(own)),
        TWO_PROBES: Measured(_listed(fused), _frequent(own)),
    }


def _distance(cosine: NDArray[np.floating]) -> NDArray[np.floating]:
    """Between unit vectors."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosine, 0)))


def _frequent(canvas_mm: NDArray[np.float64]) -> tuple[float, ...]:
    heights, times = np.unique(canvas_mm, return_counts=True)
    return tuple(heights[times >= _ENOUGH * canvas_mm.size].tolist())


def _listed(distances: NDArray[np.floating]) -> Comparisons:
    """Stacked (N, N) matrices of distances between numbered bones as one list; who misses itself stays in it."""
    first, second = (np.broadcast_to(grid, distances.shape) for grid in np.indices(distances.shape[1:]))
    made = np.isfinite(distances) | (first == second)
    return Comparisons(distances[made].astype(np.float64), first[made], second[made])


def _render(seed: int, bone: str, index: int, path: Path) -> None:
    torch.set_num_threads(1)
    body = individual(seed, index, bone=bone, stream=CALIBRATION)
    arrays = dict(two_visits.views(body))
    for session in _SESSIONS:
        taken = two_visits.probes(body, session=session)
        arrays.update({f"{session}-{name}": array for name, array in taken.items()})
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def _loaded(path: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _radiograph(arrays: dict[str, NDArray[np.generic]], name: str) -> Radiograph:
    return Radiograph(arrays[name].astype(np.float32), float(arrays[f"{name}_mm"]), None, name)
