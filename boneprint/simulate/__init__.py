"""Bodies of bone with known truth, for demos, tests and training."""

from boneprint.simulate.body import Body
from boneprint.simulate.condition import HEALTHY, IMPLANTS, Condition
from boneprint.simulate.individual import (
    BONES,
    CALIBRATION,
    COHORT,
    SPECIES,
    TRAINING,
    family,
    individual,
)
from boneprint.simulate.scanner import Scanner

__all__ = [
    "BONES",
    "CALIBRATION",
    "COHORT",
    "HEALTHY",
    "IMPLANTS",
    "SPECIES",
    "TRAINING",
    "Body",
    "Condition",
    "Scanner",
    "family",
    "individual",
]
