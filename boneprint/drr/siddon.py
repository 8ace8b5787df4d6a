"""Exact line integrals through voxels: the oracle that the fast projectors are measured against.

References
----------
R. L. Siddon, Med. Phys. 12(2), 252-255, 1985.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from boneprint.drr.absorber import Absorber, spread
from boneprint.drr.geometry import Rays


def project(absorber: Absorber, rays: Rays) -> NDArray[np.float32]:
    """Integrate every channel of a body along the rays of one view.

    Returns
    -------
    (M, H, W) float32
        Channel times mm: the length in every voxel that the ray crosses times its value, summed in float64.

    Raises
    ------
    GeometryError
        If the body does not lie between source and detector.
    """
    grids = absorber.levels.transpose(1, 2, 3, 0)
    exact = integrate(grids, absorber.affine, rays)
    return np.asarray(exact * absorber.scales[:, None, None], dtype=np.float32)


def integrate(grids: NDArray[np.generic], affine: NDArray[np.float64], rays: Rays) -> NDArray[np.float64]:
    """Integrate values of any type, as they are.

    Parameters
    ----------
    grids : (A, B, C, M), M values per voxel
    affine : (4, 4) of voxel coordinates a, b, c to patient LPS mm

    Returns
    -------
    (M, H, W) float64
    """
    a, b, c, channels = grids.shape
    rays.check_clear_of(affine, (a, b, c))
    to_voxels = np.linalg.inv(affine[:3, :3])
    if rays.source_mm is None:
        # Far enough back to stand before the body, wherever the detector is.
        reach = np.linalg.norm(affine[:3, :3] @ np.array([a, b, c])) + np.linalg.norm(
            affine[:3, :3] @ np.array([a, b, c]) / 2 + affine[:3, 3] - rays.middle_mm
        )
        start = to_voxels @ (rays.first_mm - reach * rays.beam - affine[:3, 3])
        moving, way = 1.0, 2 * reach * rays.beam
    else:
        start = to_voxels @ (rays.source_mm - affine[:3, 3])
        moving, way = 0.0, rays.first_mm - rays.source_mm
    steps = np.stack([rays.column_step_mm, rays.row_step_mm])
    first, to_voxel_steps = to_voxels @ way, steps @ to_voxels.T
    pictures = np.zeros((rays.rows, rays.columns, channels))
    spread(_trace, (grids, start, first, to_voxel_steps, moving, way, steps, pictures), rays.rows, 8)
    return pictures.transpose(2, 0, 1)


@numba.njit(nogil=True, cache=True)
def _trace(
    grids: NDArray[np.generic],
    start: NDArray[np.float64],
    first: NDArray[np.float64],
    steps: NDArray[np.float64],
    moving: float,
    first_mm: NDArray[np.float64],
    steps_mm: NDArray[np.float64],
    pictures: NDArray[np.float64],
    begin: int,
    stop: int,
) -> None:
    """Follow each ray from voxel to voxel.

    Rays start at ``start``; with ``moving`` 1 the start moves with the pixel, with 0 the end does. Lengths along a ray
    are shares (0..1) of its whole way.
    """
    size = grids.shape[:3]
    origin, way = np.empty(3), np.empty(3)
    voxel, direction = np.empty(3, np.int64), np.empty(3, np.int64)
    crossing, stride = np.empty(3), np.empty(3)
    for row in range(begin, stop):
        for column in range(pictures.shape[1]):
            enter, leave = 0.0, 1.0
            length = 0.0
            for axis in range(3):
                move = steps[0, axis] * column + steps[1, axis] * row
                origin[axis] = start[axis] + moving * move
                way[axis] = first[axis] + (1 - moving) * move
                mm = first_mm[axis] + (1 - moving) * (steps_mm[0, axis] * column + steps_mm[1, axis] * row)
                length += mm * mm
                low, high = -0.5 - origin[axis], size[axis] - 0.5 - origin[axis]
                if way[axis] == 0:
                    if low > 0 or high <= 0:
                        leave = -1.0
                    continue
                one, two = low / way[axis], high / way[axis]
                enter, leave = max(enter, min(one, two)), min(leave, max(one, two))
            if leave <= enter:
                continue
            length = np.sqrt(length)
            for axis in range(3):
                at = origin[axis] + enter * way[axis]
                voxel[axis] = min(max(int(np.floor(at + 0.5)), 0), size[axis] - 1)
                if way[axis] == 0:
                    direction[axis], stride[axis], crossing[axis] = 0, np.inf, np.inf
                    continue
                direction[axis] = 1 if way[axis] > 0 else -1
                stride[axis] = abs(1 / way[axis])
                crossing[axis] = (voxel[axis] + 0.5 * direction[axis] - origin[axis]) / way[axis]
            here = enter
            while here < leave:
                axis = 0 if crossing[0] <= crossing[1] else 1
                if crossing[2] < crossing[axis]:
                    axis = 2
                there = min(crossing[axis], leave)
                if there > here:
                    for channel in range(grids.shape[3]):
                        pictures[row, column, channel] += (
                            (there - here) * length * grids[voxel[0], voxel[1], voxel[2], channel]
                        )
                    here = there
                voxel[axis] += direction[axis]
                if voxel[axis] < 0 or voxel[axis] >= size[axis]:
                    break
                crossing[axis] += stride[axis]
