"""Bodies of bone with known truth, for demos, tests and training."""

from boneprint.simulate.body import Body, Scanner
from boneprint.simulate.individual import (
    BONES,
    CALIBRATION,
    COHORT,
    SPECIES,
    TRAINING,
    family,
    individual,
)

__all__ = ["BONES", "CALIBRATION", "COHORT", "SPECIES", "TRAINING", "Body", "Scanner", "family", "individual"]
