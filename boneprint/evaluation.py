"""Search a database with radiographs of known truth, and count the errors by the field's rules."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneprint.database import Database
from boneprint.errors import BoneprintError, StoreError
from boneprint.evidence.identification import Rate, Searches, rate
from boneprint.evidence.outcome import Outcome, outcome
from boneprint.index import chosen, conditions
from boneprint.nouns import Fingerprint, Threshold
from boneprint.probe import as_radiograph
from boneprint.truth import BoneKey, Probe, bone_key, read_truth

# More values than this are no strata but measurements; they have to be put into classes first.
_MOST_VALUES = 20


@dataclass(frozen=True, eq=False)
class Part:
    """Searches with equally many radiographs, all of them or one stratum, and their error rates.

    Parameters
    ----------
    stratum : (column, value), or None for all of them
    threshold : T, from the weights' card: fixed on other bones of the gallery's kind; the strictest, of several kinds
    chosen : (S,) bool, which of the evaluation's searches
    """

    radiographs: int
    stratum: tuple[str, str] | None
    threshold: Threshold
    chosen: NDArray[np.bool_]
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that was found.

    Parameters
    ----------
    gallery : N, the size of the gallery in bones; two scans of one bone count once
    references : enrolled references among them
    keys : subject, kind, side and part of each bone by its number in ``searches``; the first N are enrolled
    probes, fingerprints, errors : S of each; an error says why a probe failed to acquire, its fingerprint is then None
    parts : for each number of radiographs all searches first, then their strata; empty where all failed
    failure_to_enrol : over the bones that the truth says ought to be enrolled; None where it says nothing
    """

    gallery: int
    references: int
    generation: int
    embedder: str
    where: tuple[str, ...]
    keys: tuple[BoneKey, ...]
    probes: tuple[Probe, ...]
    fingerprints: tuple[Fingerprint | None, ...]
    errors: tuple[str | None, ...]
    searches: Searches
    parts: tuple[Part, ...]
    failure_to_enrol: Rate | None
    seed: int
    draws: int
    seconds: float

    @property
    def bones(self) -> tuple[str, ...]:
        """What to call each bone: subject, kind and side."""
        return tuple(" ".join(word for word in key[:3] if word) for key in self.keys)


