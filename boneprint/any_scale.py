"""A search with radiographs whose pixel spacing nobody knows: the same pictures at every size that a bone may have."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from boneprint.database import Database
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Candidate, Radiograph, SearchResult
from boneprint.probe import content_mm

# Neighbouring sizes differ by 4 %, so the right one is missed by at most 2 %: training saw spacings wrong by 1.5 %.
STEP = 1.04
# What a picture shows fills at least this share of the height of the smallest canvas that holds it.
_LEAST_SHARE = 0.45
_BEST_OF_MANY = "the best of many sizes was not calibrated; no margin holds for it"


@dataclass(frozen=True, eq=False)
class ScaledResult:
    """Candidates by their distance at their best scale, and that scale.

    Being the best of many, these distances are smaller than those that thresholds and likelihood ratios were calibrated
    on: no candidate is within the margin, none has a likelihood ratio, and nothing is certified.

    Parameters
    ----------
    spacings_mm : pixel spacing of the first picture, for each candidate
    tried_mm : every spacing that was tried, ascending
    """

    result: SearchResult
    spacings_mm: tuple[float, ...]
    tried_mm: tuple[float, ...]


def search_any_scale(
    database: Database,
    radiographs: Sequence[Radiograph],
    k: int = 10,
    *,
    where: Mapping[str, str] | Iterable[str] | None = None,
    mirror: bool = False,
    angles_deg: Sequence[float] | None = None,
) -> ScaledResult:
    """The bones that look most like radiographs of unknown spacing, whatever size they are shown at.

    Parameters
    ----------
    radiographs : of one bone, without pixel spacing; several have one and the same, as from one apparatus
    k, where, mirror, angles_deg : as in `Database.search`

    Raises
    ------
    BoneprintError
        As `Database.search`; or if a spacing is known, for then there is nothing to search over.
    """
    known = next((r for r in radiographs if r.spacing_mm is not None), None)
    if known is not None:
        raise BoneprintError(
            f"{known.source}: its pixel spacing is known ({known.spacing_mm:g} mm); search without --any-scale."
        )
    conditions = dict(where) if isinstance(where, Mapping) else list(where or [])
    best: dict[str, tuple[Candidate, float]] = {}
    last: SearchResult | None = None
    seconds = 0.0
    tried = spacings_to_try(database.store.gallery().canvases_mm, radiographs)
    refused: ReadError | None = None
    for spacing in tried:
        at_scale = [replace(r, spacing_mm=spacing) for r in radiographs]
        try:
            last = database.search(at_scale, k, where=conditions, mirror=mirror, angles_deg=angles_deg, exact=True)
        except ReadError as error:  # too large for the bones that were asked for
            refused = error
            continue
        seconds += last.seconds
        for candidate in last.candidates:
            name = candidate.reference.bone_id
            if name not in best or candidate.distance < best[name][0].distance:
                best[name] = candidate, spacing
    if last is None:
        raise refused or ReadError(f"{radiographs[0].source}: no size can be tried in an empty database.")
    order = sorted(best.values(), key=lambda each: each[0].distance)[:k]
    candidates = tuple(
        replace(candidate, rank=rank, within_margin=False, log10_lr=None, uncalibrated=_BEST_OF_MANY)
        for rank, (candidate, _) in enumerate(order, 1)
    )
    result = replace(last, candidates=candidates, certified=0, seconds=seconds)
    return ScaledResult(result, tuple(spacing for _, spacing in order), tried)


def spacings_to_try(canvas_heights_mm: Collection[float], radiographs: Sequence[Radiograph]) -> tuple[float, ...]:
    """From what shows the smallest bone on the smallest canvas of a gallery to what fills the largest, in mm."""
    if not len(canvas_heights_mm):
        raise BoneprintError("the database is empty; ingest a CT first.")
    shown_px = max(content_mm(replace(r, spacing_mm=1.0))[0] for r in radiographs)
    low, high = _LEAST_SHARE * float(min(canvas_heights_mm)) / shown_px, float(max(canvas_heights_mm)) / shown_px
    count = int(np.ceil(np.log(high / low) / np.log(STEP))) + 1
    return tuple(float(each) for each in np.geomspace(low, high, count))
