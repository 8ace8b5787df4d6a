"""What a distance means: a threshold with provenance and a likelihood ratio within what the data supports."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.evidence import metrics
from boneprint.nouns import Threshold

# Kinds of comparison; each has distances of its own, so each is calibrated by itself.
PAIR = "radiograph-radiograph"
ONE_PROBE = "one radiograph-enrolled bone"
TWO_PROBES = "two radiographs-enrolled bone"

_FALSE_MATCH = 1e-3


@dataclass(frozen=True)
class Calibration:
    """Threshold and likelihood ratio for one kind of comparison.

    ``log10 LR = intercept + slope * distance``, cut at ``log10_lr_bounds``: no set of N bones supports a ratio above
    about N, however small a distance.
    """

    threshold: Threshold
    intercept: float
    slope: float
    log10_lr_bounds: tuple[float, float]
    canvas_heights_mm: tuple[float, ...]

    def log10_lr(self, distance: float, canvas_mm: float) -> float | None:
        """How much more often this distance arises from one bone than from two, as a power of ten.

        None on a canvas that was not calibrated: the distances of cats say nothing about those of people.
        """
        if canvas_mm not in self.canvas_heights_mm:
            return None
        low, high = self.log10_lr_bounds
        return min(max(self.intercept + self.slope * distance, low), high)

    def to_card(self) -> dict[str, Any]:
        """As it stands in the weights' JSON card."""
        return asdict(self)

    @classmethod
    def from_card(cls, entry: dict[str, Any]) -> Self:
        """Read back what ``to_card`` wrote."""
        said = dict(entry["threshold"])
        for name in ("false_match_interval", "false_non_match_interval"):
            said[name] = tuple(said[name])
        pair = tuple(entry["log10_lr_bounds"])
        return cls(Threshold(**said), entry["intercept"], entry["slope"], pair, tuple(entry["canvas_heights_mm"]))


def calibrate(
    comparisons: metrics.Comparisons,
    *,
    kind: str,
    data: str,
    embedder: str,
    date: str,
    canvas_heights_mm: tuple[float, ...],
) -> Calibration:
    """Fix the threshold at a false match rate of 0.001 and fit the likelihood ratio.

    Parameters
    ----------
    comparisons : of bones that were in neither training nor test
    kind : PAIR, ONE_PROBE or TWO_PROBES
    data : where the bones come from, for the provenance
    canvas_heights_mm : the fields of view that the bones were seen on; it holds for no other

    References
    ----------
    Logistic regression of scores with balanced priors: D. A. van Leeuwen and N. Brummer, "An introduction to
    application-independent evaluation of speaker recognition systems", 2007.
    """
    value = metrics.threshold_at(comparisons, _FALSE_MATCH)
    matches, non_matches = metrics.error_intervals(comparisons, value)
    threshold = Threshold(
        value=value,
        kind=kind,
        false_match_rate=metrics.false_match_rate(comparisons, value),
        false_match_interval=matches,
        false_non_match_rate=metrics.false_non_match_rate(comparisons, value),
        false_non_match_interval=non_matches,
        data=data,
        bones=comparisons.bones,
        embedder=embedder,
        date=date,
    )
    intercept, slope = _logistic(comparisons)
    ceiling = math.log10(comparisons.bones)
    bounds = (-ceiling, ceiling)
    return Calibration(threshold, intercept / math.log(10), slope / math.log(10), bounds, canvas_heights_mm)


def _logistic(comparisons: metrics.Comparisons) -> tuple[float, float]:
    """Intercept and slope of the log odds in distance; both classes weigh the same, a faint ridge keeps them finite."""
    from scipy.optimize import minimize  # a second to load, and needed to calibrate only

    genuine = comparisons.genuine
    sign = np.where(genuine, 1.0, -1.0)
    weight = np.where(genuine, 0.5 / genuine.sum(), 0.5 / (~genuine).sum())

    def cost(line: NDArray[np.float64]) -> float:
        odds = line[0] + line[1] * comparisons.distance
        return float(weight @ np.logaddexp(0, -sign * odds) + 1e-5 * line[1] ** 2)

    fitted = minimize(cost, np.array([1.0, -1.0]), method="BFGS")
    if fitted.x[1] >= 0:
        raise BoneprintError(
            "calibration: distances of one bone are not smaller than those of two; the embedder is blind."
        )
    return float(fitted.x[0]), float(fitted.x[1])


def of_card(card: dict[str, Any], kind: str) -> Calibration:
    """The calibration of one kind of comparison in a weights' card.

    Raises
    ------
    BoneprintError
        If the weights were never calibrated for it.
    """
    try:
        return Calibration.from_card(card["calibration"][kind])
    except (KeyError, TypeError, ValueError):
        raise BoneprintError(
            f"weights '{card.get('name')}': no usable calibration for '{kind}' in their card; "
            "`boneprint train` writes one, so train again or use the shipped weights."
        ) from None
