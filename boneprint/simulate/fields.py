"""Smooth random fields on a box, by cubic B-splines on a coarse lattice."""

from collections.abc import Sequence

import numpy as np
import torch


def bspline_basis(samples: torch.Tensor, points: int) -> torch.Tensor:
    """Weights of ``points`` uniform cubic B-spline control points at positions in [0, 1].

    Returns
    -------
    (len(samples), points) float32
        Rows are non-negative and sum to one inside the interval (ends are clamped by repetition).
    """
    position = samples.clamp(0, 1) * (points - 1)
    cell = position.floor().clamp(max=points - 2)
    t = position - cell
    weights = (
        torch.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3],
            dim=1,
        )
        / 6
    )
    columns = (cell.long()[:, None] + torch.arange(-1, 3)).clamp(0, points - 1)
    return torch.zeros(len(samples), points).scatter_add_(1, columns, weights.float())


def smooth_field(
    rng: np.random.Generator,
    unit_axes: Sequence[torch.Tensor],
    lattice: tuple[int, int, int],
    channels: int,
) -> torch.Tensor:
    """A random field of unit variance at its control points.

    Parameters
    ----------
    unit_axes : three 1-D tensors, positions along z, y, x in [0, 1]
    lattice : control points along z, y, x (each at least 2)

    Returns
    -------
    (channels, Z, Y, X) float32
    """
    control = torch.from_numpy(rng.standard_normal((channels, *lattice), dtype=np.float32))
    bz, by, bx = (bspline_basis(axis, n) for axis, n in zip(unit_axes, lattice))
    control = torch.einsum("czyx,Zz->cZyx", control, bz)
    control = torch.einsum("cZyx,Yy->cZYx", control, by)
    return torch.einsum("cZYx,Xx->cZYX", control, bx).contiguous()
