"""Which enrolled bones look most like a probe, in what order, and by what rule each is judged.

The index finds the nearest bones; what a bone's nearness is worth is told by how near strangers come to it
(`embed.cohort`), and each is judged by the calibration of its own kind (`evidence`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint import evidence, probe
from boneprint.embed.cohort import Cohort, read_cohort
from boneprint.index import Gallery, Hits, search
from boneprint.index.graph import EXACT_VIEWS
from boneprint.index.reverse import search_all_round
from boneprint.nouns import Candidate, Fingerprint, Reference

# Bones that the index is asked for at least: a bone that strangers are far from may overtake many.
_SHORTLIST = 50


@dataclass(frozen=True, eq=False)
class Ranked:
    """Candidates in order, best first.

    Parameters
    ----------
    proved_to : no bone that is not a candidate, and was not looked at, is nearer than this distance
    scores : distance of every bone, by bone id, where asked for
    """

    candidates: tuple[Candidate, ...]
    proved_to: float
    scores: Mapping[str, float]


class Judge:
    """What distances are worth: measured by strangers, and judged by what each kind of bone was calibrated for."""

    def __init__(self, calibrations: evidence.Calibrations, cohort: Cohort) -> None:
        self._calibrations, self._cohort = calibrations, cohort
        self._factors: dict[tuple[str, float], float] = {}

    @classmethod
    def of(cls, weights: Path, card: dict[str, Any]) -> Self:
        """By the card of some weights, and the strangers beside it."""
        return cls(evidence.of_card(card), read_cohort(weights, card))

    @property
    def most(self) -> float:
        """Distances are multiplied by this at most, and divided by it."""
        return self._cohort.most

    def rule(self, template: Fingerprint, reference: Reference, views: int) -> evidence.Rule:
        """By what a probe's distance from a reference of so many views is judged."""
        comparison, exact = _comparison(template, reference, views)
        return evidence.rule(self._calibrations, comparison, _kind(reference), reference.canvas_mm, exact=exact)

    def factor(self, template: Fingerprint, reference: Reference, views: NDArray[np.floating]) -> float:
        """What their distance is multiplied by; ``views`` (V, D) are the reference's.

        It is that of the bone that is seen from all sides: the reference, or the probe where that is a CT and the
        reference a radiograph. Two radiographs are compared as they are.
        """
        of_probe = template.all_round and reference.part == probe.XRAY
        if not of_probe and reference.part == probe.XRAY:
            return 1.0
        place = (_kind(reference), reference.canvas_mm)
        if of_probe:
            return self._cohort.factor(template.vectors[reference.canvas_mm], place)
        # Views of a bone never change.
        known = reference.bone_id, reference.canvas_mm
        if known not in self._factors:
            self._factors[known] = self._cohort.factor(views, place)
        return self._factors[known]


def ranked(
    gallery: Gallery,
    template: Fingerprint,
    fitting: NDArray[np.bool_],
    judge: Judge,
    k: int,
    *,
    exact: bool = False,
    all_scores: bool = False,
) -> Ranked:
    """The k best candidates among the bones of a gallery that fit.

    Parameters
    ----------
    fitting : (N,) which bones may be found; all are on canvases that the template was made for
    exact, all_scores : as in `Database.search`
    """
    candidates: list[Candidate] = []
    proved_to = np.inf
    scores: dict[str, float] = {}
    canvases = gallery.canvases_mm
    for height in np.unique(canvases[fitting]).tolist():
        subset = fitting & (canvases == height)
        hits = _hits(gallery, template.vectors[height], subset, template, judge, k, exact, all_scores)
        factors = np.array([_factor(judge, template, gallery, row) for row in hits.bones.tolist()])
        distances = hits.distances * factors
        proved_to = min(proved_to, hits.proved_to / judge.most)
        if all_scores:
            scores |= {gallery.references[b].bone_id: float(d) for b, d in zip(hits.bones, distances)}
        for place in np.argsort(distances, kind="stable")[:k].tolist():
            row, (view, *_) = int(hits.bones[place]), hits.nearest_views[place].tolist()
            distance = float(distances[place])
            reference = gallery.references[row]
            rule = judge.rule(template, reference, _views(gallery, row))
            candidates.append(
                Candidate(
                    rank=0,
                    reference=reference,
                    distance=distance,
                    factor=float(factors[place]),
                    angle_deg=float(gallery.angles_deg[view]),
                    threshold=rule.threshold,
                    within_margin=rule.within(distance),
                    log10_lr=rule.log10_lr(distance),
                    uncalibrated=rule.uncalibrated,
                    picture=gallery.picture(view),
                )
            )
    candidates.sort(key=lambda candidate: candidate.distance)
    first = tuple(replace(candidate, rank=rank) for rank, candidate in enumerate(candidates[:k], 1))
    return Ranked(first, proved_to, scores)


