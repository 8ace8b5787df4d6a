"""Bones to test with, rendered once and kept on disk: nothing here knows the network or its weights.

What is rendered of a bone is `boneprint.two_visits`'s: views of a first scan, radiographs of a second. A bone has a
file for each, written when it is whole, so that a run that was stopped goes on where it was; the views and radiographs
are kept in their own pixels.
"""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import two_visits
from boneprint._version import RENDERING
from boneprint.errors import BoneprintError
from boneprint.simulate import HEALTHY, Body, Condition
from boneprint.two_visits import Arrays, Scanning

Make = Callable[[], Arrays]


def home(cache: Path, scanning: Scanning) -> Path:
    """Where bones that are rendered as now, scanned so, are kept."""
    return cache / f"{RENDERING}-{'usual' if scanning.usual else 'coarse'}"


def tasks(
    folder: Path,
    name: str,
    body: Body,
    scanning: Scanning,
    condition: Condition = HEALTHY,
    *,
    probed: bool,
    solid: bool = False,
) -> dict[Path, Make]:
    """What has to be rendered of a bone, by the file that will hold it."""
    made: dict[Path, Make] = {views_path(folder, name): partial(two_visits.views, body, scanning, condition)}
    if probed:
        made[probes_path(folder, name)] = partial(two_visits.probes, body, scanning, condition)
    if solid:
        made[solid_path(folder, name)] = partial(two_visits.solid, body, scanning, condition)
    return made


def views_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-views.npz"


def is_views(path: Path) -> bool:
    """Whether a file is one that `views_path` names."""
    return path.name.endswith("-views.npz")


def probes_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-probes.npz"


def solid_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-solid.npz"


def build(wanted: Mapping[Path, Make], workers: int, *, what: str = "bones") -> None:
    """Render what is not there yet, in the order given, and say how far it is and what it costs."""
    waiting = {path: make for path, make in wanted.items() if not path.exists()}
    if not waiting:
        return
    for path in waiting:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Each worker is one thread: libraries read this when they are loaded.
    os.environ.update({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
    clock, shown, spent = time.perf_counter(), 0.0, 0.0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_write, path, make) for path, make in waiting.items()]
        for done, job in enumerate(as_completed(jobs), 1):
            spent += job.result()
            if time.perf_counter() - shown > 20 or done == len(jobs):
                shown = time.perf_counter()
                print(
                    f"{what}: {done} of {len(jobs)} files in {shown - clock:.0f} s, {spent / done:.2f} CPU s each",
                    flush=True,
                )


def _write(path: Path, make: Make) -> float:
    """Write one file; its cost in CPU seconds."""
    torch.set_num_threads(1)
    clock = time.process_time()
    try:
        arrays = make()
    except BoneprintError as error:
        arrays = {"failed": np.array(str(error))}
    write(path, arrays)
    return time.process_time() - clock


def write(path: Path, arrays: Arrays) -> None:
    """A file that is there is whole."""
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def load(path: Path) -> dict[str, NDArray[np.generic]] | None:
    """The arrays of a file; None where the bone could not be rendered.

    Raises
    ------
    BoneprintError
        If the file is not there.
    """
    if not path.exists():
        raise BoneprintError(f"{path}: not rendered yet; run the benchmark without --score, or with --render-only.")
    with np.load(path, allow_pickle=False) as stored:
        return None if "failed" in stored else dict(stored)
