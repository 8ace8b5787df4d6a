"""The two inner loops of a search, compiled: rows are read where they lie, once, and none is copied."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def largest_products(
    rows: NDArray[np.float32],
    probes: NDArray[np.float32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    largest: NDArray[np.float32],
) -> None:
    """Of each range of rows begins[b] to ends[b] the largest product with each probe, into (P, B) ``largest``."""
    for bone in range(len(begins)):
        largest[:, bone] = -np.inf
        for row in range(begins[bone], ends[bone]):
            for probe in range(len(probes)):
                product = np.float32(0)
                for axis in range(rows.shape[1]):
                    product += rows[row, axis] * probes[probe, axis]
                largest[probe, bone] = max(largest[probe, bone], product)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def nearest_codes(
    codes: NDArray[np.int8],
    units: NDArray[np.float32],
    squares: NDArray[np.float32],
    slack: NDArray[np.float32],
    probe: NDArray[np.int8],
    probe_unit: np.float32,
    probe_square: np.float32,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    gaps: NDArray[np.float32],
    bounds: NDArray[np.float32],
) -> None:
    """Of each range of (Q, D) codes the least distance to the probe's, and the least of that less the slack."""
    for bone in range(len(begins)):
        gap = bound = np.float32(np.inf)
        for row in range(begins[bone], ends[bone]):
            product = np.int32(0)
            for axis in range(codes.shape[1]):
                # Kept to 32 bits, or numba adds in 64 and the loop takes more than twice the time.
                product = np.int32(product + np.int32(codes[row, axis]) * np.int32(probe[axis]))
            crossed = np.float32(2) * units[row] * probe_unit * np.float32(product)
            distance = np.sqrt(max(squares[row] + probe_square - crossed, np.float32(0)))
            if distance < gap:
                gap = distance
            if distance - slack[row] < bound:
                bound = distance - slack[row]
        gaps[bone] = gap
        bounds[bone] = bound
