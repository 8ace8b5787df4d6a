"""A body in its own bone frame: where its surface is, how thick its cortex, what fills it, and what lies beside."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint.simulate import damage
from boneprint.simulate.clay import Clay
from boneprint.simulate.condition import Condition
from boneprint.simulate.grid import Grid
from boneprint.simulate.kind import Kind
from boneprint.simulate.shape import Shape
from boneprint.simulate.solids import profiles

# Spawn keys of a body's streams, one for each thing that is drawn (7 and 13 are the training and calibration set's).
WARP, TEXTURE, TISSUE, SIDE = 0, 1, 2, {"R": 3, "L": 4, None: 3}
SCAN, REMODELLING, DAMAGE = 100, 10_000, 20_000  # each followed by the session, or by the seed of the condition

# Smooth differences of one side from what both share, and of a later visit from the first: control points along the box
# and amplitude. The sides are fitted so that left mirrored onto right is about 1.5 mm RMS in the femur
# (benchmarks/cohort.py). Visits differ by 0.14 mm RMS in a femur, chosen by hand: adult bone turns over inside.
_SIDES = ((4, 0.0054), (8, 0.0032), (18, 0.0016))
_VISITS = ((8, 0.0007), (18, 0.0005))
_NEW_GRAIN = 0.35  # of the trabecular texture at a later visit: correlation with the first sqrt(1 - 0.35^2) = 0.94

_WALL = 0.02  # the strangest bodies of families are cut off this far within their box, so that they stay closed
_BESIDE_COARSER = 1.5  # cells of the neighbours
_CELLS = 1.4e6  # of the finest atlas: a human femur at 2 mm; finer ones would show nothing new


@dataclass(frozen=True)
class Visit:
    """Which bone is seen, when, and in which state; ``stream`` gives the body's random numbers by spawn key."""

    kind: Kind
    shape: Shape
    laterality: str | None
    stream: Callable[..., np.random.Generator]
    session: int
    condition: Condition

    @property
    def finest_mm(self) -> float:
        """The step below which an atlas gains nothing."""
        cube = math.prod(high - low for low, high in self.kind.box)
        return self.shape["length_mm"] * float(np.cbrt(cube / _CELLS))


@dataclass(frozen=True, eq=False)
class Beside:
    """Signed distance (Z, Y, X) in mm of the neighbouring bones, on cubic cells of their own."""

    distance: torch.Tensor
    origin_mm: NDArray[np.float64]
    step_mm: float


@dataclass(frozen=True, eq=False)
class Atlas:
    """Fields over the bone frame, (Z, Y, X) float32 in mm or HU, on cubic cells of ``step_mm`` from ``origin_mm``.

    Parameters
    ----------
    distance : of the healthy surface, whose depth decides where cortex is
    solid : of what is left of the bone
    shell : thickness of the cortex
    core : HU inside it
    beside : neighbouring bones; None: there are none
    metal : of implants; None: there are none
    cortical_hu : of the cortex
    """

    distance: torch.Tensor
    solid: torch.Tensor
    shell: torch.Tensor
    core: torch.Tensor
    beside: Beside | None
    metal: torch.Tensor | None
    cortical_hu: float
    origin_mm: NDArray[np.float64]
    step_mm: float


def atlas(visit: Visit, step_mm: float, device: torch.device) -> Atlas:
    """Everything that a scan needs to know."""
    length = visit.shape["length_mm"]
    grid = Grid(visit.kind.box, step_mm / length, device)
    clay, solid, metal = _sculpted(visit, grid)
    shell, core, cortical = _tissue(visit, grid, clay.distance)
    return Atlas(
        clay.distance * length,
        solid * length,
        shell,
        core,
        _beside(visit, step_mm, device) if visit.condition.neighbours else None,
        None if metal is None else metal * length,
        cortical,
        length * np.array([low for low, _ in grid.box]),
        step_mm,
    )


def _beside(visit: Visit, step_mm: float, device: torch.device) -> Beside | None:
    if visit.kind.neighbours is None:
        return None
    length, step_mm = visit.shape["length_mm"], _BESIDE_COARSER * step_mm
    grid = Grid(visit.kind.around or visit.kind.box, step_mm / length, device)
    z, y, x = torch.meshgrid(*reversed(grid.axes), indexing="ij")
    clay = Clay(grid.axes, (x, y, z), 0.0)
    visit.kind.neighbours(visit.shape, clay)
    return Beside(clay.distance * length, length * np.array([low for low, _ in grid.box]), step_mm)


