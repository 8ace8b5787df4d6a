"""Parallel-beam line integrals about the z axis: one sparse matrix shared by all slices.

A ray perpendicular to z never leaves its slice, so a view of the whole volume is ``(U x YX) @ (YX x Z)``: the same
matrix for every slice, and columns of air can be dropped before it is built.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from boneprint.errors import BoneprintError


def view_width(shape: tuple[int, ...]) -> int:
    """Detector columns (one voxel wide) that hold every view of a (Z, Y, X) grid."""
    _, ny, nx = shape
    return int(np.ceil(np.hypot(ny, nx))) + 2


def ray_matrix(ny: int, nx: int, step_mm: float, angle_deg: float, width: int) -> sparse.csr_array:
    """Weights of the pixels of one slice in every ray of one view, after Joseph.

    Parameters
    ----------
    ny, nx : slice size; the rotation centre is the centre of the slice
    step_mm : edge of the square pixels, and pitch of the detector
    angle_deg : 0 looks from front to back with x to the right; 90 looks from left to right with y to the right

    Returns
    -------
    (width, ny * nx) sparse, mm

    References
    ----------
    P. M. Joseph, IEEE Trans. Med. Imaging 1(3), 192-196, 1982.
    """
    angle = np.deg2rad(angle_deg)
    across = np.array([np.cos(angle), np.sin(angle)])
    beam = np.array([-np.sin(angle), np.cos(angle)])
    offsets = np.arange(width) - (width - 1) / 2
    main = int(abs(beam[1]) >= abs(beam[0]))  # the axis the ray runs along: 0 = x, 1 = y
    other = 1 - main
    size = (nx, ny)
    marks = np.arange(size[main]) - (size[main] - 1) / 2
    run = (marks[None, :] - offsets[:, None] * across[main]) / beam[main]
    position = offsets[:, None] * across[other] + run * beam[other] + (size[other] - 1) / 2
    below = np.floor(position).astype(np.int64)
    upper = position - below
    length = step_mm / abs(beam[main])

    ray = np.broadcast_to(np.arange(width)[:, None], below.shape)
    mark = np.broadcast_to(np.arange(size[main])[None, :], below.shape)
    rows, columns, weights = [], [], []
    for neighbour, weight in ((below, 1 - upper), (below + 1, upper)):
        inside = (neighbour >= 0) & (neighbour < size[other]) & (weight > 0)
        x, y = (neighbour, mark) if main == 1 else (mark, neighbour)
        rows.append(ray[inside])
        columns.append((y * nx + x)[inside])
        weights.append((weight * length)[inside].astype(np.float32))
    coordinates = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(weights), coordinates), shape=(width, ny * nx))


def project(
    mu_per_mm: NDArray[np.float32], step_mm: float, angles_deg: Sequence[float], width: int | None = None
) -> NDArray[np.float32]:
    """Integrate attenuation along parallel rays perpendicular to z.

    Parameters
    ----------
    mu_per_mm : (Z, Y, X) float32 on a cubic grid
    step_mm : edge of a voxel; detector pixels have the same pitch
    angles_deg : V angles about z (0 = AP, 90 = ML)
    width : detector columns; None takes as many as any view needs

    Returns
    -------
    (V, Z, width) float32
        Line integrals, no unit; row 0 is the upper end (largest z), 0 where the ray misses the volume.
    """
    good = mu_per_mm.ndim == 3 and mu_per_mm.size > 0 and step_mm > 0 and len(angles_deg) > 0
    if not good or not np.isfinite(angles_deg).all():
        raise BoneprintError(
            f"projection: grid of shape {mu_per_mm.shape}, step {step_mm} mm, {len(angles_deg)} angles; "
            "expected a non-empty (Z, Y, X) grid, a positive step and at least one angle, all finite."
        )
    nz, ny, nx = mu_per_mm.shape
    width = width or view_width(mu_per_mm.shape)
    flat = mu_per_mm.reshape(nz, ny * nx)
    solid = np.flatnonzero((flat != 0).any(axis=0))
    columns = np.ascontiguousarray(flat[::-1, solid].T)
    views = np.empty((len(angles_deg), nz, width), dtype=np.float32)
    for view, angle in zip(views, angles_deg):
        matrix = ray_matrix(ny, nx, step_mm, angle, width)[:, solid]
        view[:] = (matrix @ columns).T
    return views
