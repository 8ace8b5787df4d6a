"""Error rates in the words of ISO/IEC 19795-1, with intervals bootstrapped over bones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError

IntArray = NDArray[np.int64]
Interval = tuple[float, float]

_RULE_OF_30 = 30


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Distances between bones of known truth.

    Parameters
    ----------
    distance : (C,) float
    first, second : (C,) int, number of the bone on either side; equal for a genuine comparison
    """

    distance: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.genuine.any() or self.genuine.all():
            raise BoneprintError(
                f"{len(self.distance)} comparisons, {int(self.genuine.sum())} of them genuine; "
                "expected some of the same and some of different bones."
            )

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """(C,) which comparisons are of one bone with itself."""
        return np.equal(self.first, self.second)

    @property
    def bones(self) -> int:
        """How many different bones took part."""
        return len(np.union1d(self.first, self.second))


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """FMR and FNMR at T rising thresholds, (T,) each: the detection error trade-off (DET)."""

    threshold: NDArray[np.float64]
    false_match_rate: NDArray[np.float64]
    false_non_match_rate: NDArray[np.float64]

    @property
    def equal_error_rate(self) -> float:
        """Mean of both rates where they are nearest to each other (EER)."""
        at = int(np.argmin(np.abs(self.false_match_rate - self.false_non_match_rate)))
        return float((self.false_match_rate[at] + self.false_non_match_rate[at]) / 2)

    def missed_at(self, false_match: float) -> float:
        """The smallest FNMR whose FMR does not exceed ``false_match``; 1 where none does not."""
        # A sum of weights over its total may miss a rate by a rounding.
        within = int(np.searchsorted(self.false_match_rate, false_match * (1 + 1e-12), side="right"))
        return float(self.false_non_match_rate[within - 1]) if within else 1.0


@dataclass(frozen=True)
class OperatingPoint:
    """The rate of misses at a wanted rate of false alarms: FNMR at FMR, or FNIR at FPIR.

    Where the data cannot show the wanted rate, threshold, rate and interval are None, and ``remark`` says why; where
    they can barely, ``remark`` says that.
    """

    wanted: float
    threshold: float | None
    missed: float | None
    interval: Interval | None
    remark: str


def false_match_rate(comparisons: Comparisons, threshold: float) -> float:
    """Share of comparisons of different bones at or below the threshold (FMR)."""
    return float((comparisons.distance[~comparisons.genuine] <= threshold).mean())


def false_non_match_rate(comparisons: Comparisons, threshold: float) -> float:
    """Share of comparisons of one bone above the threshold (FNMR)."""
    return float((comparisons.distance[comparisons.genuine] > threshold).mean())


def threshold_at(comparisons: Comparisons, false_match: float) -> float:
    """The largest threshold whose false match rate does not exceed ``false_match``.

    Raises
    ------
    BoneprintError
        If there are too few different-bone comparisons to speak of that rate.
    """
    impostor = np.sort(comparisons.distance[~comparisons.genuine])
    allowed = int(np.floor(false_match * len(impostor)))
    if allowed < 1:
        raise BoneprintError(
            f"false match rate {false_match:g} cannot be measured on {len(impostor)} comparisons of different bones; "
            f"at least {int(np.ceil(1 / false_match))} are needed."
        )
    return float(np.nextafter(impostor[allowed], -np.inf))


def detection_error_tradeoff(comparisons: Comparisons) -> Tradeoff:
    """FMR and FNMR at every threshold that makes a difference."""
    thresholds = np.unique(comparisons.distance)
    impostor = np.sort(comparisons.distance[~comparisons.genuine])
    genuine = np.sort(comparisons.distance[comparisons.genuine])
    return Tradeoff(
        thresholds,
        np.searchsorted(impostor, thresholds, side="right") / len(impostor),
        1 - np.searchsorted(genuine, thresholds, side="right") / len(genuine),
    )


def equal_error_rate(comparisons: Comparisons) -> float:
    """Where false matches and false non-matches are equally frequent (EER)."""
    return detection_error_tradeoff(comparisons).equal_error_rate


def likelihood_ratio_cost(comparisons: Comparisons, log10_lr: Callable[[float], float]) -> float:
    """What likelihood ratios cost whoever believes them (Cllr): 0 if always right and sure, 1 if they say nothing.

    References
    ----------
    N. Brummer, J. du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language
    20(2-3), 230-275, 2006.
    """
    ratio = 10.0 ** np.array([log10_lr(distance) for distance in comparisons.distance])
    genuine = comparisons.genuine
    return float((np.log2(1 + 1 / ratio[genuine]).mean() + np.log2(1 + ratio[~genuine]).mean()) / 2)


