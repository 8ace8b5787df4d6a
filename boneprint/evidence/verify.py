"""The verdict on two radiographs."""

import numpy as np
from numpy.typing import NDArray

from boneprint.evidence.calibration import Calibration
from boneprint.nouns import Verification


def verdict(
    first: NDArray[np.float32], second: NDArray[np.float32], canvas_mm: float, calibration: Calibration
) -> Verification:
    """Compare two fingerprints, (D,) unit vectors of one canvas of that height.

    Returns
    -------
    Verification
        ``within_margin`` is S1's yes or no; the likelihood ratio is the result to report.
    """
    distance = float(np.linalg.norm(first.astype(np.float64) - second))
    return Verification(
        distance=distance,
        threshold=calibration.threshold,
        within_margin=distance <= calibration.threshold.value,
        log10_lr=calibration.log10_lr(distance, canvas_mm),
        log10_lr_bounds=calibration.log10_lr_bounds,
    )
