"""Distances between rendered bones and their probes, by any weights: exact, on the GPU where there is one.

As in the product: a probe is embedded on every canvas of the gallery that can hold what it shows, a bone is as far
away as its nearest view, and two probes of one bone are fused as the root mean square, or compared together as of
`search --angle`. Beside it S1's joined image: there AP and ML are two halves of one picture, so that both are compared
with views that are a quarter of a turn apart to the degree.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rendered_bones import load, write

from boneprint import directions, two_visits
from boneprint.drr import ENROLMENT_ANGLES
from boneprint.embed import Embedder, weights
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.probe import can_hold, content_mm
from boneprint.two_visits import SIDES, Arrays

BOTH = " + ".join(SIDES)
BIPLANE = " & ".join(SIDES)
JOINED = " | ".join(SIDES)
_READ_AHEAD = 64  # files
_BONES_AT_ONCE = 250  # of a matrix product


@dataclass(frozen=True, eq=False)
class Gallery:
    """Enrolled bones: by height of the canvas (mm), their numbers (B,) and views (B, V, D) all round; N numbers in all.

    ``missing`` are the numbers of bones that could not be enrolled; ``factors`` (N,) are what distances from each bone
    are multiplied by.
    """

    views: dict[float, tuple[torch.Tensor, torch.Tensor]]
    bones: int
    missing: tuple[int, ...]
    factors: NDArray[np.float64]


def enrolled(paths: Sequence[Path], embedder: Embedder, kinds: Sequence[str]) -> Gallery:
    """Embed the bones of some files, numbered in that order; the fingerprints are kept beside the pictures.

    Parameters
    ----------
    kinds : of each bone, by which its strangers are found
    """
    factors = np.ones(len(paths))
    kept: dict[float, list[tuple[int, torch.Tensor]]] = {}
    missing = []
    embed(paths, embedder)
    for number, arrays in enumerate(_loaded([_beside(path, embedder) for path in paths])):
        if arrays is None:
            missing.append(number)
            continue
        canvas_mm, vectors = float(arrays["canvas_mm"]), arrays["vectors"]
        factors[number] = embedder.cohort.factor(vectors, (kinds[number], canvas_mm))
        kept.setdefault(canvas_mm, []).append((number, torch.from_numpy(vectors)))
    views = {
        canvas_mm: (
            torch.tensor([number for number, _ in held]),
            torch.stack([vectors for _, vectors in held]).to(weights.device()),
        )
        for canvas_mm, held in kept.items()
    }
    return Gallery(views, len(paths), tuple(missing), factors)


def embed(paths: Sequence[Path], embedder: Embedder) -> None:
    """Embed the views of some files that are not embedded yet, and keep the fingerprints beside them."""
    waiting = [path for path in paths if not is_embedded(path, embedder)]
    for path, arrays in zip(waiting, _loaded(waiting)):
        write(_beside(path, embedder), _fingerprints(arrays, embedder))


def is_embedded(path: Path, embedder: Embedder) -> bool:
    """Whether the fingerprints of a file of views are kept, not older than it; it need not be there any more."""
    kept = _beside(path, embedder)
    return kept.exists() and (not path.exists() or kept.stat().st_mtime >= path.stat().st_mtime)


def is_kept(path: Path, embedder: Embedder) -> bool:
    """Whether a bone can be enrolled: from its file of views, or from the fingerprints that were kept of it."""
    return path.exists() or is_embedded(path, embedder)


def _beside(path: Path, embedder: Embedder) -> Path:
    return path.with_name(f"{path.stem}-{embedder.id.replace(':', '-')}.npz")


def _fingerprints(arrays: Arrays | None, embedder: Embedder) -> Arrays:
    if arrays is None:
        return {"failed": np.array("not rendered")}
    return {"vectors": two_visits.enrolled(arrays, embedder), "canvas_mm": arrays["canvas_mm"]}


@dataclass(frozen=True, eq=False)
class Probes:
    """Probes of P bones: by height of the canvas (mm) vectors (P, 2, D); and what was drawn, (P, 2, 3).

    Vectors on a canvas that cannot hold what a probe shows are not a number.
    """

    vectors: dict[float, torch.Tensor]
    drawn: NDArray[np.float64]
    missing: tuple[int, ...]


def probed(paths: Sequence[Path], canvases_mm: Sequence[float], embedder: Embedder) -> Probes:
    """Embed the probes of some files on every canvas that can hold them; those of a bone that has none are zero."""
    vectors: dict[float, list[torch.Tensor]] = {canvas_mm: [] for canvas_mm in canvases_mm}
    drawn, missing = [], []
    for number, arrays in enumerate(_loaded(paths)):
        if arrays is None:
            missing.append(number)
        for canvas_mm in canvases_mm:
            vectors[canvas_mm].append(_both(arrays, canvas_mm, embedder))
        drawn.append([np.full(3, np.nan) if arrays is None else arrays[f"{side}_drawn"] for side in SIDES])
    stacked = {canvas_mm: torch.stack(each) for canvas_mm, each in vectors.items()}
    return Probes(stacked, np.array(drawn), tuple(missing))


def _both(arrays: dict[str, NDArray[np.generic]] | None, canvas_mm: float, embedder: Embedder) -> torch.Tensor:
    if arrays is None:
        return torch.zeros(len(SIDES), int(embedder.card["dimension"]))
    taken = [Radiograph(arrays[side].astype(np.float32), float(arrays[f"{side}_mm"]), None, side) for side in SIDES]
    vectors = torch.from_numpy(embedder.embed(taken, canvas_of_height(canvas_mm)))
    held = torch.tensor([can_hold(canvas_mm, content_mm(radiograph)[0]) for radiograph in taken])
    return vectors.where(held[:, None], torch.nan)


def distances(gallery: Gallery, probes: Probes) -> dict[str, NDArray[np.float64]]:
    """By side, and for both in every way, (P, N): infinite where either could not be rendered."""
    count, angles_deg = len(probes.drawn), list(SIDES.values())
    found = {side: np.full((count, gallery.bones), np.inf) for side in (*SIDES, BOTH, BIPLANE, JOINED)}
    for canvas_mm, (numbers, views) in gallery.views.items():
        vectors = probes.vectors[canvas_mm].to(views.device).movedim(1, 0).flatten(0, 1)
        for some, few in zip(torch.split(numbers, _BONES_AT_ONCE), torch.split(views, _BONES_AT_ONCE)):
            squared = _squared(vectors @ few.flatten(0, 1).T).reshape(len(SIDES), count, len(few), -1)
            nearest = squared.min(axis=3)
            views_deg, quarter_on = views_of(few.shape[1])
            joined = (squared[0] + squared[1][..., quarter_on]) / 2
            both = [directions.together(of_bone, views_deg, angles_deg)[0] for of_bone in np.moveaxis(squared, 2, 0)]
            measured = (*nearest, nearest.mean(axis=0), np.stack(both, axis=1), joined.min(axis=2))
            for side, each in zip(found, measured):
                found[side][:, some.numpy()] = each
    for each in found.values():
        each[list(probes.missing)] = np.inf
    return {side: np.sqrt(each) * gallery.factors for side, each in found.items()}


def views_of(count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Directions (V,) of so many enrolled views, in degrees, and the place (V,) of the view a quarter of a turn on.

    More than one turn of views are turns in several tilts.
    """
    turn = min(count, len(ENROLMENT_ANGLES))
    tilt, angle = np.divmod(np.arange(count), turn)
    return angle * (360 / turn), tilt * turn + (angle + turn // 4) % turn


def _squared(cosine: torch.Tensor) -> NDArray[np.float64]:
    """Squared distances of unit vectors, infinite where there is none."""
    return (2 - 2 * cosine).clamp(min=0).nan_to_num(nan=torch.inf).cpu().numpy().astype(np.float64)


def _loaded(paths: Sequence[Path]) -> Iterator[dict[str, NDArray[np.generic]] | None]:
    """Files in order, read ahead."""
    with ThreadPoolExecutor(4) as pool:
        for first in range(0, len(paths), _READ_AHEAD):
            yield from pool.map(load, paths[first : first + _READ_AHEAD])
