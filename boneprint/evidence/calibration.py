"""What a distance means: a threshold with provenance and a likelihood ratio within what the data supports."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.evidence import metrics
from boneprint.nouns import Threshold

# Kinds of comparison; each has distances of its own, so each is calibrated by itself, for each kind of bone.
PAIR = "radiograph-radiograph"
ONE_PROBE = "one radiograph-enrolled bone"
TWO_PROBES = "two radiographs-enrolled bone"
BIPLANE = "biplane radiographs-enrolled bone"
# Pairs whose kind nobody says are compared on the canvas that holds both, and not on that of their kind.
UNSAID = "radiograph-radiograph, kind not said"

_FALSE_MATCH = 1e-3
_BEFORE_KINDS = "femur"  # what the entries of older cards speak of, which do not say it


@dataclass(frozen=True)
class Calibration:
    """Threshold and likelihood ratio for one kind of comparison of one kind of bone.

    ``log10 LR = intercept + slope * distance``, cut at ``log10_lr_bounds``: no set of N bones supports a ratio above
    about N, however small a distance.
    """

    threshold: Threshold
    intercept: float
    slope: float
    log10_lr_bounds: tuple[float, float]
    canvas_heights_mm: tuple[float, ...]

    def log10_lr(self, distance: float) -> float:
        """How much more often this distance arises from one bone than from two, as a power of ten."""
        low, high = self.log10_lr_bounds
        return min(max(self.intercept + self.slope * distance, low), high)

    def to_card(self) -> dict[str, Any]:
        """As it stands in the weights' JSON card."""
        return asdict(self)

    @classmethod
    def from_card(cls, entry: dict[str, Any]) -> Self:
        """Read back what ``to_card`` wrote."""
        said = {"bone": _BEFORE_KINDS, **entry["threshold"]}
        for name in ("false_match_interval", "false_non_match_interval"):
            said[name] = tuple(said[name])
        pair = tuple(entry["log10_lr_bounds"])
        return cls(Threshold(**said), entry["intercept"], entry["slope"], pair, tuple(entry["canvas_heights_mm"]))


