"""The first candidates of every probe laid over it, as `search --superimpose` does: distances in place of agreement.

What is not among a probe's first candidates is further away than all that is, in the order of its fingerprint. So a
match is what the product would call one: found by its fingerprint, and confirmed by its edges.
"""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from matching import BOTH, Gallery, Probes, views_of
from numpy.typing import NDArray
from rendered_bones import load

from boneprint.nouns import Radiograph
from boneprint.superimpose import Sight, Solid, likely_directions, superimpose
from boneprint.superimposition import agreement
from boneprint.two_visits import SIDES

# Agreement is between 1 and -1.2; what was not superimposed is further away than 1 - (-1.2).
_NEVER = 2.2


@dataclass(frozen=True)
class _Job:
    """One radiograph and the bones to lay over it, with the directions that each one may be seen from."""

    probe: Path
    side: str
    solids: tuple[Path, ...]
    directions_deg: tuple[tuple[float, ...], ...]


def superimposed(
    solids: Sequence[Path],
    probes: Sequence[Path],
    found: Mapping[str, NDArray[np.float64]],
    directions_deg: NDArray[np.float64],
    depth: int,
    workers: int,
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Distances by side and for both, (P, N), and the CPU seconds of one superimposition.

    Parameters
    ----------
    solids : files of the N bones' grids
    probes : files of the P bones' radiographs
    found : distances of fingerprints, as `matching.distances` gives them
    directions_deg : as `directions` gives them
    depth : how many bones are laid over each probe
    """
    first = {name: np.argsort(each, axis=1, kind="stable")[:, :depth] for name, each in found.items()}
    jobs, places = [], []
    for number, side in enumerate(SIDES):
        for probe, path in enumerate(probes):
            wanted = np.union1d(first[side][probe], first[BOTH][probe])
            wanted = wanted[np.isfinite(found[side][probe, wanted])]
            directions = tuple(map(tuple, directions_deg[number, probe, wanted].tolist()))
            jobs.append(_Job(path, side, tuple(solids[bone] for bone in wanted), directions))
            places.append((number, probe, wanted))
    likeness = np.full((len(SIDES), len(probes), len(solids)), np.nan)
    os.environ.update({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
    spent, shown = 0.0, time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, ((number, probe, wanted), (values, seconds)) in enumerate(zip(places, pool.map(_laid, jobs)), 1):
            likeness[number, probe, wanted] = values
            spent += seconds
            if time.perf_counter() - shown > 20:
                shown = time.perf_counter()
                print(f"superimposing: {done} of {len(jobs)} radiographs", flush=True)
    each = spent / max(1, sum(len(job.solids) for job in jobs))
    result = {side: _distances(likeness[at], found[side], first[side]) for at, side in enumerate(SIDES)}
    result[BOTH] = _distances(likeness.mean(axis=0), found[BOTH], first[BOTH])
    return result, each


def directions(gallery: Gallery, probes: Probes) -> NDArray[np.float64]:
    """(2, P, N, 2) likely directions of each probe, by how much it resembles the views of each bone; degrees."""
    found = np.zeros((len(SIDES), len(probes.drawn), gallery.bones, 2))
    for canvas_mm, (numbers, views) in gallery.views.items():
        angles_deg, _ = views_of(views.shape[1])
        for side in range(len(SIDES)):
            for probe, vector in enumerate(probes.vectors[canvas_mm][:, side]):
                alike = (views @ vector.to(views.device)).cpu().numpy()
                found[side, probe, numbers.numpy()] = [likely_directions(each, angles_deg) for each in alike]
    return found


def _distances(
    likeness: NDArray[np.float64], found: NDArray[np.float64], first: NDArray[np.int64]
) -> NDArray[np.float64]:
    distance = _NEVER + found
    laid = np.take_along_axis(np.vectorize(agreement, otypes=[float])(likeness, found), first, axis=1)
    np.put_along_axis(distance, first, 1 - laid, axis=1)
    return np.where(np.isnan(distance), _NEVER + found, distance)


def _laid(job: _Job) -> tuple[list[float], float]:
    """Likeness of each bone, and CPU seconds."""
    clock = time.process_time()
    arrays = load(job.probe)
    assert arrays is not None
    radiograph = Radiograph(
        arrays[job.side].astype(np.float32), float(arrays[f"{job.side}_mm"]), job.side, str(job.probe)
    )
    values = []
    for path, likely in zip(job.solids, job.directions_deg):
        kept = load(path)
        assert kept is not None
        solid = Solid.decoded(kept["solid"].tobytes(), str(path))
        values.append(superimpose(solid, Sight.of(radiograph, solid.longest_mm), likely).likeness)
    return values, time.process_time() - clock
