"""Shapes in masks: sizes of components, growing, shrinking, filling; all in bounded memory.

Masks are (Z, Y, X) bool, spacings (3,) mm in the same order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoolArray = NDArray[np.bool_]
Labels = NDArray[np.int32]
Box = tuple[slice, ...]

EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


def box_of(mask: BoolArray) -> Box | None:
    """The smallest box that holds every True; None if there is none."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        if not len(hit):
            return None
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(slices)


def widened(box: Box, by: Sequence[int], shape: Sequence[int]) -> Box:
    """A box grown on every side, but not beyond the grid."""
    return tuple(
        slice(max(0, side.start - more), min(size, side.stop + more))
        for side, more, size in zip(box, by, shape, strict=True)
    )


def components(mask: BoolArray, smallest: float, smallest_share: float = 0.0) -> tuple[Labels, NDArray[np.int64]]:
    """Label connected components (corners connect) and drop the small ones.

    Parameters
    ----------
    mask : what to label
    smallest : voxels
    smallest_share : of the largest component

    Returns
    -------
    labels (Z, Y, X) int32, 0 where nothing is, and the voxels of each label, (N + 1,) with 0 for the background
    """
    labels, count = ndimage.label(mask, structure=EVERY_NEIGHBOUR, output=np.int32)
    sizes = np.bincount(labels[mask], minlength=count + 1)
    keep = sizes >= max(1, smallest, smallest_share * sizes.max(initial=0))
    keep[0] = False
    renumbered = np.zeros(count + 1, dtype=np.int32)
    renumbered[keep] = np.arange(1, int(keep.sum()) + 1)
    labels[mask] = renumbered[labels[mask]]  # the background, most of the grid, stays untouched
    return labels, np.concatenate([[0], sizes[keep]])


def steps(length_mm: float, spacing_mm: NDArray[np.float64], at_least: int = 0) -> list[int]:
    """Whole voxels along each axis that make up a length."""
    return [max(at_least, int(np.floor(length_mm / mm + 0.5))) for mm in spacing_mm]


def grown(mask: BoolArray, by: Sequence[int]) -> BoolArray:
    """A mask grown by so many voxels along each axis, as a city-block ball; the grid's border lets nothing in."""
    out = mask
    for step in range(max(by)):
        source, out = out, out.copy()
        for axis in (axis for axis in range(mask.ndim) if step < by[axis]):
            low, high = _neighbours(axis, mask.ndim)
            out[high] |= source[low]
            out[low] |= source[high]
    return out


def shrunk(mask: BoolArray, by: Sequence[int]) -> BoolArray:
    """A mask shrunk by so many voxels along each axis; the grid's border does not shrink it."""
    return ~grown(~mask, by)


def grown_labels(labels: Labels, into: BoolArray, rounds: int) -> Labels:
    """Labels spread voxel by voxel into a mask, each round one voxel, never over another label."""
    out = labels.copy()
    for _ in range(rounds):
        before = out.copy()
        for axis in range(3):
            low, high = _neighbours(axis, 3)
            for to, source in ((high, low), (low, high)):
                free = (out[to] == 0) & into[to] & (before[source] > 0)
                out[to][free] = before[source][free]
        if np.array_equal(before, out):
            break
    return out


def filled(mask: BoolArray, widest_mm: float, spacing_mm: NDArray[np.float64], largest_mm3: float = 0.0) -> BoolArray:
    """Fill a mask's cavities: first slice by slice, then what is still enclosed in space.

    Parameters
    ----------
    mask : what encloses
    widest_mm : background enclosed within a slice, along any of the three axes, is filled up to the area of a circle of
        this width: so a shaft open at both ends is filled, and a body comes out the same whichever way it was sliced
    spacing_mm : z, y, x
    largest_mm3 : background then enclosed on all sides is filled up to this volume

    Returns
    -------
    (Z, Y, X) bool
    """
    out = mask.copy()
    for axis in range(3):
        pixel_mm2 = float(np.prod(np.delete(spacing_mm, axis)))
        out |= _holes(mask, np.pi / 4 * widest_mm**2 / pixel_mm2, in_plane=axis)
    if largest_mm3 > 0:
        out |= _holes(out, largest_mm3 / float(np.prod(spacing_mm)))
    return out


def _holes(mask: BoolArray, largest: float, in_plane: int | None = None) -> BoolArray:
    """Background components that do not touch the border, up to so many voxels; in space, or in each slice."""
    neighbours = ndimage.generate_binary_structure(3, 1)
    if in_plane is not None:
        neighbours[tuple(slice(None, None, 2) if axis == in_plane else slice(None) for axis in range(3))] = False
    pieces, count = ndimage.label(~mask, structure=neighbours, output=np.int32)
    sizes = np.zeros(count + 1, dtype=np.int64)
    for slab in np.array_split(pieces, max(1, pieces.size // 2**23)):  # bincount takes 8 bytes a voxel
        sizes += np.bincount(slab.ravel(), minlength=count + 1)
    fill = sizes <= largest
    fill[0] = False
    for axis in (axis for axis in range(3) if axis != in_plane):
        for end in (0, -1):
            fill[np.unique(np.take(pieces, end, axis=axis))] = False
    return np.asarray(fill[pieces])


def pooled(values: NDArray[Any], by: Sequence[int]) -> NDArray[np.float32]:
    """Means over blocks of so many voxels along each axis; the last blocks may be smaller."""
    blocks = [-(-size // block) for size, block in zip(values.shape, by, strict=True)]
    room = [(0, count * block - size) for count, block, size in zip(blocks, by, values.shape, strict=True)][1:]
    sums = np.empty(blocks, dtype=np.float32)
    for index, plane in enumerate(sums):
        slab = values[index * by[0] : (index + 1) * by[0]].sum(
            axis=0, dtype=np.int32 if values.dtype != np.float32 else None
        )
        plane[:] = np.pad(slab, room).reshape(blocks[1], by[1], blocks[2], by[2]).sum(axis=(1, 3))
    for axis, (block, size) in enumerate(zip(by, values.shape, strict=True)):
        widths = np.minimum(block, size - np.arange(0, size, block)).astype(np.float32)
        sums /= widths.reshape([-1 if other == axis else 1 for other in range(3)])
    return sums


def unpooled(mask: BoolArray, by: Sequence[int], shape: Sequence[int]) -> BoolArray:
    """A mask over blocks brought back to the voxels."""
    for axis, block in enumerate(by):
        mask = mask.repeat(block, axis=axis)
    return mask[tuple(slice(size) for size in shape)]


def _neighbours(axis: int, ndim: int) -> tuple[Box, Box]:
    everything = [slice(None)] * ndim
    low, high = everything.copy(), everything.copy()
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)
