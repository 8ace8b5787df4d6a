"""Lay the candidates of a search over its radiographs, and rank them by how well their edges agree.

A fingerprint finds a bone among thousands in milliseconds; superimposing takes half a second or a whole one a bone,
and looks at what the fingerprint cannot keep. So the first narrows, and the second all but decides the order: a bone
that a fit missed is told from strangers by its distance.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.evidence.events import superimposition_facts
from boneprint.nouns import Candidate, Radiograph, SearchResult
from boneprint.superimpose import Overlay, Sight, Solid, draw, likely_directions, superimpose

DEPTH = 20  # candidates that are superimposed, unless told otherwise

# How much likeness a distance of 1 is worth. Chosen on 20 tibiae and 30 femora of seed 77, which are in no
# test: from 0.05 to 0.3 the right bones stood out most, in deviations of their lead.
_DISTANCE_WORTH = 0.1

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SuperimposedResult:
    """Candidates of a search in a new order: by `agreement`.

    Candidates that no grid is kept of cannot be laid over a radiograph, and keep their places. The likeness is a
    measure of agreement, at most 1; no error rate is calibrated for it, and it is no likelihood ratio.

    Parameters
    ----------
    result : the search, its candidates in their new order; none is certified, for that was said of distances
    likenesses : of each candidate, the mean over the radiographs; None where it was not superimposed
    """

    result: SearchResult
    likenesses: tuple[float | None, ...]


def superimpose_candidates(
    database: Database,
    radiographs: Sequence[Radiograph],
    result: SearchResult,
    *,
    depth: int = DEPTH,
    mirror: bool = False,
    report: Report | None = None,
) -> SuperimposedResult:
    """Superimpose the first candidates of a search.

    Parameters
    ----------
    radiographs : those that were searched with
    depth : how many candidates
    mirror : as in the search
    report : called with (candidates done, candidates in all)

    Raises
    ------
    ReadError
        If a kept grid is damaged, or a picture shows far more than the bone.
    BoneprintError
        If there is no grid of any of them.
    """
    tracing = _Tracing(database, radiographs, mirror)
    found: dict[int, float] = {}
    chosen = result.candidates[:depth]
    # Rendering and filters release the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, overlays in enumerate(pool.map(tracing.overlays, chosen)):
            if overlays:
                found[place] = mean_likeness([overlay for _, _, overlay in overlays])
            if report:
                report(place + 1, len(chosen))
    if not found:
        raise BoneprintError(
            f"{database.store.path}: no grid is kept of any of these bones, so none can be superimposed. "
            "Ingest their CTs again, into another database, without --no-solids."
        )
    order: list[int] = list(range(len(result.candidates)))
    agreed = {place: agreement(likeness, result.candidates[place].distance) for place, likeness in found.items()}
    for place, best in zip(sorted(found), sorted(found, key=lambda each: -agreed[each])):
        order[place] = best
    candidates = tuple(replace(result.candidates[at], rank=rank) for rank, at in enumerate(order, 1))
    ranked = replace(result, candidates=candidates, certified=0)
    likenesses = tuple(found.get(place) for place in order)
    database.record("superimpose", *superimposition_facts(ranked, likenesses))
    return SuperimposedResult(ranked, likenesses)


def draw_overlays(
    database: Database, radiographs: Sequence[Radiograph], bone_id: str, path: Path | str, *, mirror: bool = False
) -> tuple[Overlay, ...]:
    """Superimpose one bone on radiographs, and draw it: PATH for the first, PATH with -2 and so on for others.

    Raises
    ------
    BoneprintError
        If there is no such bone, or no grid is kept of it.
    """
    result = database.search(radiographs, 1, where={"id": bone_id}, mirror=mirror, exact=True)
    found = _Tracing(database, radiographs, mirror).overlays(result.candidates[0])
    if not found:
        raise BoneprintError(
            f"{bone_id}: no grid of this bone is kept, so it cannot be superimposed. Ingest its CT again, into another "
            "database, without --no-solids."
        )
    overlays = tuple(overlay for _, _, overlay in found)
    database.record("superimpose", *superimposition_facts(result, [mean_likeness(overlays)]))
    path = Path(path)
    for number, (solid, sight, overlay) in enumerate(found, 1):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        draw(solid, sight, overlay, place, title=f"{bone_id} on {Path(radiographs[number - 1].source).name}")
    return overlays


def agreement(likeness: float, distance: float) -> float:
    """What superimposed candidates are ranked by: likeness, less a little for the distance of the fingerprints."""
    return likeness - _DISTANCE_WORTH * distance


def mean_likeness(overlays: Sequence[Overlay]) -> float:
    """Of one bone on several radiographs."""
    return float(np.mean([overlay.likeness for overlay in overlays]))


class _Tracing:
    """Radiographs that bones are laid over, one after the other."""

    def __init__(self, database: Database, radiographs: Sequence[Radiograph], mirror: bool) -> None:
        self._gallery = database.store.gallery()
        self._rows = {reference.bone_id: row for row, reference in enumerate(self._gallery.references)}
        self._prints = [database.fingerprint([radiograph], mirror=mirror) for radiograph in radiographs]
        turned = (replace(r, pixels=r.pixels[:, ::-1]) if mirror else r for r in radiographs)
        self._radiographs = list(turned)
        self._sights: dict[tuple[int, float], Sight] = {}

    def overlays(self, candidate: Candidate) -> list[tuple[Solid, Sight, Overlay]]:
        """One for each radiograph; none where no grid is kept."""
        reference = candidate.reference
        row = self._rows[reference.bone_id]
        packed = self._gallery.solid(row)
        if packed is None:
            return []
        solid = Solid.decoded(packed, reference.bone_id)
        enrolled = self._gallery.rows.of(row).astype(np.float32)
        angles_deg = self._gallery.angles_deg[self._gallery.rows.begins[row] : self._gallery.rows.ends[row]]
        found = []
        for number, (radiograph, template) in enumerate(zip(self._radiographs, self._prints)):
            (vector,) = template.vectors[reference.canvas_mm]
            directions = likely_directions(enrolled @ vector, angles_deg)
            sight = self._sight(number, radiograph, solid.longest_mm)
            found.append((solid, sight, superimpose(solid, sight, directions)))
        return found

    def _sight(self, number: int, radiograph: Radiograph, longest_mm: float) -> Sight:
        # Bones of nearly one length share a sight.
        length = float(1.03 ** np.round(np.log(longest_mm) / np.log(1.03)))
        if (number, length) not in self._sights:
            self._sights[number, length] = Sight.of(radiograph, length)
        return self._sights[number, length]
