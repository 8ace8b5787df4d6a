"""From line integrals to a picture as a detector and its software might leave it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def expose(line_integrals: NDArray[np.float32], pixel_mm: float, *, seed: int) -> NDArray[np.float32]:
    """Take a radiograph: focal blur, scatter, quantum noise, and a display curve, all drawn from a seed.

    Parameters
    ----------
    line_integrals : (H, W) float32, no unit
    pixel_mm : pixel pitch
    seed : decides dose (1,500 to 10,000 quanta a pixel in the open beam), blur (0.2 to 0.7 mm), scatter (5 to 35 % of
        ``primary * line integral``, smooth over 15 to 40 mm) and the gamma of the display (0.7 to 1.4)

    Returns
    -------
    (H, W) float32 in 0..1, bone bright

    References
    ----------
    Scatter rises where much is absorbed and much still comes through, p * (-ln p), and not in the open beam:
    B. Ohnesorge et al., Eur. Radiol. 9, 563-569, 1999.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(11,)))
    blur_mm, scatter_mm = rng.uniform(0.2, 0.7), rng.uniform(15, 40)
    scatter, quanta, gamma = (
        rng.uniform(0.05, 0.35),
        np.exp(rng.uniform(np.log(1500), np.log(10000))),
        rng.uniform(0.7, 1.4),
    )
    integrals = line_integrals.astype(np.float64)
    primary = ndimage.gaussian_filter(np.exp(-integrals), blur_mm / pixel_mm)
    fluence = primary + scatter * ndimage.gaussian_filter(np.exp(-integrals) * integrals, scatter_mm / pixel_mm)
    counted = rng.poisson(quanta * fluence)
    log = -np.log(np.maximum(counted, 1) / quanta)
    low, high = np.quantile(log, [0.002, 0.998])
    shown = np.clip((log - low) / max(high - low, 1e-6), 0, 1) ** gamma
    return np.asarray(shown, dtype=np.float32)