def outer_surface(visit: Visit, step_mm: float, device: torch.device) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Signed distance (Z, Y, X) in mm of what is left of the bone, and where its grid begins."""
    length = visit.shape["length_mm"]
    grid = Grid(visit.kind.box, step_mm / length, device)
    _, solid, _ = _sculpted(visit, grid)
    return solid * length, length * np.array([low for low, _ in grid.box])


def _sculpted(visit: Visit, grid: Grid) -> tuple[Clay, torch.Tensor, torch.Tensor | None]:
    """The healthy bone, what is left of it, and the metal in it: signed distances in fractions of the length."""
    condition, mm = visit.condition, 1 / visit.shape["length_mm"]
    rng = visit.stream(DAMAGE, condition.seed)
    layers = [(visit.stream(WARP), visit.kind.warp), (visit.stream(SIDE[visit.laterality]), _SIDES)]
    if visit.session > 1:
        layers.append((visit.stream(REMODELLING, visit.session), _VISITS))
    warp = grid.warp(layers)
    x, y, z = grid.axes
    points = (x[None, None, :] + warp[0], y[None, :, None] + warp[1], z[:, None, None] + warp[2])
    slack = float(warp.abs().max())
    crack = None
    if condition.fractured:
        points, crack = damage.broken(rng, grid, points)
        slack += damage.REACH
    clay = Clay((x, y, z), points, slack)
    visit.kind.model(visit.shape, clay)
    clay.distance = torch.maximum(clay.distance, grid.beyond_walls(_WALL))
    clay.distance = _true_to_scale(clay.distance, grid.step)

    solid = clay.distance
    if crack is not None:
        solid = torch.maximum(solid, -crack)
    if condition.erosion_mm > 0:
        solid = damage.eroded(condition.erosion_mm * mm, rng, grid, solid)
    solid = damage.left_over(condition, rng, grid, solid)
    if condition.implant is None:
        return clay, solid, None
    metal, removed = damage.implant(condition.implant, rng, visit.kind, visit.shape, clay)
    if removed is not None:
        solid = torch.maximum(solid, -removed.distance(clay.points))
    return clay, solid, metal


def _true_to_scale(distance: torch.Tensor, step: float) -> torch.Tensor:
    """Blends and flares make a distance steeper or flatter than 1: divide it by its own slope."""
    square = torch.zeros_like(distance)
    for axis in range(3):
        square.add_(torch.gradient(distance, spacing=step, dim=axis)[0].square_())
    return distance / square.sqrt_().clamp_(0.7, 2.0)


def _tissue(visit: Visit, grid: Grid, distance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Cortex thickness (mm), HU inside it, and HU of the cortex."""
    tissue, inside = visit.stream(TISSUE), visit.stream(TEXTURE)
    # Usual clinical ranges: cortex about 1200-1900, spongy bone 100-500, marrow about -80..0.
    cortical, spongy, marrow = (float(v) for v in tissue.normal([1550, 260, -40], [110, 45, 20]))
    thickness = torch.exp(0.22 * grid.field(inside, 14))
    texture = 0.6 * grid.field(inside, 40)
    grain = grid.field(inside, 150)
    if visit.session > 1:
        new = visit.stream(REMODELLING, visit.session, 1)
        thickness *= torch.exp(0.04 * grid.field(new, 14))
        grain = math.sqrt(1 - _NEW_GRAIN**2) * grain + _NEW_GRAIN * grid.field(new, 150)
    texture += 1.2 * grain

    heights, cortex, share = np.array(visit.kind.inside(visit.shape)).T
    cortex_at, share_at = profiles(grid.axes[2][:, None, None], heights, np.stack([cortex, share], axis=1))
    porous = visit.condition.osteoporosis
    shell = (1 - 0.45 * porous) * cortex_at * thickness
    # Spongy bone is densest under the shell; its texture belongs to the person.
    rim = torch.exp((distance + shell).clamp(max=0) / 0.03)
    spongy_hu = (1 - 0.55 * porous) * (spongy - marrow + 160.0 * rim) + (1 + 0.3 * porous) * 90.0 * texture
    core = (marrow + share_at * spongy_hu).clamp(min=-120.0)
    return shell * visit.shape["length_mm"], core, cortical * (1 - 0.08 * porous)
