"""From distances to evidence: thresholds, likelihood ratios, error rates."""

from boneprint.evidence.calibration import (
    BIPLANE,
    ONE_PROBE,
    PAIR,
    TWO_PROBES,
    UNSAID,
    Calibration,
    Calibrations,
    Rule,
    calibrate,
    of_card,
    pair_canvas_mm,
    rule,
)
from boneprint.evidence.verify import verdict

__all__ = [
    "BIPLANE",
    "ONE_PROBE",
    "PAIR",
    "TWO_PROBES",
    "UNSAID",
    "Calibration",
    "Calibrations",
    "Rule",
    "calibrate",
    "of_card",
    "pair_canvas_mm",
    "rule",
    "verdict",
]
