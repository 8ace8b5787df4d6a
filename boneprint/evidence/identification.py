"""Error rates of searches in the words of ISO/IEC 19795-1:2021: always with gallery size N, rank R and threshold T."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.evidence.metrics import (
    Comparisons,
    Interval,
    OperatingPoint,
    bootstrap,
    share_interval,
    weighted_share,
    with_rule_of_three,
)

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Searches:
    """S searches of known truth in a gallery of N bones.

    Parameters
    ----------
    distance : (S, N) float; infinite where a bone was not compared. A search all of whose row is infinite failed to
        acquire: it returned nothing.
    truth : (S,) int, number of the bone that was searched with: its column, or for a bone that is not enrolled N or
        more (equal for the same bone)

    Raises
    ------
    BoneprintError
        If there are no searches, the shapes do not agree, or a distance is NaN.
    """

    distance: NDArray[np.float64]
    truth: IntArray

    def __post_init__(self) -> None:
        shape = np.shape(self.distance)
        if len(shape) != 2 or 0 in shape or np.shape(self.truth) != shape[:1] or np.isnan(self.distance).any():
            raise BoneprintError(
                f"searches: distances of shape {shape}, truth of {np.shape(self.truth)}; expected (S, N) without NaN "
                "and (S,), at least one of each."
            )

    @property
    def gallery(self) -> int:
        """N, how many bones were searched."""
        return int(self.distance.shape[1])

    @property
    def mated(self) -> NDArray[np.bool_]:
        """(S,) whose bone is enrolled."""
        return np.asarray(self.truth < self.gallery)

    @property
    def acquired(self) -> NDArray[np.bool_]:
        """(S,) which searches compared anything."""
        return np.asarray(np.isfinite(self.distance).any(axis=1))

    @cached_property
    def mate(self) -> NDArray[np.float64]:
        """(S,) distance of the right bone; infinite where it is not enrolled or was not compared."""
        own = self.distance[np.arange(len(self.truth)), np.minimum(self.truth, self.gallery - 1)]
        return np.where(self.mated, own, np.inf)

    @cached_property
    def rank(self) -> NDArray[np.float64]:
        """(S,) rank of the right bone, infinite where it is not found at all.

        Another bone at the same distance stands before it: a tie is no success.
        """
        return np.where(np.isfinite(self.mate), (self.distance <= self.mate[:, None]).sum(axis=1), np.inf)

    @cached_property
    def nearest_other(self) -> NDArray[np.float64]:
        """(S,) distance of the nearest wrong bone."""
        others = self.distance.copy()
        rows = np.flatnonzero(self.mated)
        others[rows, self.truth[rows]] = np.inf
        return np.asarray(others.min(axis=1))

    def of(self, chosen: NDArray[np.bool_]) -> "Searches":
        """Some of the searches, in the same gallery."""
        return Searches(self.distance[chosen], self.truth[chosen])

    def comparisons(self) -> Comparisons:
        """Every comparison that was made, for FMR and FNMR: what was never acquired was never compared.

        Raises
        ------
        BoneprintError
            If there are not both, comparisons of the same bone and of different ones.
        """
        genuine = self.truth[:, None] == np.arange(self.gallery)
        # A right bone that was set aside before any comparison is a non-match.
        made = (np.isfinite(self.distance) | genuine) & self.acquired[:, None]
        searched, compared = np.nonzero(made)
        return Comparisons(self.distance[made], self.truth[searched], compared)


@dataclass(frozen=True)
class Rate:
    """A share of trials with its interval, bootstrapped over bones; 95 %."""

    value: float
    interval: Interval
    trials: int
    bones: int


def rate(right: NDArray[np.bool_], bones: IntArray, *, seed: int = 0, draws: int = 2000) -> Rate | None:
    """The share of ``right`` (S,), where each is of the bone of that number; None of no trials."""
    if not len(right):
        return None
    interval = share_interval(right, bones, seed=seed, draws=draws)
    return Rate(float(right.mean()), interval, len(right), len(np.unique(bones)))


def cumulative_match(searches: Searches, ranks: Sequence[int], *, seed: int = 0, draws: int = 2000) -> list[Rate]:
    """CMC: share of mated searches whose bone is among the first R, for each R of ``ranks``, rising; empty without any.

    A search that failed to acquire found nothing, and counts.
    """
    found = searches.rank[searches.mated][:, None] <= np.array(ranks)
    rates = (rate(at, searches.truth[searches.mated], seed=seed, draws=draws) for at in found.T)
    curve = [each for each in rates if each is not None]
    # A few errors drawn again leave a narrower interval than none at all (rule of three). But nothing is surer of the
    # first R than of the first R + 1.
    lows = np.minimum.accumulate([each.interval[0] for each in curve][::-1])[::-1]
    return [replace(each, interval=(float(low), each.interval[1])) for each, low in zip(curve, lows)]


def false_negative_identification(
    searches: Searches, rank: int, threshold: float, *, seed: int = 0, draws: int = 2000
) -> Rate | None:
    """FNIR(N, R, T): share of mated searches whose bone is not among the first R within T; None without any.

    A search that failed to acquire missed its bone (as in P. Grother, M. Ngan, K. Hanaoka, NISTIR 8271, 2019).
    """
    missed = (searches.rank > rank) | (searches.mate > threshold)
    return rate(missed[searches.mated], searches.truth[searches.mated], seed=seed, draws=draws)


def false_positive_identification(
    searches: Searches, threshold: float, *, seed: int = 0, draws: int = 2000
) -> Rate | None:
    """FPIR(N, T): share of searches with a bone that is not enrolled that return any within T; None without any."""
    unmated = ~searches.mated
    return rate(searches.nearest_other[unmated] <= threshold, searches.truth[unmated], seed=seed, draws=draws)


def missed_at_false_positives(
    searches: Searches, wanted: float, rank: int, *, seed: int = 0, draws: int = 1000
) -> OperatingPoint:
    """FNIR(N, R, T) where T is the largest threshold whose FPIR(N, T) does not exceed ``wanted``."""
    mated = searches.mated
    strangers = searches.nearest_other[~mated]
    needed = int(np.ceil(1 / wanted))
    if len(strangers) < needed or not mated.any():
        remark = (
            f"{len(strangers)} searches of bones that are not enrolled, at least {needed} are needed for a false "
            f"positive rate of {wanted:g}"
            if mated.any()
            else "no search of a bone that is enrolled"
        )
        return OperatingPoint(wanted, None, None, None, remark)
    order = np.argsort(strangers, kind="stable")
    near = strangers[order]
    # The threshold lies just below a stranger's distance; below whose, each draw decides anew.
    below = np.nextafter(near, -np.inf)
    missed_below = (searches.rank[mated] > rank)[:, None] | (searches.mate[mated][:, None] > below)
    _, numbers = np.unique(searches.truth, return_inverse=True)
    strange, own = numbers[~mated][order], numbers[mated]
    starts = np.searchsorted(near, near, side="left")  # equally near strangers are false positives together

    def missed(times: IntArray) -> list[float]:
        weight = times[strange].astype(np.float64)
        before = np.concatenate([[0.0], np.cumsum(weight)])[starts]  # weight of false positives at each threshold
        if not weight.sum():
            return [np.nan]
        at = int(np.searchsorted(before, wanted * weight.sum() * (1 + 1e-12), side="right")) - 1
        return [weighted_share(missed_below[:, at], times[own].astype(np.float64))]

    at = int(np.searchsorted(starts, wanted * len(near) * (1 + 1e-12), side="right")) - 1
    low, high = bootstrap(int(numbers.max()) + 1, missed, seed=seed, draws=draws)
    interval = with_rule_of_three(low[0], high[0], len(np.unique(own)))
    return OperatingPoint(wanted, float(below[at]), float(missed_below[:, at].mean()), interval, "")
