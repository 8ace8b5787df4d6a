"""What a CT absorbs, laid out for projection: one number per voxel and channel, in columns along the body.

A projector reads columns from end to end. They run along the grid axis that is nearest to the patient's long axis, in
16-bit integers (half the memory traffic of float32; an error of at most 1/65,534 of the channel's largest value), with
the first and last voxel that is not air noted for each, so that air costs nothing.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from boneprint.drr.attenuation import absorbers
from boneprint.errors import BoneprintError
from boneprint.nouns import Volume

_LEVELS = 32767


def spread(kernel: Callable[..., object], arguments: tuple[object, ...], count: int, block: int) -> None:
    """Call ``kernel(*arguments, start, stop)`` for blocks of ``range(count)``, on as many threads as numba may use.

    The kernels release the interpreter's lock. Python's own threads serve them, since numba's thread pools abort when
    two threads of the caller render at once.
    """
    if numba.config.NUMBA_NUM_THREADS < 2 or count <= block:  # type: ignore[attr-defined]
        kernel(*arguments, 0, count)
        return
    list(_pool().map(lambda start: kernel(*arguments, start, min(count, start + block)), range(0, count, block)))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, thread_name_prefix="drr")  # type: ignore[attr-defined]


# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@dataclass(frozen=True, eq=False)
class Absorber:
    """A body, ready to be projected.

    Parameters
    ----------
    levels : (M, A, B, C) int16, a grid for each channel; columns (the last axis) are contiguous
    scales : (M,) float32, value of one level
    spans : (M, A, B, 2) int32, first and last voxel of each column that is not zero; first > last: none
    affine : (4, 4), voxel coordinates in the order a, b, c to patient LPS mm
    """

    levels: NDArray[np.int16]
    scales: NDArray[np.float32]
    spans: NDArray[np.int32]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, volume: Volume, *, metal_hu: float | None = None) -> "Absorber":
        """Soft tissue, bone and (above a threshold) metal of a CT, one channel each.

        Paths through it are in mm of each reference material (`attenuation.absorbers`).

        Parameters
        ----------
        metal_hu : from this HU on a voxel is metal; None: there is no metal, and no third channel
        """
        if volume.hu.dtype == np.int16:
            table = absorbers(np.arange(-32768, 32768, dtype=np.float32), metal_hu=metal_hu)
            low, high = int(volume.hu.min()), int(volume.hu.max())
            largest = table[:, low + 32768 : high + 32769].max(axis=1)
            scales = _scales(largest)
            codes = np.rint(np.minimum(table, largest[:, None]) / scales[:, None]).astype(np.int16)
            source = volume.hu
        else:
            values = absorbers(volume.hu, metal_hu=metal_hu)
            return cls.of_values(values, volume.affine)
        order = column_order(volume.affine)
        grid = source.transpose([2 - axis for axis in order])
        levels = np.empty((len(codes), *grid.shape), dtype=np.int16)
        spread(_look_up, (grid, codes, levels), grid.shape[0], 8)
        return cls._ready(levels, scales, _reorder(volume.affine, order))

    @classmethod
    def of_values(cls, values: NDArray[np.floating], affine: NDArray[np.float64]) -> "Absorber":
        """Any quantity per mm, for instance linear attenuation: paths are its line integrals.

        Parameters
        ----------
        values : (Z, Y, X), or (M, Z, Y, X) for M channels; finite
        affine : (4, 4), voxel coordinates x, y, z to patient LPS mm

        Raises
        ------
        BoneprintError
            If the grid is empty or not finite, or the affine singular.
        """
        grids = values if values.ndim == 4 else values[None]
        if grids.ndim != 4 or grids.size == 0 or not np.isfinite(grids).all():
            raise BoneprintError(
                f"projection: values of shape {values.shape}; expected a non-empty (Z, Y, X) or (M, Z, Y, X) grid, "
                "all finite."
            )
        order = column_order(affine)
        scales = _scales(np.abs(grids).reshape(len(grids), -1).max(axis=1))
        turned = grids.transpose([0, *(3 - axis for axis in order)])
        levels = np.empty(turned.shape, dtype=np.int16)
        for channel, scale in enumerate(scales):
            levels[channel] = np.rint(turned[channel] / scale)
        return cls._ready(levels, scales, _reorder(affine, order))

    @classmethod
    def of_levels(
        cls, levels: NDArray[np.int16], scales: NDArray[np.float32], affine: NDArray[np.float64]
    ) -> "Absorber":
        """What is in 16-bit integers already, taken as it is.

        Parameters
        ----------
        levels : (M, Z, Y, X)
        scales : (M,) value of one level per mm
        affine : (4, 4), voxel coordinates x, y, z to patient LPS mm
        """
        order = column_order(affine)
        turned = np.ascontiguousarray(levels.transpose([0, *(3 - axis for axis in order)]))
        return cls._ready(turned, scales, _reorder(affine, order))

    @classmethod
    def _ready(cls, levels: NDArray[np.int16], scales: NDArray[np.float32], affine: NDArray[np.float64]) -> "Absorber":
        spans = np.empty((*levels.shape[:3], 2), dtype=np.int32)
        spread(_find_spans, (levels, spans), levels.shape[1], 8)
        return cls(levels, scales, spans, affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along a, b, c."""
        _, a, b, c = self.levels.shape
        return a, b, c

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        """Centre of the grid in patient LPS."""
        middle = self.affine[:3, :3] @ (np.array(self.shape) - 1) / 2 + self.affine[:3, 3]
        return float(middle[0]), float(middle[1]), float(middle[2])

    @cached_property
    def lying(self) -> "Absorber":
        """The same body with its columns along another axis, for beams that run along these; as large again."""
        levels = np.ascontiguousarray(self.levels.transpose(0, 2, 3, 1))
        return Absorber._ready(levels, self.scales, _reorder(self.affine, (1, 2, 0)))


def column_order(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Grid axes (0 = x) so that the last is nearest to the patient's long axis: a, b, c."""
    along = np.abs(affine[2, :3]) / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-30)
    column = int(np.argmax(along))
    b, a = (axis for axis in range(3) if axis != column)
    return a, b, column


def _reorder(affine: NDArray[np.float64], order: tuple[int, int, int]) -> NDArray[np.float64]:
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BoneprintError("projection: the affine is singular or no finite 4 x 4 matrix; check spacing and axes.")
    return affine[:, [*order, 3]]


def _scales(largest: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _look_up(
    grid: NDArray[np.int16], codes: NDArray[np.int16], levels: NDArray[np.int16], start: int, stop: int
) -> None:
    channels, _, nb, nc = levels.shape
    # In tiles: one side of the transposition is always read or written across.
    for a in range(start, stop):
        for b0 in range(0, nb, 16):
            for c0 in range(0, nc, 64):
                for b in range(b0, min(b0 + 16, nb)):
                    for c in range(c0, min(c0 + 64, nc)):
                        code = np.int64(grid[a, b, c]) + 32768
                        for channel in range(channels):
                            levels[channel, a, b, c] = codes[channel, code]


@numba.njit(nogil=True, cache=True)
def _find_spans(levels: NDArray[np.int16], spans: NDArray[np.int32], start: int, stop: int) -> None:
    channels, _, nb, nc = levels.shape
    for channel in range(channels):
        for a in range(start, stop):
            for b in range(nb):
                column = levels[channel, a, b]
                first, last = 0, nc - 1
                while first < nc and column[first] == 0:
                    first += 1
                while last > first and column[last] == 0:
                    last -= 1
                spans[channel, a, b, 0] = first
                spans[channel, a, b, 1] = last if first < nc else -1
