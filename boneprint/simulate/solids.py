"""Solids of which bones are put together: signed distances, negative inside, in fractions of the bone's length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

Points = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Place = tuple[float, float, float]
Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

_KNOTS = 256  # samples of a profile; between them it is linear
_PICTURE, _MARGIN = 192, 0.1  # samples of an outline along y and z, and how far around it


class Solid(Protocol):
    """Anything that can be added to a bone or cut from it."""

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        ...

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance at points, right to first order near the surface."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """``turn``: rows are the directions of the radii; None keeps the axes."""

    centre: Place
    radii: Place
    turn: NDArray[np.float64] | None = None

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        reach = np.array(self.radii) if self.turn is None else np.sqrt(((self.turn.T * self.radii) ** 2).sum(axis=1))
        return _around(np.array([self.centre]), reach)

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance: exact on the surface, of the right slope there (I. Quilez's bound k0 (k0 - 1) / k1)."""
        from_centre = [q - c for q, c in zip(p, self.centre)]
        if self.turn is not None:
            from_centre = [sum(float(a) * q for a, q in zip(row, from_centre)) for row in self.turn]  # type: ignore[misc]
        scaled = [q / r for q, r in zip(from_centre, self.radii)]
        k0 = _length(scaled) + 1e-6
        return k0 * (k0 - 1) / (_length([q / r for q, r in zip(scaled, self.radii)]) + 1e-6)


def ball(centre: Place, radius: float) -> Ellipsoid:
    """A sphere."""
    return Ellipsoid(centre, (radius,) * 3)


@dataclass(frozen=True)
class Rod:
    """A straight rod with round ends, conical where the radii differ."""

    start: Place
    end: Place
    start_radius: float
    end_radius: float

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        return _around(np.array([self.start, self.end]), max(self.start_radius, self.end_radius))

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance."""
        direction = np.subtract(self.end, self.start)
        square = max(float(direction @ direction), 1e-12)
        from_start = [q - s for q, s in zip(p, self.start)]
        along = sum(q * float(d) for q, d in zip(from_start, direction / square)).clamp(0, 1)  # type: ignore[union-attr]
        off = _length([q - along * float(d) for q, d in zip(from_start, direction)])
        return off - (self.start_radius + (self.end_radius - self.start_radius) * along)


@dataclass(frozen=True)
class Strand:
    """A rod along a smooth curve through places, its radius changing smoothly; ``flat`` squeezes it along an axis.

    ``flat`` is (unit direction, factor): across that direction the strand is ``factor`` times as thick.
    """

    places: Sequence[Place]
    radii: Sequence[float]
    flat: tuple[Place, float] | None = None
    pieces: int = 3

    def _fine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        knots = np.arange(len(self.places))
        at = np.linspace(0, len(self.places) - 1, self.pieces * (len(self.places) - 1) + 1)
        if len(self.places) < 3:
            return np.array(self.places, dtype=float), np.array(self.radii, dtype=float)
        return CubicSpline(knots, self.places)(at), PchipInterpolator(knots, self.radii)(at)

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        places, radii = self._fine()
        return _around(places, float(radii.max()))

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance."""
        places, radii = self._fine()
        scale = np.eye(3)
        if self.flat is not None:
            direction, factor = np.array(self.flat[0], dtype=float), self.flat[1]
            direction = direction / np.linalg.norm(direction)
            scale = scale + (1 / factor - 1) * np.outer(direction, direction)
            p = tuple(sum(float(a) * q for a, q in zip(row, p)) for row in scale)  # type: ignore[assignment]
        ends = [tuple(scale @ place) for place in places]
        rods = (Rod(a, b, float(r), float(s)) for a, b, r, s in zip(ends, ends[1:], radii, radii[1:]))
        nearest = next(rods).distance(p)
        for rod in rods:
            nearest = torch.minimum(nearest, rod.distance(p))
        return nearest if self.flat is None else nearest * min(1.0, self.flat[1])


@dataclass(frozen=True)
class Tube:
    """A shaft along z: at each height a centre, half widths along x and y, and how triangular it is.

    ``rows`` are (z, centre x, centre y, half width x, half width y) from below to above, smoothly interpolated.
    ``triangle`` adds that share of the radius in three lobes, the first at ``lobe_rad`` from x to y.
    """

    rows: Sequence[tuple[float, float, float, float, float]]
    triangle: float = 0.0
    lobe_rad: float = 0.0

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        z, cx, cy, rx, ry = np.array(self.rows).T
        rx, ry = rx * (1 + abs(self.triangle)), ry * (1 + abs(self.triangle))
        sides = ((cx - rx).min(), (cx + rx).max()), ((cy - ry).min(), (cy + ry).max()), (z[0], z[-1])
        return tuple((float(a), float(b)) for a, b in sides)  # type: ignore[return-value]

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance across the tube; flat ends."""
        knots = np.array(self.rows)
        z = p[2]
        cx, cy, rx, ry = profiles(z, knots[:, 0], knots[:, 1:])
        dx, dy = p[0] - cx, p[1] - cy
        if self.triangle:
            # cos 3t = 4 cos^3 t - 3 cos t needs no angle.
            c = (dx * float(np.cos(self.lobe_rad)) + dy * float(np.sin(self.lobe_rad))) / (_length([dx, dy]) + 1e-6)
            swell = 1 + self.triangle * (4 * c**3 - 3 * c)
            rx, ry = rx * swell, ry * swell
        k0 = _length([dx / rx, dy / ry]) + 1e-6
        k1 = _length([dx / rx**2, dy / ry**2]) + 1e-6
        ends = torch.maximum(z - float(knots[-1, 0]), float(knots[0, 0]) - z)
        return torch.maximum(k0 * (k0 - 1) / k1, ends)


@dataclass(frozen=True)
class Beyond:
    """What lies beyond a plane within some bounds: for cutting ends off at a slant.

    ``normal`` points to what is beyond; it need not be of unit length.
    """

    place: Place
    normal: Place
    bounds: Bounds

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance."""
        unit = np.array(self.normal) / np.linalg.norm(self.normal)
        return -sum((q - c) * float(n) for q, c, n in zip(p, self.place, unit))  # type: ignore[return-value]


