"""Prototypes in a quarter of the bytes: compared with a probe all at once, and off by no more than is known."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Of an int8; and of a probe, which is coded more finely, at no cost.
STEPS, PROBE_STEPS = 127, 2047
# Some ten float32 roundings of squared distances up to 4.
ROUNDING = 1e-5
# Rows turned into float32 at once: half a MB of 128 numbers.
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Codes:
    """Q unit rows as whole numbers of one unit each.

    Parameters
    ----------
    codes : (Q, D) int8
    units : (Q,) float32
    squares : (Q,) float32, squared lengths of the codes
    slack : (Q,) float32; nothing that a row stands for is farther from what its code says it is
    """

    codes: NDArray[np.int8]
    units: FloatArray
    squares: FloatArray
    slack: FloatArray

    @classmethod
    def of(cls, rows: FloatArray, slack: FloatArray) -> Self:
        """Of (Q, D) rows, and the (Q,) distances, from `decoded`, of the farthest that they stand for."""
        codes, units, squares, _ = coded(rows, STEPS)
        return cls(codes.astype(np.int8), units, squares, slack)

    @classmethod
    def joined(cls, parts: Sequence["Codes"]) -> Self:
        """Several, one after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def compared(self, probe: FloatArray, chosen: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """About how near rows are to the (D,) probe, and the distance that nothing they stand for is nearer than.

        Returns
        -------
        gaps, bounds : (Q,) and (Q,) float32, or of the chosen rows
            ``gaps`` are off by some thousandths.
        """
        codes, units, squares, errors = coded(probe[None], PROBE_STEPS)
        own = slice(None) if chosen is None else chosen
        mine = self.codes[own]
        products = np.empty(len(mine), np.float32)
        for first in range(0, len(mine), _BLOCK):
            # BLAS knows no bytes.
            part = slice(first, first + _BLOCK)
            np.dot(mine[part].astype(np.float32), codes[0], out=products[part])
        crossed = np.float32(2) * self.units[own] * units[0] * products
        squared = self.squares[own] + squares[0] - crossed
        least = np.sqrt(np.maximum(squared - np.float32(ROUNDING), 0))
        return np.sqrt(np.maximum(squared, 0)), least - self.slack[own] - (errors[0] + np.float32(ROUNDING))


def decoded(rows: FloatArray) -> NDArray[np.float64]:
    """What is left of rows when they have been coded."""
    codes, units, _, _ = coded(rows, STEPS)
    return codes.astype(np.float64) * units[:, None].astype(np.float64)


def coded(rows: FloatArray, steps: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Whole numbers up to ``steps`` for rows, their units, their squared lengths and how far from the rows they are."""
    units = np.abs(rows).max(axis=1, initial=0) / np.float32(steps)
    wholes = np.rint(rows / units[:, None])
    missed = rows - wholes * units[:, None]
    squares = np.einsum("qd,qd->q", wholes, wholes) * units**2
    return wholes, units, squares, np.sqrt(np.einsum("qd,qd->q", missed, missed))
