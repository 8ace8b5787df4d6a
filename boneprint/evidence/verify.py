"""The verdict on two radiographs."""

import numpy as np
from numpy.typing import NDArray

from boneprint.evidence.calibration import Rule
from boneprint.nouns import Verification


def verdict(first: NDArray[np.float32], second: NDArray[np.float32], judged: Rule) -> Verification:
    """Compare two fingerprints, (D,) unit vectors of one canvas.

    Returns
    -------
    Verification
        ``within_margin`` is S1's yes or no; the likelihood ratio is the result to report.
    """
    distance = float(np.linalg.norm(first.astype(np.float64) - second))
    return Verification(
        distance=distance,
        threshold=judged.threshold,
        within_margin=judged.within(distance),
        log10_lr=judged.log10_lr(distance),
        log10_lr_bounds=judged.log10_lr_bounds,
        uncalibrated=judged.uncalibrated,
    )
