"""Everything that an evaluation says of one set of searches."""

from dataclasses import dataclass

import numpy as np

from boneprint.errors import BoneprintError
from boneprint.evidence.identification import (
    Rate,
    Searches,
    cumulative_match,
    false_negative_identification,
    false_positive_identification,
    missed_at_false_positives,
    rate,
)
from boneprint.evidence.metrics import (
    Comparisons,
    Interval,
    OperatingPoint,
    Tradeoff,
    detection_error_tradeoff,
    error_intervals,
    false_match_rate,
    false_non_match_rate,
    operating_points,
)

FALSE_MATCHES = (1e-3, 1e-4)
FALSE_POSITIVES = 0.01
# A list longer than this no examiner looks through.
_RANKS = 100


@dataclass(frozen=True, eq=False)
class PairRates:
    """Error rates of single comparisons, genuine and impostor, at one threshold and at any.

    ``equal_error`` is the EER with its interval; ``missed_at`` the FNMR at each FMR of ``FALSE_MATCHES``.
    """

    genuine: int
    impostor: int
    false_match: float
    false_match_interval: Interval
    false_non_match: float
    false_non_match_interval: Interval
    equal_error: tuple[float, Interval]
    missed_at: tuple[OperatingPoint, ...]
    tradeoff: Tradeoff


@dataclass(frozen=True, eq=False)
class Outcome:
    """Error rates of searches at gallery size N and threshold T.

    Parameters
    ----------
    gallery : N
    threshold : T
    cumulative_match : CMC at ranks 1, 2, ... (rank only, no threshold)
    missed : FNIR(N, R, T) for each R of ``missed_ranks``
    false_positive : FPIR(N, T); None without searches of bones that are not enrolled
    missed_at_false_positives : FNIR(N, 1, T') at an FPIR of ``FALSE_POSITIVES``
    failure_to_acquire : share of searches that compared nothing
    verification : None where all or none of the comparisons are of one bone
    """

    gallery: int
    threshold: float
    mated: int
    unmated: int
    cumulative_match: tuple[Rate, ...]
    missed_ranks: tuple[int, ...]
    missed: tuple[Rate, ...]
    false_positive: Rate | None
    missed_at_false_positives: OperatingPoint
    failure_to_acquire: Rate
    verification: PairRates | None


def outcome(searches: Searches, threshold: float, *, seed: int = 0, draws: int = 1000) -> Outcome:
    """Measure searches at a threshold that was fixed before, on other bones."""
    often = {"seed": seed, "draws": draws}
    ranks = tuple(rank for rank in (1, 5, 10) if rank <= searches.gallery)
    missed = (false_negative_identification(searches, rank, threshold, **often) for rank in ranks)
    failed = rate(~searches.acquired, searches.truth, **often)
    assert failed is not None  # there is at least one search
    return Outcome(
        gallery=searches.gallery,
        threshold=threshold,
        mated=int(searches.mated.sum()),
        unmated=int((~searches.mated).sum()),
        cumulative_match=tuple(cumulative_match(searches, range(1, min(searches.gallery, _RANKS) + 1), **often)),
        missed_ranks=ranks,
        missed=tuple(each for each in missed if each is not None),
        false_positive=false_positive_identification(searches, threshold, **often),
        missed_at_false_positives=missed_at_false_positives(searches, FALSE_POSITIVES, 1, **often),
        failure_to_acquire=failed,
        verification=_verification(searches, threshold, seed, draws),
    )


def _verification(searches: Searches, threshold: float, seed: int, draws: int) -> PairRates | None:
    try:
        comparisons: Comparisons = searches.comparisons()
    except BoneprintError:
        return None
    matches, misses = error_intervals(comparisons, threshold, seed=seed, draws=draws)
    points, equal = operating_points(comparisons, FALSE_MATCHES, seed=seed, draws=draws)
    return PairRates(
        genuine=int(comparisons.genuine.sum()),
        impostor=int(np.sum(~comparisons.genuine)),
        false_match=false_match_rate(comparisons, threshold),
        false_match_interval=matches,
        false_non_match=false_non_match_rate(comparisons, threshold),
        false_non_match_interval=misses,
        equal_error=equal,
        missed_at=tuple(points),
        tradeoff=detection_error_tradeoff(comparisons),
    )
