"""Error rates in the words of ISO/IEC 19795-1, with intervals bootstrapped over bones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError


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


def equal_error_rate(comparisons: Comparisons) -> float:
    """Where false matches and false non-matches are equally frequent (EER)."""
    thresholds = np.unique(comparisons.distance)
    impostor = np.sort(comparisons.distance[~comparisons.genuine])
    genuine = np.sort(comparisons.distance[comparisons.genuine])
    matched = np.searchsorted(impostor, thresholds, side="right") / len(impostor)
    missed = 1 - np.searchsorted(genuine, thresholds, side="right") / len(genuine)
    at = int(np.argmin(np.abs(matched - missed)))
    return float((matched[at] + missed[at]) / 2)


def error_intervals(
    comparisons: Comparisons, threshold: float, *, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bootstrap intervals of FMR and FNMR at a threshold, drawing bones, not comparisons.

    Where no error was seen the upper end is the rule of three over bones, 3 / bones: drawing again cannot find what is
    not in the sample.
    """
    rng = np.random.default_rng(seed)
    names, positions = np.unique(np.concatenate([comparisons.first, comparisons.second]), return_inverse=True)
    first, second = positions[: len(comparisons.first)], positions[len(comparisons.first) :]
    genuine = comparisons.genuine
    matched = comparisons.distance <= threshold
    rates: list[tuple[float, float]] = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weight = np.where(genuine, times[first], times[first] * times[second]).astype(np.float64)
        impostors, genuines = weight[~genuine], weight[genuine]
        if impostors.sum() and genuines.sum():
            fmr = impostors @ matched[~genuine] / impostors.sum()
            fnmr = genuines @ ~matched[genuine] / genuines.sum()
            rates.append((float(fmr), float(fnmr)))
    low, high = np.quantile(np.array(rates), [(1 - level) / 2, (1 + level) / 2], axis=0)
    ceiling = min(1.0, 3 / len(names))
    ends = [(float(a), float(b) if b > 0 else ceiling) for a, b in zip(low, high)]
    return ends[0], ends[1]


def share_interval(
    right: NDArray[np.bool_], *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the share of bones that came out right (one entry per bone); rule of three at the ends."""
    reach = min(1.0, 3 / len(right))
    if right.all():
        return 1 - reach, 1.0
    if not right.any():
        return 0.0, reach
    rng = np.random.default_rng(seed)
    shares = right[rng.integers(len(right), size=(draws, len(right)))].mean(axis=1)
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
