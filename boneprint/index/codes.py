"""Prototypes in a quarter of the bytes: compared with a probe all at once, and off by no more than is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Of an int8.
_STEPS = 127
# Some ten float32 roundings of numbers up to 4, under a square root; sqrt(4 eps) where that is near 0.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Codes:
    """Q unit rows as whole numbers of one unit each.

    Parameters
    ----------
    codes : (Q, D) int8
    units : (Q,) float32
    squares : (Q,) float32, squared lengths of the codes
    slack : (Q,) float32; nothing that a row stands for is farther from its code
    """

    codes: NDArray[np.int8]
    units: FloatArray
    squares: FloatArray
    slack: FloatArray

    @classmethod
    def of(cls, blocks: Iterable[FloatArray], radii: FloatArray) -> Self:
        """Of rows, block by block, and the (Q,) radii of what they stand for."""
        coded = [_coded(rows) for rows in blocks]
        codes, units, squares, errors = (np.concatenate(parts) for parts in zip(*coded))
        return cls(codes, units, squares, radii + errors + np.float32(_ROUNDING))

    def nearest(self, probe: FloatArray, begins: IntArray, ends: IntArray) -> tuple[FloatArray, FloatArray]:
        """For each range of rows (B,) about how near its nearest row is to the (D,) probe, and what bounds that.

        Returns
        -------
        gaps, bounds : (B,) and (B,) float32
            ``gaps`` are off by some thousandths. Nothing that a row of the range stands for is nearer than ``bounds``.
        """
        from boneprint.index.kernels import nearest_codes  # numba: for large galleries only

        codes, units, squares, errors = _coded(probe[None])
        gaps, bounds = np.empty(len(begins), np.float32), np.empty(len(begins), np.float32)
        nearest_codes(
            self.codes, self.units, self.squares, self.slack, codes[0], units[0], squares[0], begins, ends, gaps, bounds
        )
        return gaps, bounds - errors[0]


def _coded(rows: FloatArray) -> tuple[NDArray[np.int8], FloatArray, FloatArray, FloatArray]:
    """Codes of rows, their units, their squared lengths and how far from the rows they are."""
    units = np.abs(rows).max(axis=1) / np.float32(_STEPS)
    wholes = np.rint(rows / units[:, None])
    missed = rows - wholes * units[:, None]
    squares = np.einsum("qd,qd->q", wholes, wholes) * units**2
    errors = np.sqrt(np.einsum("qd,qd->q", missed, missed))
    return wholes.astype(np.int8), units, squares, errors