def error_intervals(
    comparisons: Comparisons, threshold: float, *, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[Interval, Interval]:
    """Bootstrap intervals of FMR and FNMR at a threshold, drawing bones, not comparisons.

    Where no error was seen the upper end is the rule of three, 3 / bones: drawing again cannot find what is not in the
    sample. For FMR these are the bones of the side that has fewer of them, for FNMR those compared with themselves.
    """
    genuine = comparisons.genuine
    matched = comparisons.distance <= threshold
    weigh = _weights(comparisons)

    def rates(times: IntArray) -> tuple[float, float]:
        weight = weigh(times)
        return (
            weighted_share(matched[~genuine], weight[~genuine]),
            weighted_share(~matched[genuine], weight[genuine]),
        )

    low, high = bootstrap(comparisons.bones, rates, seed=seed, draws=draws, level=level)
    strangers = min(len(np.unique(side[~genuine])) for side in (comparisons.first, comparisons.second))
    return (
        with_rule_of_three(low[0], high[0], strangers),
        with_rule_of_three(low[1], high[1], len(np.unique(comparisons.first[genuine]))),
    )


def operating_points(
    comparisons: Comparisons, false_matches: Sequence[float], *, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[list[OperatingPoint], tuple[float, Interval]]:
    """FNMR at each wanted FMR, and the EER with its interval; the threshold is found anew in every draw.

    References
    ----------
    Rule of 30: G. R. Doddington et al., "The NIST speaker recognition evaluation", Speech Communication 31, 225-254,
    2000: with 30 errors the true rate lies within 30 % of the one seen, with 90 % confidence.
    """
    genuine = comparisons.genuine
    order = np.argsort(comparisons.distance, kind="stable")
    # The last of those that are equally far: a threshold accepts all of them or none.
    rising = comparisons.distance[order]
    ends = np.flatnonzero(np.append(rising[1:] != rising[:-1], True))
    weigh = _weights(comparisons)

    def measured(times: IntArray) -> list[float]:
        weight = weigh(times)[order]
        strange = np.cumsum(np.where(genuine[order], 0.0, weight))[ends]
        own = np.cumsum(np.where(genuine[order], weight, 0.0))[ends]
        if not strange[-1] or not own[-1]:
            return [np.nan] * (len(false_matches) + 1)
        curve = Tradeoff(rising[ends], strange / strange[-1], 1 - own / own[-1])
        return [*(curve.missed_at(rate) for rate in false_matches), curve.equal_error_rate]

    low, high = bootstrap(comparisons.bones, measured, seed=seed, draws=draws, level=level)
    impostors, bones = int((~genuine).sum()), len(np.unique(comparisons.first[genuine]))
    points = []
    for at, rate in enumerate(false_matches):
        wanted = f"{impostors} comparisons of different bones"
        if impostors * rate < 1:
            remark = f"{wanted}, at least {int(np.ceil(1 / rate))} are needed for a false match rate of {rate:g}"
            points.append(OperatingPoint(rate, None, None, None, remark))
            continue
        threshold = threshold_at(comparisons, rate)
        thin = f"{wanted} allow {int(impostors * rate)} false matches, fewer than the rule of 30 asks"
        remark = thin if impostors * rate < _RULE_OF_30 else ""
        interval = with_rule_of_three(low[at], high[at], bones)
        points.append(OperatingPoint(rate, threshold, false_non_match_rate(comparisons, threshold), interval, remark))
    return points, (equal_error_rate(comparisons), with_rule_of_three(low[-1], high[-1], bones))


def share_interval(
    right: NDArray[np.bool_],
    bones: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Bootstrap interval of a share, drawing bones; rule of three at the ends.

    Parameters
    ----------
    right : (S,) which came out right
    bones : (S,) number of the bone that each is of; by default each is of a bone of its own
    """
    _, of = np.unique(np.arange(len(right)) if bones is None else bones, return_inverse=True)
    hits, counts = np.bincount(of, weights=right), np.bincount(of)
    reach = min(1.0, 3 / len(counts))
    if right.all():
        return 1 - reach, 1.0
    if not right.any():
        return 0.0, reach
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(counts), size=(draws, len(counts)))
    low, high = np.quantile(hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    bones: int, measure: Callable[[IntArray], Sequence[float]], *, seed: int, draws: int, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of K measures when the bones are drawn anew.

    Parameters
    ----------
    bones : B
    measure : gets (B,) how often each bone was drawn, and gives K numbers; NaN where a draw says nothing
    """
    rng = np.random.default_rng(seed)
    drawn = [
        measure(np.bincount(rng.integers(bones, size=bones), minlength=bones).astype(np.int64)) for _ in range(draws)
    ]
    low, high = np.nanquantile(np.array(drawn, dtype=np.float64), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def with_rule_of_three(low: float, high: float, bones: int) -> Interval:
    """An interval of an error rate; where no draw had an error its upper end is 3 / bones."""
    return float(low), float(high) if high > 0 else min(1.0, 3 / bones)


def weighted_share(right: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Share of the weight that came out right; NaN where there is no weight."""
    total = weight.sum()
    return float(weight @ right / total) if total else float("nan")


def _weights(comparisons: Comparisons) -> Callable[[IntArray], NDArray[np.float64]]:
    """How often each comparison (C,) takes part, from how often each bone was drawn."""
    _, numbers = np.unique(np.concatenate([comparisons.first, comparisons.second]), return_inverse=True)
    first, second = np.split(numbers, 2)
    genuine = comparisons.genuine
    return lambda times: np.where(genuine, times[first], times[first] * times[second]).astype(np.float64)
