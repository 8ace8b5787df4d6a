"""Bones that nobody trains on and nobody is tested with: their views and radiographs, for fixing thresholds."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import two_visits
from boneprint._version import __version__
from boneprint.evidence import ONE_PROBE, PAIR, TWO_PROBES
from boneprint.evidence.metrics import Comparisons
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.simulate import CALIBRATION, individual
from boneprint.two_visits import SIDES

if TYPE_CHECKING:
    from boneprint.embed import Embedder

_SESSIONS = (2, 3)  # visits after the first, each with a radiograph of every side
CONTENT = (
    f"enrolled from a first scan, probed after a second and a third one by another scanner, within "
    f"{two_visits.AXIS_DEG:g} degrees about the long axis of {' or '.join(SIDES)}, {two_visits.PLANE_DEG:g} in plane, "
    f"tilt sd {two_visits.TILT_DEG:g}; {two_visits.CONTENT}"
)


def build(
    seed: int, bones: int, folder: Path, *, workers: int = 2, report: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Render the bones, one file each, or go on where an earlier run stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{__version__}-{seed}-{index:04d}.npz" for index in range(bones)]
    waiting = [index for index, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_render, seed, index, paths[index]) for index in waiting]
        for done, job in enumerate(jobs, 1):
            job.result()
            if report:
                report(bones - len(waiting) + done, bones)
    return paths


def comparisons(paths: list[Path], embedder: "Embedder") -> tuple[dict[str, Comparisons], tuple[float, ...]]:
    """Distances of every kind of comparison among the bones of ``build``, and the heights of their canvases in mm."""
    enrolled, probes = [], []
    heights = set()
    for path in paths:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        canvas = canvas_of_height(float(arrays["canvas_mm"]))
        heights.add(canvas.height_mm)
        views = two_visits.all_round(arrays["pixels"].astype(np.float32))
        enrolled.append(
            embedder.embed_tensors(torch.from_numpy(views), float(arrays["spacing_mm"]), canvas).cpu().numpy()
        )
        taken = [[_radiograph(arrays, f"{session}-{side}") for session in _SESSIONS] for side in SIDES]
        probes.append(np.stack([embedder.embed(pictures, canvas) for pictures in taken]))
    gallery, templates = np.stack(enrolled), np.stack(probes)
    # (side, picture, probed bone, enrolled bone): distance to the nearest view
    nearest = np.stack(
        [
            [
                [np.sqrt(np.maximum(2 - 2 * (gallery @ one).max(axis=1), 0)) for one in templates[:, side, picture]]
                for picture in range(len(_SESSIONS))
            ]
            for side in range(len(SIDES))
        ]
    )
    fused = np.sqrt((nearest**2).mean(axis=0))
    pairs = np.stack(
        [np.sqrt(np.maximum(2 - 2 * templates[:, side, 0] @ templates[:, side, 1].T, 0)) for side in range(len(SIDES))]
    )
    found = {
        PAIR: _square(pairs),
        ONE_PROBE: _square(nearest.reshape(-1, *nearest.shape[2:])),
        TWO_PROBES: _square(fused),
    }
    return found, tuple(sorted(heights))


def _square(distances: NDArray[np.floating]) -> Comparisons:
    """Stacked (N, N) matrices of distances between numbered bones as one list."""
    first, second = np.indices(distances.shape[1:])
    times = len(distances)
    return Comparisons(
        distances.reshape(-1).astype(np.float64), np.tile(first.ravel(), times), np.tile(second.ravel(), times)
    )


def _render(seed: int, index: int, path: Path) -> None:
    torch.set_num_threads(1)
    body = individual(seed, index, stream=CALIBRATION)
    arrays = dict(two_visits.views(body))
    for session in _SESSIONS:
        taken = two_visits.probes(body, session=session)
        arrays.update({f"{session}-{name}": array for name, array in taken.items()})
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def _radiograph(arrays: dict[str, NDArray[np.generic]], name: str) -> Radiograph:
    return Radiograph(arrays[name].astype(np.float32), float(arrays[f"{name}_mm"]), None, name)
