"""Smooth random fields on a box, by cubic B-splines on a coarse lattice."""

from collections.abc import Sequence

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
    columns = (cell.long()[:, None] + torch.arange(-1, 3, device=samples.device)).clamp(0, points - 1)
    return torch.zeros(len(samples), points, device=samples.device).scatter_add_(1, columns, weights.float())


def smooth_field(control: torch.Tensor, unit_axes: Sequence[torch.Tensor]) -> torch.Tensor:
    """A smooth field from its control points; where it is sampled changes nothing in it.

    Parameters
    ----------
    control : (channels, z, y, x), at least 2 control points along each axis
    unit_axes : three 1-D tensors, positions along z, y, x in [0, 1]

    Returns
    -------
    (channels, Z, Y, X) float32
    """
    bz, by, bx = (bspline_basis(axis, n) for axis, n in zip(unit_axes, control.shape[1:]))
    # The longest axis last: the lattice is small until then.
    control = torch.einsum("czyx,Xx->czyX", control, bx)
    control = torch.einsum("czyX,Yy->czYX", control, by)
    return torch.einsum("czYX,Zz->cZYX", control, bz).contiguous()
