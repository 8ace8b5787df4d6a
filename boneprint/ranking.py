"""Which enrolled bones look most like a probe, in what order, and by what rule each is judged.

The index finds the nearest bones; what a bone's nearness is worth is told by how near strangers come to it
(`embed.cohort`), and each is judged by the calibration of its own kind (`evidence`). Radiographs whose directions
are known are then compared together (`directions`), which never brings a bone nearer than the index has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint import directions, evidence, probe
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
        measured = _Measured(gallery, template, height, judge)
        hits = _hits(measured, subset, k, exact, all_scores)
        found = [measured.of(hits, place) for place in range(len(hits.bones))]
        proved_to = min(proved_to, hits.proved_to / judge.most)
        if all_scores:
            scores |= {gallery.references[b].bone_id: each.distance for b, each in zip(hits.bones, found)}
        for place in np.argsort([each.distance for each in found], kind="stable")[:k].tolist():
            row, each = int(hits.bones[place]), found[place]
            reference = gallery.references[row]
            rule = judge.rule(template, reference, _views(gallery, row))
            angle_deg, tilt_deg = gallery.direction(each.view)
            candidates.append(
                Candidate(
                    rank=0,
                    reference=reference,
                    distance=each.distance,
                    factor=each.factor,
                    angle_deg=angle_deg,
                    tilt_deg=tilt_deg,
                    threshold=rule.threshold,
                    within_margin=rule.within(each.distance),
                    log10_lr=rule.log10_lr(each.distance),
                    uncalibrated=rule.uncalibrated,
                    picture=gallery.picture(each.view),
                )
            )
    candidates.sort(key=lambda candidate: candidate.distance)
    first = tuple(replace(candidate, rank=rank) for rank, candidate in enumerate(candidates[:k], 1))
    return Ranked(first, proved_to, scores)


@dataclass(frozen=True)
class _Nearness:
    """How near a bone is: its distance as candidates have it, by what that was multiplied, and its likest view."""

    distance: float
    factor: float
    view: int


class _Measured:
    """What bones that the index finds on one canvas are worth: never nearer than the index has them, by ``most``."""

    def __init__(self, gallery: Gallery, template: Fingerprint, canvas_mm: float, judge: Judge) -> None:
        self.gallery, self.template, self.probes = gallery, template, template.vectors[canvas_mm]
        self.most = judge.most
        self._judge = judge

    def of(self, hits: Hits, place: int) -> _Nearness:
        """The bone at one place among hits."""
        row, distance, view = int(hits.bones[place]), float(hits.distances[place]), int(hits.nearest_views[place, 0])
        reference, views = self.gallery.references[row], self.gallery.rows.of(row)
        if self.template.angles_deg is not None and reference.part != probe.XRAY:
            apart = views.astype(np.float64) - self.probes[:, None]
            begin, end = int(self.gallery.rows.begins[row]), int(self.gallery.rows.ends[row])
            views_deg, angles_deg = self.gallery.angles_deg[begin:end], self.template.angles_deg
            squared, best = directions.together(np.square(apart).sum(axis=-1), views_deg, angles_deg)
            if np.isfinite(squared):
                # Rounding aside, the index has it nearer.
                distance, view = max(distance, float(np.sqrt(squared))), begin + int(best[0])
        factor = self._judge.factor(self.template, reference, views)
        return _Nearness(distance * factor, factor, view)


def _hits(measured: _Measured, subset: NDArray[np.bool_], k: int, exact: bool, all_scores: bool) -> Hits:
    """Bones on one canvas, nearest first: those that may be among the k best once they are measured."""
    gallery, template = measured.gallery, measured.template
    bones = np.flatnonzero(subset).astype(np.int64)
    if template.all_round or all_scores:
        most = len(bones)
    else:
        as_found = measured.most == 1 and template.angles_deg is None
        most = min(len(bones), k if as_found else max(k, _SHORTLIST))
    # A small gallery's answer is proved.
    proved = all_scores or exact or template.all_round or gallery.rows.counts(bones).sum() <= EXACT_VIEWS
    while True:
        if template.all_round:
            hits = search_all_round(gallery.rows, measured.probes, most, bones)
        else:
            within = None if subset.all() else subset
            hits = search(gallery, measured.probes, most, subset=within, exact=True if proved else None)
        if all_scores:
            return hits
        if not proved:
            # Bones beyond the list were not looked at: none is nearer than the last of it.
            beyond = float(hits.distances[-1]) if most < len(bones) else np.inf
            return _first(hits, most, min(hits.proved_to, beyond))
        # The k-th best of the nearest is at least as good as the k-th best of all.
        nearest = [measured.of(hits, place).distance for place in range(min(k, len(hits.bones)))]
        reach = max(nearest, default=0.0) * measured.most
        if most == len(bones) or hits.distances[-1] > reach:
            return _first(hits, int(np.searchsorted(hits.distances, reach, side="right")), hits.proved_to)
        most = min(len(bones), 4 * most)


def _first(hits: Hits, count: int, proved_to: float) -> Hits:
    return Hits(hits.bones[:count], hits.distances[:count], hits.nearest_views[:count], proved_to)


def _views(gallery: Gallery, row: int) -> int:
    return int(gallery.rows.ends[row] - gallery.rows.begins[row])


def _kind(reference: Reference) -> str:
    """The kind of bone as calibrations name it: those of people, whose species need not be said."""
    return reference.bone if reference.species in (None, "human") else f"{reference.species} {reference.bone}"


def _comparison(template: Fingerprint, reference: Reference, views: int) -> tuple[str, bool]:
    """Which kind of comparison a probe and a reference make, and whether it is the very one that is calibrated.

    A CT against one enrolled radiograph is what one radiograph is against an enrolled CT, with the roles exchanged.
    """
    if template.angles_deg is not None and template.probes > 1 and reference.part != probe.XRAY:
        quarter = np.diff(template.angles_deg) % 180 == 90
        return evidence.BIPLANE, template.probes == 2 and bool(quarter.all())
    radiographs, all_round = template.probes, True
    if reference.part == probe.XRAY:
        radiographs, all_round = (views, True) if template.all_round else (max(radiographs, views), False)
    elif template.all_round:
        return evidence.TWO_PROBES, False
    if radiographs == 1:
        return (evidence.ONE_PROBE if all_round else evidence.PAIR), True
    return evidence.TWO_PROBES, all_round and radiographs == 2
