"""The GPU's way through an ensemble: every ray of every view in one kernel (Triton comes with torch on CUDA)."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 128


def march(levels: Tensor, grids: Tensor, lines: Tensor, rows: int, columns: int, deep: int) -> Tensor:
    """Follow rays at even steps, eight neighbours a step.

    Parameters
    ----------
    levels : (V,) int16, the voxels of all bodies
    grids : (N, 4) int64, where the body of each view begins, and its voxels along z, y, x
    lines : (N, 15) float32: the centre in voxels z, y, x; voxels per mm to the right, down and along the beam; pixel
        pitch in mm, inverse distance of the source in 1 / mm, and step in mm
    deep : steps, about the centre

    Returns
    -------
    (N, 2, rows, columns) float32: sums of level times mm, and of mm where a level is above 0
    """
    out = torch.empty(len(grids), 2, rows, columns, dtype=torch.float32, device=levels.device)
    blocks = triton.cdiv(rows * columns, _BLOCK)
    _march[(len(grids) * blocks,)](levels, grids, lines, out, rows, columns, deep, blocks, BLOCK=_BLOCK)
    return out


@triton.jit
def _corner(levels: Any, start: Any, z: Any, y: Any, x: Any, nz: Any, ny: Any, nx: Any) -> Any:
    there = (z >= 0) & (z < nz) & (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return tl.load(levels + start + (z * ny + y) * nx + x, mask=there, other=0).to(tl.float32)


@triton.jit
def _march(
    levels: Any,
    grids: Any,
    lines: Any,
    out: Any,
    rows: Any,
    columns: Any,
    deep: Any,
    blocks: Any,
    BLOCK: tl.constexpr,
) -> None:
    view = tl.program_id(0) // blocks
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    size = rows * columns
    start = tl.load(grids + view * 4)
    nz = tl.load(grids + view * 4 + 1).to(tl.int32)
    ny = tl.load(grids + view * 4 + 2).to(tl.int32)
    nx = tl.load(grids + view * 4 + 3).to(tl.int32)
    line = lines + view * 15
    pitch, nearness, step = tl.load(line + 12), tl.load(line + 13), tl.load(line + 14)
    u = ((pixel % columns).to(tl.float32) - (columns - 1) * 0.5) * pitch
    v = ((pixel // columns).to(tl.float32) - (rows - 1) * 0.5) * pitch
    aside_z = u * tl.load(line + 3) + v * tl.load(line + 6)
    aside_y = u * tl.load(line + 4) + v * tl.load(line + 7)
    aside_x = u * tl.load(line + 5) + v * tl.load(line + 8)
    centre_z, centre_y, centre_x = tl.load(line), tl.load(line + 1), tl.load(line + 2)
    beam_z, beam_y, beam_x = tl.load(line + 9), tl.load(line + 10), tl.load(line + 11)
    bone = tl.zeros([BLOCK], dtype=tl.float32)
    inside = tl.zeros([BLOCK], dtype=tl.float32)
    for number in range(deep):
        depth = (number - (deep - 1) * 0.5) * step
        wider = 1.0 + depth * nearness
        z = centre_z + aside_z * wider + beam_z * depth
        y = centre_y + aside_y * wider + beam_y * depth
        x = centre_x + aside_x * wider + beam_x * depth
        z0, y0, x0 = tl.floor(z), tl.floor(y), tl.floor(x)
        fz, fy, fx = z - z0, y - y0, x - x0
        iz, iy, ix = z0.to(tl.int32), y0.to(tl.int32), x0.to(tl.int32)
        for corner in tl.static_range(8):
            dz: tl.constexpr = corner // 4
            dy: tl.constexpr = (corner // 2) % 2
            dx: tl.constexpr = corner % 2
            level = _corner(levels, start, iz + dz, iy + dy, ix + dx, nz, ny, nx)
            wz = fz if dz == 1 else 1.0 - fz
            wy = fy if dy == 1 else 1.0 - fy
            wx = fx if dx == 1 else 1.0 - fx
            weight = wz * wy * wx
            bone += weight * level
            inside += weight * (level > 0).to(tl.float32)
    length = step * tl.sqrt(1.0 + (u * u + v * v) * nearness * nearness)
    base = out + view * 2 * size + pixel
    tl.store(base, bone * length, mask=pixel < size)
    tl.store(base + size, inside * length, mask=pixel < size)
