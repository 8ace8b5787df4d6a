"""Bones that nobody trains on and nobody is tested with: their views and radiographs, for fixing thresholds."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import bone, drr, views
from boneprint._version import __version__
from boneprint.evidence import ONE_PROBE, PAIR, TWO_PROBES
from boneprint.evidence.metrics import Comparisons
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.simulate import CALIBRATION, Scanner, individual

if TYPE_CHECKING:
    from boneprint.embed import Embedder

# How probes are posed: within 15 degrees about the axis, 10 in the plane, sd 2 out of the plane.
AXIS_DEG, PLANE_DEG, TILT_DEG = 15.0, 10.0, 2.0
SIDES = (0.0, 90.0)  # AP and ML
PICTURES = 2  # radiographs of each side, each in a pose and exposure of its own


@dataclass(frozen=True, eq=False)
class Rendered:
    """One bone: V enrolment views, and radiographs as (side, picture), all with their pixel size in mm."""

    views: list[Radiograph]
    probes: list[list[Radiograph]]
    canvas_mm: float


def probe_poses(rng: np.random.Generator, side_deg: float) -> dict[str, object]:
    """A random pose and exposure near one side, as `views.natural` takes it."""
    return {
        "angle_deg": side_deg + float(rng.uniform(-AXIS_DEG, AXIS_DEG)),
        "in_plane_deg": float(rng.uniform(-PLANE_DEG, PLANE_DEG)),
        "tilt_deg": (float(rng.normal(0, TILT_DEG)), float(rng.normal(0, TILT_DEG))),
        "seed": int(rng.integers(2**31)),
    }


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
        rendered = _load(path)
        canvas = canvas_of_height(rendered.canvas_mm)
        heights.add(rendered.canvas_mm)
        enrolled.append(embedder.embed(rendered.views, canvas))
        probes.append(np.stack([embedder.embed(pictures, canvas) for pictures in rendered.probes]))
    gallery, templates = np.stack(enrolled), np.stack(probes)
    # (side, picture, probed bone, enrolled bone): distance to the nearest view
    nearest = np.stack(
        [
            [
                [np.sqrt(np.maximum(2 - 2 * (gallery @ one).max(axis=1), 0)) for one in templates[:, side, picture]]
                for picture in range(PICTURES)
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
    volume, _ = body.scan(Scanner.usual(body.species))
    upright, pose = bone.stand_up(bone.isolate(volume))
    rng = np.random.default_rng(np.random.SeedSequence(body.entropy, spawn_key=(13,)))
    arrays = {"canvas_mm": np.array(drr.canvas_of(upright, long=pose.long).height_mm)}
    enrolled = drr.enrolment_views(upright, body.subject_id)
    arrays["views"] = np.stack([view.pixels for view in enrolled]).astype(np.float16)
    arrays["views_mm"] = np.array(enrolled[0].spacing_mm)
    for side, at in enumerate(SIDES):
        for picture in range(PICTURES):
            taken = views.natural(volume, pose=pose, **probe_poses(rng, at))  # type: ignore[arg-type]
            arrays[f"probe_{side}_{picture}"] = taken.pixels.astype(np.float16)
            arrays["probe_mm"] = np.array(taken.spacing_mm)
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def _load(path: Path) -> Rendered:
    with np.load(path, allow_pickle=False) as stored:

        def picture(pixels: NDArray[np.float16], spacing: str) -> Radiograph:
            return Radiograph(pixels.astype(np.float32), float(stored[spacing]), None, path.name)

        return Rendered(
            [picture(view, "views_mm") for view in stored["views"]],
            [
                [picture(stored[f"probe_{side}_{taken}"], "probe_mm") for taken in range(PICTURES)]
                for side in range(len(SIDES))
            ],
            float(stored["canvas_mm"]),
        )
