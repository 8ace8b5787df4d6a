"""Pixels made square, and spacings that mean something."""

import math

import numpy as np
from numpy.typing import NDArray

# Dental sensors start near 0.02 mm, fluoroscopy ends near 1 mm; outside these bounds a spacing is a slip, not a size.
SMALLEST_SPACING_MM = 0.01
LARGEST_SPACING_MM = 3.0
# Spacings closer than this are one spacing: at 400 mm across it is 2 mm, under the magnification left unknown anyway.
SQUARE_TOLERANCE = 0.005


def plausible_mm(spacing: float) -> bool:
    """Whether a spacing in mm can be that of a radiograph's pixel; 0, NaN and metres cannot."""
    return math.isfinite(spacing) and SMALLEST_SPACING_MM <= spacing <= LARGEST_SPACING_MM


def square_pixels(pixels: NDArray[np.float32], row_mm: float, column_mm: float) -> tuple[NDArray[np.float32], float]:
    """Resample a picture whose pixels are not square, linearly, to the finer of its two spacings.

    Parameters
    ----------
    pixels : (H, W) float32
    row_mm : distance between rows (y)
    column_mm : distance between columns (x); only the ratio matters where the unit is unknown

    Returns
    -------
    (H', W') float32 and its spacing, in the unit of the input
        Unchanged, with the geometric mean, where the two agree within 0.5 %.
    """
    if abs(row_mm / column_mm - 1) <= SQUARE_TOLERANCE:
        return pixels, math.sqrt(row_mm * column_mm)
    if row_mm > column_mm:
        return _stretched(pixels, row_mm / column_mm), column_mm
    return np.ascontiguousarray(_stretched(pixels.T, column_mm / row_mm).T), row_mm


def _stretched(pixels: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """More rows, by linear interpolation between pixel centres."""
    height = pixels.shape[0]
    wanted = max(1, round(height * factor))
    rows = np.clip((np.arange(wanted) + 0.5) / factor - 0.5, 0, height - 1)
    low = np.minimum(rows.astype(np.intp), max(height - 2, 0))
    high = np.minimum(low + 1, height - 1)
    share = (rows - low).astype(np.float32)[:, None]
    return np.asarray(pixels[low] * (1 - share) + pixels[high] * share, dtype=np.float32)
