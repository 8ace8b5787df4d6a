"""What a condition does to a bone: breaks, losses, pits and metal, in fractions of the bone's length."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.simulate.clay import Clay
from boneprint.simulate.condition import Condition
from boneprint.simulate.grid import Grid
from boneprint.simulate.kind import Kind
from boneprint.simulate.shape import Shape
from boneprint.simulate.solids import Place, Points, Rod, Solid, Strand, ball

# Chosen by hand, as shares of the length: a crack of 0.9 mm in a femur, a break that was set or hardly moved.
_CRACK = 0.002
_SHIFT = (0.006, 0.006, 0.002)
_TURN_DEG = (2.0, 2.0, 3.0)
REACH = 0.08  # further than any point is moved by a break
_MARGIN = 0.05  # of every kind's box around its bone
# Usual sizes of implants in mm: nails 9-12 wide, plates 4 thick and 12 wide, screws of 4.5.
_NAIL_MM, _PLATE_MM, _PLATE_HALF_MM, _SCREW_MM = 5.0, 4.0, 6.0, 2.25


def broken(rng: np.random.Generator, grid: Grid, points: Points) -> tuple[Points, torch.Tensor]:
    """A rough, slanting break in the middle half of a bone: below it everything has shifted and turned a little.

    Returns
    -------
    Where each point lay before the bone broke; and the signed distance of the crack, negative in it.
    """
    low, high = grid.box[2]
    z0 = float(rng.uniform(low + 0.3 * (high - low), high - 0.3 * (high - low)))
    slant = rng.uniform(-0.6, 0.6, 2)
    x, y, z = points[0], points[1], points[2] - z0
    height = z + float(slant[0]) * x + float(slant[1]) * y + 0.008 * grid.field(rng, 40)
    height = height / math.sqrt(1 + float(slant @ slant))
    shift = rng.normal(0.0, _SHIFT)
    wx, wy, wz = np.deg2rad(rng.normal(0.0, _TURN_DEG))
    moved = (x - wz * y + wy * z, y + wz * x - wx * z, z - wy * x + wx * y + z0)
    lay = [torch.where(height < 0, m + float(s), p) for m, s, p in zip(moved, shift, points)]
    return (lay[0], lay[1], lay[2]), height.abs() - _CRACK / 2


def left_over(condition: Condition, rng: np.random.Generator, grid: Grid, distance: torch.Tensor) -> torch.Tensor:
    """Signed distance of what is left of a bone after losses at its ends and its surface."""
    low, high = grid.box[2][0] + _MARGIN, grid.box[2][1] - _MARGIN
    height = grid.axes[2][:, None, None]
    if condition.missing_below > 0:
        edge = low + condition.missing_below * (high - low) + 0.010 * grid.field(rng, 30)
        distance = torch.maximum(distance, edge - height)
    if condition.missing_above > 0:
        edge = high - condition.missing_above * (high - low) + 0.010 * grid.field(rng, 30)
        distance = torch.maximum(distance, height - edge)
    return distance


def eroded(depth: float, rng: np.random.Generator, grid: Grid, distance: torch.Tensor) -> torch.Tensor:
    """A surface eaten away in patches and pits, by up to ``depth``; a B-spline field seldom exceeds 1."""
    patches, pits = grid.field(rng, 20).clamp(0, 1), grid.field(rng, 70).clamp(0, 1)
    return distance + depth * (0.6 * patches + 0.8 * pits).clamp(max=1)


def implant(
    name: str, rng: np.random.Generator, kind: Kind, shape: Shape, clay: Clay
) -> tuple[torch.Tensor, Solid | None]:
    """Metal in or on a bone.

    Parameters
    ----------
    clay : the healthy bone

    Returns
    -------
    Signed distance of the metal; and what a surgeon took away to make room for it, or None.

    Raises
    ------
    BoneprintError
        If such an implant does not fit this kind of bone.
    """
    axis, mm = kind.axis(shape), 1 / shape["length_mm"]
    metal = Clay(clay.axes, clay.points, clay.slack)
    if name == "nail" and kind.tubular:
        metal.add(Strand(axis, [_NAIL_MM * mm] * len(axis)))
        return metal.distance, None
    if name == "stem" and kind.head is not None:
        centre, radius = kind.head(shape)
        shoulder, tip = np.array(axis[-1]), np.array(axis[len(axis) // 2])
        metal.add(Rod(_place(tip), _place(shoulder), 4.0 * mm, 8.0 * mm))
        metal.add(Rod(_place(shoulder), centre, 6.5 * mm, 6.5 * mm))
        metal.add(ball(centre, 0.95 * radius))
        return metal.distance, ball(centre, 1.12 * radius)
    if name in ("plate", "screws"):
        angle = float(rng.uniform(0, 2 * math.pi))
        side = np.array([math.cos(angle), math.sin(angle), 0.0])
        for place in np.array(axis):
            metal.add(
                Rod(_place(place - 0.2 * side), _place(place + 0.2 * side), _SCREW_MM * mm, _SCREW_MM * mm), 0.002
            )
        sunk = torch.maximum(metal.distance, clay.distance - _PLATE_MM * mm)
        return (torch.minimum(sunk, _plate(clay, np.array(axis), side, mm)) if name == "plate" else sunk), None
    raise BoneprintError(f"implant '{name}' does not fit a {kind.name}; choose one of: {', '.join(kind.implants)}.")


def _plate(clay: Clay, axis: NDArray[np.float64], side: NDArray[np.float64], mm: float) -> torch.Tensor:
    """A strip that follows the surface on one side of the bone, as long as the axis."""
    x, y, z = (p - float(c) for p, c in zip(clay.points, axis.mean(axis=0)))
    out, across = float(side[0]) * x + float(side[1]) * y, float(side[0]) * y - float(side[1]) * x
    half = 0.5 * float(np.ptp(axis[:, 2])) + 2 * _PLATE_HALF_MM * mm
    layers = (clay.distance - _PLATE_MM * mm, -clay.distance, across.abs() - _PLATE_HALF_MM * mm, z.abs() - half, -out)
    metal = layers[0]
    for layer in layers[1:]:
        metal = torch.maximum(metal, layer)
    return metal


def _place(at: NDArray[np.float64]) -> Place:
    return float(at[0]), float(at[1]), float(at[2])