def calibrate(
    comparisons: metrics.Comparisons,
    *,
    kind: str,
    bone: str,
    data: str,
    embedder: str,
    date: str,
    canvas_heights_mm: tuple[float, ...],
) -> Calibration:
    """Fix the threshold at a false match rate of 0.001 and fit the likelihood ratio.

    Parameters
    ----------
    comparisons : of bones that were in neither training nor test, all of one kind
    kind : PAIR, ONE_PROBE, TWO_PROBES, BIPLANE or UNSAID
    bone : kind of bone, as references name it
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
        bone=bone,
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
    """Intercept and slope of the log odds in distance; both classes weigh the same, a faint ridge keeps them finite.

    Where one bone's distances are not smaller than two bones' the distance says nothing: the odds are even everywhere.
    """
    from scipy.optimize import minimize  # a second to load, and needed to calibrate only

    made = np.isfinite(comparisons.distance)
    distance, genuine = comparisons.distance[made], comparisons.genuine[made]
    sign = np.where(genuine, 1.0, -1.0)
    weight = np.where(genuine, 0.5 / genuine.sum(), 0.5 / (~genuine).sum())

    def cost(line: NDArray[np.float64]) -> float:
        odds = line[0] + line[1] * distance
        return float(weight @ np.logaddexp(0, -sign * odds) + 1e-5 * line[1] ** 2)

    fitted = minimize(cost, np.array([1.0, -1.0]), method="BFGS")
    return (0.0, 0.0) if fitted.x[1] >= 0 else (float(fitted.x[0]), float(fitted.x[1]))


# By kind of comparison, then by kind of bone.
Calibrations: TypeAlias = Mapping[str, Mapping[str, Calibration]]


def of_card(card: dict[str, Any]) -> Calibrations:
    """All that weights were calibrated for; a card of before kinds of bone were told apart speaks of femora.

    Raises
    ------
    BoneprintError
        If the weights were never calibrated.
    """
    found: dict[str, dict[str, Calibration]] = {}
    try:
        # Weights that were calibrated by an earlier version know nothing of these.
        later = (kind for kind in (BIPLANE, UNSAID) if kind in card["calibration"])
        for kind in (PAIR, ONE_PROBE, TWO_PROBES, *later):
            entries = card["calibration"][kind]
            by_bone = {_BEFORE_KINDS: entries} if "threshold" in entries else entries
            found[kind] = {bone: Calibration.from_card(entry) for bone, entry in by_bone.items()}
            _ = _strictest(found[kind])  # there is one at least
    except (KeyError, TypeError, ValueError):
        raise BoneprintError(
            f"weights '{card.get('name')}': no usable calibration in their card; "
            "`boneprint train` writes one, so train again or use the shipped weights."
        ) from None
    return found


def pair_canvas_mm(card: Mapping[str, Any], bone: str | None) -> float | None:
    """Height of the one canvas that pairs of radiographs of a kind of bone were calibrated on; None without one.

    Weights that were calibrated by an earlier version name several: each pair was compared on what held both pictures.
    """
    of_bones = (card.get("calibration") or {}).get(PAIR, {})
    heights: list[float] = of_bones.get((bone or "").lower(), {}).get("canvas_heights_mm", [])
    return float(heights[0]) if len(heights) == 1 else None


@dataclass(frozen=True)
class Rule:
    """By what a comparison is judged.

    ``uncalibrated`` is None where the calibration is the comparison's own; otherwise it says in words why it is not,
    and there is no likelihood ratio.
    """

    calibration: Calibration
    uncalibrated: str | None = None

    @property
    def threshold(self) -> Threshold:
        """The margin."""
        return self.calibration.threshold

    def within(self, distance: float) -> bool:
        """Whether a distance is within the margin."""
        return distance <= self.threshold.value

    def log10_lr(self, distance: float) -> float | None:
        """As `Calibration.log10_lr`; None where nothing was calibrated."""
        return None if self.uncalibrated else self.calibration.log10_lr(distance)

    @property
    def log10_lr_bounds(self) -> tuple[float, float]:
        """What the calibration supports: nothing but even odds where there is none."""
        return (0.0, 0.0) if self.uncalibrated else self.calibration.log10_lr_bounds


def rule(
    calibrations: Calibrations, comparison: str, bone: str | None, canvas_mm: float, *, exact: bool = True
) -> Rule:
    """The rule for a kind of comparison of a kind of bone, seen on a canvas of that height.

    Distances of another kind of bone, or on another canvas, say little about this one's: a margin for femora may take
    one in ten pairs of vertebrae for one bone. So what was not calibrated is judged by the strictest margin there is,
    and has no likelihood ratio.

    Parameters
    ----------
    bone : as a reference names it; None where nobody has said it
    exact : whether the comparison is the calibrated one itself, and not one that resembles it, e.g. of three probes
    """
    if comparison == BIPLANE and comparison not in calibrations:
        comparison, exact = TWO_PROBES, False
    of_bones = calibrations[comparison]
    own = None if bone is None else of_bones.get(bone.lower())
    if own is not None and canvas_mm in own.canvas_heights_mm:
        return Rule(own, None if exact else f"views such as these were not calibrated; judged as {comparison}")
    strictest = _strictest(calibrations.get(UNSAID, of_bones) if comparison == PAIR else of_bones)
    if bone is None:
        why = "the kind of bone was not said (--bone, bone=)"
    elif own is None:
        why = f"bones called '{bone}' were not calibrated"
    else:
        why = f"bones called '{bone}' were not calibrated on a canvas of {canvas_mm:g} mm"
    kinds = ", ".join(of_bones)
    judged = f"judged by the strictest margin of {kinds} (that of {strictest.threshold.bone}), with unknown error rates"
    return Rule(strictest, f"{why}; {judged}")


def _strictest(of_bones: Mapping[str, Calibration]) -> Calibration:
    return min(of_bones.values(), key=lambda calibration: calibration.threshold.value)
