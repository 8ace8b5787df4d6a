"""What a radiograph and a rendered bone have in common: edges, freed of exposure, flesh and slow change.

The same filters run over both. Flesh wider than bone is taken away by a grey opening; what is left is band-passed and
measured against the strength of the edges around it. Coarser pictures of the edges serve the search: blurred edges
attract from further away.
"""

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Pixels. An opening of 52 mm where a pixel is 2 mm: a femur's shaft is 30 mm wide, a thigh 120.
_FLESH = 13
_FINE, _BROAD, _AROUND = 1, 2, 3
_FLOOR = 0.3  # of the picture's mean edge, below which local strength does not count
# Beyond how many blurs' widths change is slow.
_SLOW = 3


def edges(picture: FloatArray) -> FloatArray:
    """Edges of (H, W) pixels, bright ridges above 0."""
    bone = np.maximum(picture - _opened(picture, _FLESH), 0)
    fine = mean(bone, _FINE)
    band = fine - mean(mean(fine, _BROAD), _BROAD)
    power = band * band
    # Running sums leave a trace of rounding, of either sign, where there is nothing.
    strength: FloatArray = np.sqrt(np.maximum(mean(mean(power, _AROUND), _AROUND), 0))
    floor = np.float32(_FLOOR * np.sqrt(power.mean()) + 1e-9)
    found: FloatArray = band / (strength + floor)
    return found


def coarser(picture: FloatArray, factor: int) -> FloatArray:
    """Edges (H, W), blurred to suit pixels ``factor`` times as large, without slow change: (H / factor, W / factor)."""
    blurred = mean(mean(picture, factor), factor)
    flat = blurred - mean(mean(blurred, _SLOW * factor), _SLOW * factor)
    result: FloatArray = blocks(flat, factor).mean(axis=(1, 3))
    return result


def blocks(picture: NDArray[np.generic], factor: int) -> NDArray[np.generic]:
    """(H, W) as (H / factor, factor, W / factor, factor); what does not fill a block is left out."""
    rows, columns = (n // factor for n in picture.shape)
    return picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)


def mean(picture: FloatArray, reach: int) -> FloatArray:
    """Mean over ``reach`` pixels either way; the border is repeated."""
    there = np.ascontiguousarray(picture, dtype=np.float32)
    result = np.empty_like(there)
    _mean(there, reach, result)
    return result


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _mean(picture: FloatArray, reach: int, result: FloatArray) -> None:
    rows, columns = picture.shape
    share = np.float32(1) / np.float32(2 * reach + 1)
    across = np.empty_like(picture)
    for row in range(rows):
        total = 0.0
        for column in range(-reach, reach + 1):
            total += picture[row, min(max(column, 0), columns - 1)]
        across[row, 0] = total
        for column in range(1, columns):
            total += picture[row, min(column + reach, columns - 1)] - picture[row, max(column - reach - 1, 0)]
            across[row, column] = total
    sums = np.zeros(columns, dtype=np.float64)
    for row in range(-reach, reach + 1):
        sums += across[min(max(row, 0), rows - 1)]
    for row in range(rows):
        if row:
            below, above = across[min(row + reach, rows - 1)], across[max(row - reach - 1, 0)]
            for column in range(columns):
                sums[column] += below[column] - above[column]
        for column in range(columns):
            result[row, column] = sums[column] * share * share


def _opened(picture: FloatArray, reach: int) -> FloatArray:
    """What is wider than ``2 * reach`` pixels, from a smoothed picture at half the size."""
    half = mean(blocks(_even(picture), 2).mean(axis=(1, 3), dtype=np.float32), 1)
    around = reach // 2
    opened = mean(_largest(-_largest(-half, around), around + 1), 2)
    whole = np.repeat(np.repeat(opened, 2, axis=0), 2, axis=1)[: picture.shape[0], : picture.shape[1]]
    return mean(whole, 1)


def _even(picture: FloatArray) -> FloatArray:
    return np.pad(picture, [(0, n % 2) for n in picture.shape], mode="edge")


def _largest(picture: FloatArray, reach: int) -> FloatArray:
    """Largest within ``reach`` pixels along either axis: windows are doubled until they are wide enough."""
    for axis in (0, 1):
        wide = np.pad(picture, [(reach, reach) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        wide, covered = np.moveaxis(wide, axis, 0), 1
        while covered < 2 * reach + 1:
            step = min(covered, 2 * reach + 1 - covered)
            wide, covered = np.maximum(wide[:-step], wide[step:]), covered + step
        picture = np.moveaxis(wide, 0, axis)
    return picture