def _hits(
    gallery: Gallery,
    probes: NDArray[np.float32],
    subset: NDArray[np.bool_],
    template: Fingerprint,
    judge: Judge,
    k: int,
    exact: bool,
    all_scores: bool,
) -> Hits:
    """Bones on one canvas, nearest first: those that may be among the k best once factors are known."""
    bones = np.flatnonzero(subset).astype(np.int64)
    if template.all_round or all_scores:
        most = len(bones)
    else:
        most = min(len(bones), k if judge.most == 1 else max(k, _SHORTLIST))
    # A small gallery's answer is proved.
    proved = all_scores or exact or template.all_round or gallery.rows.counts()[bones].sum() <= EXACT_VIEWS
    while True:
        if template.all_round:
            hits = search_all_round(gallery.rows, probes, most, bones)
        else:
            within = None if subset.all() else subset
            hits = search(gallery, probes, most, subset=within, exact=True if proved else None)
        if all_scores:
            return hits
        if not proved:
            # Bones beyond the list were not looked at: none is nearer than the last of it.
            beyond = float(hits.distances[-1]) if most < len(bones) else np.inf
            return _first(hits, most, min(hits.proved_to, beyond))
        # The k-th best of the nearest is at least as good as the k-th best of all.
        factors = [_factor(judge, template, gallery, row) for row in hits.bones[:k].tolist()]
        reach = float(np.max(hits.distances[: len(factors)] * factors, initial=0)) * judge.most
        if most == len(bones) or hits.distances[-1] > reach:
            return _first(hits, int(np.searchsorted(hits.distances, reach, side="right")), hits.proved_to)
        most = min(len(bones), 4 * most)


def _first(hits: Hits, count: int, proved_to: float) -> Hits:
    return Hits(hits.bones[:count], hits.distances[:count], hits.nearest_views[:count], proved_to)


def _factor(judge: Judge, template: Fingerprint, gallery: Gallery, row: int) -> float:
    return judge.factor(template, gallery.references[row], gallery.rows.of(row))


def _views(gallery: Gallery, row: int) -> int:
    return int(gallery.rows.ends[row] - gallery.rows.begins[row])


def _kind(reference: Reference) -> str:
    """The kind of bone as calibrations name it: those of people, whose species need not be said."""
    return reference.bone if reference.species in (None, "human") else f"{reference.species} {reference.bone}"


def _comparison(template: Fingerprint, reference: Reference, views: int) -> tuple[str, bool]:
    """Which kind of comparison a probe and a reference make, and whether it is the very one that is calibrated.

    A CT against one enrolled radiograph is what one radiograph is against an enrolled CT, with the roles exchanged.
    """
    radiographs, all_round = template.probes, True
    if reference.part == probe.XRAY:
        radiographs, all_round = (views, True) if template.all_round else (max(radiographs, views), False)
    elif template.all_round:
        return evidence.TWO_PROBES, False
    if radiographs == 1:
        return (evidence.ONE_PROBE if all_round else evidence.PAIR), True
    return evidence.TWO_PROBES, all_round and radiographs == 2