def evaluate(
    database: Database,
    truth: Path | str,
    *,
    by: Sequence[str] | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
    angles_deg: Sequence[float] | None = None,
    seed: int = 0,
    draws: int = 1000,
    report: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Search with every probe of a truth file, look at every view, and measure.

    Searches with one radiograph and with several are different kinds of comparison, each with a threshold of its own,
    and reported apart. The right person's other bones count neither as genuine nor as impostor: within-person
    comparisons are no measure of strangers.

    Parameters
    ----------
    truth : CSV file, see `boneprint.truth`
    by : columns of the truth to report by; all that have several values by default
    where : only among such bones, as in `Database.search`; N counts these
    angles_deg : as in `Database.search`, of probes that have as many radiographs
    seed, draws : of the bootstrap over bones
    report : told of probes done, of how many, and what failed

    Raises
    ------
    BoneprintError
        If the truth contradicts the gallery or itself.
    StoreError
        If the store is damaged.

    References
    ----------
    ISO/IEC 19795-1:2021. Within-person comparisons: A. J. Mansfield, J. L. Wayman, "Best practices in testing and
    reporting performance of biometric devices", NPL report CMSC 14/02, 2002.
    """
    started = time.perf_counter()
    probes = read_truth(truth)
    strata = _strata(probes, by)
    gallery = database.store.gallery()
    asked = conditions(where)
    references = [gallery.references[row] for row in np.flatnonzero(chosen(gallery, asked))]
    # Before anything is searched: a truth that contradicts the gallery is no failure to acquire.
    mates = [probe.mate(references) for probe in probes]
    enrolled = {key: number for number, key in enumerate(dict.fromkeys(map(bone_key, references)))}
    strangers = dict.fromkeys(_stranger(probe) for probe, mate in zip(probes, mates) if mate is None)
    numbers = {key: len(enrolled) + number for number, key in enumerate(strangers)}

    subjects = np.array([reference.subject_id for reference in references])
    columns = np.array([enrolled[bone_key(reference)] for reference in references])
    distances = np.full((len(probes), len(enrolled)), np.inf)
    fingerprints: list[Fingerprint | None] = [None] * len(probes)
    errors: list[str | None] = [None] * len(probes)
    thresholds: dict[int, Threshold] = {}
    for row, probe in enumerate(probes):
        try:
            radiographs = [as_radiograph(p, pixel_spacing_mm=mm) for p, mm in zip(probe.paths, probe.pixel_spacing_mm)]
            known = angles_deg if len(radiographs) == len(angles_deg or ()) else None
            fingerprint = database.fingerprint(radiographs, angles_deg=known)
            result = database.search(fingerprint, 1, where=map(str, asked), all_scores=True)
        except StoreError:
            raise
        except BoneprintError as error:
            errors[row] = str(error)
        else:
            fingerprints[row] = fingerprint
            if len(probe.paths) not in thresholds:
                thresholds[len(probe.paths)] = database.threshold(fingerprint, where=map(str, asked))
            scores = result.scores or {}
            mate = mates[row]
            subject, own = (probe.subject_id, -1) if mate is None else (mate[0], enrolled[mate])
            meant = (subjects != subject) | (columns == own)
            measured = np.array([scores.get(reference.bone_id, np.inf) for reference in references])
            np.minimum.at(distances[row], columns[meant], measured[meant])
        if report:
            report(row + 1, len(probes), f"failed to acquire {errors[row]}" if errors[row] else "")

    truths = [numbers[_stranger(probe)] if mate is None else enrolled[mate] for probe, mate in zip(probes, mates)]
    searches = Searches(distances, np.array(truths))
    return Evaluation(
        gallery=len(enrolled),
        references=len(references),
        generation=gallery.generation,
        embedder=database.store.embedder,
        where=tuple(map(str, asked)),
        keys=(*enrolled, *numbers),
        probes=tuple(probes),
        fingerprints=tuple(fingerprints),
        errors=tuple(errors),
        searches=searches,
        parts=tuple(_parts(probes, searches, thresholds, strata, seed, draws)),
        failure_to_enrol=_failure_to_enrol(probes, searches, seed, draws),
        seed=seed,
        draws=draws,
        seconds=time.perf_counter() - started,
    )


def _stranger(probe: Probe) -> BoneKey:
    """What makes two probes of bones that are not enrolled probes of one bone."""
    return probe.subject_id or "", probe.bone or "", probe.laterality, ""


def _strata(probes: Sequence[Probe], by: Sequence[str] | None) -> dict[str, list[str]]:
    """The columns to report by, with their values in the order of the file."""
    known = list(probes[0].strata)
    for column in by or ():
        if column not in known:
            raise BoneprintError(
                f"--by {column}: no such column; the truth has {', '.join(known) or 'none'} to report by."
            )
    values = {column: list(dict.fromkeys(probe.strata[column] for probe in probes)) for column in (by or known)}
    for column, found in values.items():
        if len(found) > _MOST_VALUES:
            raise BoneprintError(
                f"truth: column {column} has {len(found)} values, expected at most {_MOST_VALUES} to report by. Put "
                "them into classes, or name the columns you mean with --by."
            )
    return {column: found for column, found in values.items() if len(found) > 1}


def _parts(
    probes: Sequence[Probe],
    searches: Searches,
    thresholds: Mapping[int, Threshold],
    strata: Mapping[str, Sequence[str]],
    seed: int,
    draws: int,
) -> Iterator[Part]:
    radiographs = np.array([len(probe.paths) for probe in probes])
    for count, threshold in sorted(thresholds.items()):
        for stratum in (None, *((column, value) for column, values in strata.items() for value in values)):
            fits = [stratum is None or probe.strata[stratum[0]] == stratum[1] for probe in probes]
            chosen_searches = (radiographs == count) & np.array(fits)
            if chosen_searches.any():
                measured = outcome(searches.of(chosen_searches), threshold.value, seed=seed, draws=draws)
                yield Part(count, stratum, threshold, chosen_searches, measured)


def _failure_to_enrol(probes: Sequence[Probe], searches: Searches, seed: int, draws: int) -> Rate | None:
    """Share of the bones that ought to be enrolled, and are not; each bone counts once."""
    expected = np.array([probe.enrolled is True for probe in probes])
    bones = np.unique(searches.truth[expected])
    return rate(bones >= searches.gallery, bones, seed=seed, draws=draws)