def profiles(at: torch.Tensor, knots: NDArray[np.float64], values: NDArray[np.float64]) -> list[torch.Tensor]:
    """Monotone cubic curves through (knots, values[:, i]) at any tensor of places, held constant beyond the ends."""
    knots = _in_order(knots)
    low, high = float(knots[0]), float(knots[-1])
    curve = PchipInterpolator(knots, values)(np.linspace(low, high, _KNOTS))
    table = torch.from_numpy(curve.T.astype(np.float32)).to(at.device)
    position = ((at - low) * ((_KNOTS - 1) / (high - low))).clamp(0, _KNOTS - 1.001)
    cell = position.long()
    t = position - cell
    return [torch.lerp(row[cell], row[cell + 1], t) for row in table]


@dataclass(frozen=True)
class Both:
    """What two solids share."""

    first: Solid
    second: Solid

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        return self.first.bounds

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance."""
        return torch.maximum(self.first.distance(p), self.second.distance(p))


class Height(Protocol):
    """A height over the plane of y and z."""

    def __call__(self, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Height at (y, z)."""
        ...


@dataclass(frozen=True, eq=False)
class Sheet:
    """A curved plate across x, with a round rim.

    Parameters
    ----------
    outline : (N, 2) corners (y, z) of a closed polygon; smooth where N is large
    bend : x of the middle of the plate
    half : half its thickness along x
    x : lowest and highest x that it reaches
    """

    outline: NDArray[np.float64]
    bend: Height
    half: Height
    x: tuple[float, float]

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z."""
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        return self.x, (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    def distance(self, p: Points) -> torch.Tensor:
        """Signed distance."""
        x, y, z = p
        half = self.half(y, z)
        across = (x - self.bend(y, z)).abs() - half
        rim = _looked_up(self.outline, y, z)
        return torch.hypot((rim + half).clamp(min=0), (across + half).clamp(min=0)) - half


def _looked_up(outline: NDArray[np.float64], y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Signed distance to a polygon, from a picture of it: a polygon of 60 corners is dear at a million points."""
    low, high = outline.min(axis=0) - _MARGIN, outline.max(axis=0) + _MARGIN
    side_y, side_z = (torch.linspace(float(a), float(b), _PICTURE, device=y.device) for a, b in zip(low, high))
    picture = polygon_distance(outline, side_y[None, :].expand(_PICTURE, -1), side_z[:, None].expand(-1, _PICTURE))
    to_unit = [2 / (b - a) for a, b in zip(low, high)]
    at = torch.stack([(y - low[0]) * to_unit[0] - 1, (z - low[1]) * to_unit[1] - 1], dim=-1).reshape(1, -1, 1, 2)
    found = F.grid_sample(picture[None, None], at.float(), padding_mode="border", align_corners=True)
    return found.reshape(y.shape)


def polygon_distance(corners: NDArray[np.float64], u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Signed distance to a closed polygon, negative inside (the sign by counting crossings)."""
    square = torch.full_like(u, 1e6)
    inside = torch.zeros_like(u, dtype=torch.bool)
    for (au, av), (bu, bv) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist()):
        eu, ev = bu - au, bv - av
        wu, wv = u - au, v - av
        t = ((wu * eu + wv * ev) / (eu * eu + ev * ev + 1e-12)).clamp(0, 1)
        square = torch.minimum(square, (wu - t * eu) ** 2 + (wv - t * ev) ** 2)
        if ev != 0:
            inside ^= (v >= min(av, bv)) & (v < max(av, bv)) & (wu < eu / ev * wv)
    return torch.where(inside, -square.sqrt(), square.sqrt())


def curve(knots: Sequence[float], values: Sequence[float], at: float) -> float:
    """A monotone cubic curve through (knots, values) at one place."""
    return float(PchipInterpolator(_in_order(np.array(knots)), values)(at))


def closed_curve(places: Sequence[tuple[float, float]], samples: int = 48) -> NDArray[np.float64]:
    """A smooth closed curve through places, as (samples, 2) corners."""
    knots = np.array([*places, places[0]], dtype=float)
    steps = np.concatenate([[0], np.sqrt(np.linalg.norm(np.diff(knots, axis=0), axis=1)).cumsum()])
    at = np.linspace(0, steps[-1], samples, endpoint=False)
    return np.asarray(CubicSpline(steps, knots, bc_type="periodic")(at))


def _in_order(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Knots that rise strictly: numbers far from the mean can put one above the next, which is then moved up to it."""
    return np.asarray(np.maximum.accumulate(knots) + 1e-4 * np.arange(len(knots)))


def _length(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    square = parts[0] * parts[0]
    for part in parts[1:]:
        square = torch.addcmul(square, part, part)
    return square.sqrt_()


def _around(places: NDArray[np.float64], reach: float | NDArray[np.float64]) -> Bounds:
    low, high = places.min(axis=0) - reach, places.max(axis=0) + reach
    return tuple((float(a), float(b)) for a, b in zip(low, high))  # type: ignore[return-value]
