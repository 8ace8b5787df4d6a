"""The part of a radiograph that the beam reached: where shutters with soft edges and round fields of view end.

Shapes are looked for in some 256 pixels a side; a shape is believed only where its edge is a straight line along a side
of the picture, or a circle, to a pixel or two of these. Nothing in a body is.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatImage = NDArray[np.float32]

_ONSET = 0.08  # of the range: where it has fallen by so much, a shutter's edge begins
_EVEN = 0.05  # of the range: a shutter's own grey varies by less
_JUMP = 0.25  # of the range, from shutter to what is beyond its edge; less cannot be told from what is in the picture
_SOFTEST = 40  # of 256 pixels: edges that are wider are no edges
_LEVEL = 0.02  # of the range, in 4 pixels: where it falls by less, the edge is over
_DEEPEST = 0.45  # of a side
_LEAST_DEPTH = 4  # pixels
_CONSIDERED, _ON_LINE, _OFF_LINE = 0.4, 0.7, 3.0  # share of columns; share of these on the line; pixels off it
_STEEPEST = 0.3  # slope: a collimator turned by more is not parallel to a side
_ROUND = 1.0  # pixels rms off the circle
_PADDING = 0.01  # of the range: what varies less is not recorded but filled in
_ENOUGH = 2_000_000  # pixels to tell the range of greys from
_RADII = (0.35, 0.75)  # of the shorter side


@dataclass(frozen=True, eq=False)
class SoftShutters:
    """``beyond`` is (H, W) bool; ``sides`` are those of the picture, 0 top, then counter-clockwise seen by rot90."""

    beyond: NDArray[np.bool_]
    sides: tuple[int, ...]

    @property
    def framed(self) -> bool:
        """Whether two sides that meet are shut: a limb in an open beam has its edges on opposite sides."""
        return any((side + 1) % 4 in self.sides for side in self.sides)


def soft_shutters(pixels: FloatImage) -> SoftShutters:
    """Bright even bands along sides of the picture that end in a straight edge, however soft.

    Parameters
    ----------
    pixels : (H, W), bone bright
    """
    small = shrunk(pixels)
    shut = np.zeros(small.shape, dtype=bool)
    sides = []
    for side in range(4):
        band = _band(np.rot90(small, side))
        if band is not None:
            shut |= np.rot90(band, -side)
            sides.append(side)
    return SoftShutters(enlarged(shut, pixels.shape), tuple(sides))


def beyond_round_field(pixels: FloatImage) -> NDArray[np.bool_] | None:
    """What lies beyond a circle, (H, W) bool; None where the picture is not padded in its corners to make one."""
    small = shrunk(pixels)
    height, width = small.shape
    padding = np.zeros(small.shape, dtype=bool)
    corners = 0
    for end in (0, -1):
        for other in (0, -1):
            pieces, _ = ndimage.label(np.abs(small - small[end, other]) <= _PADDING * range_of(small))
            piece = pieces == pieces[end, other]
            corners += int(piece.sum() >= 9)
            padding |= piece
    if corners < 3 or padding.all():
        return None
    edge = padding & ndimage.binary_dilation(~padding)
    rows, columns = np.nonzero(edge)
    # A circle is the straight line x2 + y2 = 2 a x + 2 b y + c (Kasa 1976).
    system = np.stack([2 * rows, 2 * columns, np.ones_like(rows)], axis=1).astype(float)
    (a, b, c), *_ = np.linalg.lstsq(system, (rows**2 + columns**2).astype(float), rcond=None)
    radius = float(np.sqrt(max(c + a * a + b * b, 0.0)))
    off = np.hypot(rows - a, columns - b) - radius
    shorter = min(height, width)
    if not _RADII[0] * shorter <= radius <= _RADII[1] * shorter or np.sqrt(np.square(off).mean()) > _ROUND:
        return None
    scale = pixels.shape[0] / height
    y, x = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    reach = (radius - 1.5) * scale
    return np.asarray(np.hypot(y - (a + 0.5) * scale, x - (b + 0.5) * scale) > reach)


def _band(top: FloatImage) -> NDArray[np.bool_] | None:
    """The shutter along the upper side with its edge, (h, w) bool; None where there is none."""
    height, width = top.shape
    span = range_of(top)
    grey = float(np.median(top[0]))
    fallen = top < grey - _ONSET * span
    depth = np.where(fallen.any(axis=0), fallen.argmax(axis=0), height)
    at = np.flatnonzero((depth > 0) & (depth < _DEEPEST * height))
    if len(at) < _CONSIDERED * width:
        return None
    line = _line(at, depth[at])
    if line is None:
        return None
    slope, offset = line
    edge = slope * np.arange(width) + offset
    at = at[np.abs(depth[at] - edge[at]) <= _OFF_LINE]
    if edge[at].min() < _LEAST_DEPTH:
        return None
    rows = np.arange(height)[:, None]
    inner = (rows < edge - 2)[:, at]
    even = np.quantile(top[:, at][inner], [0.05, 0.95])
    steps = np.minimum(np.rint(edge[at]).astype(int) + np.arange(_SOFTEST + 5)[:, None], height - 1)
    profile = np.median(top[steps, at], axis=1)
    level = np.flatnonzero(profile[:-4] - profile[4:] < _LEVEL * span)
    level = level[profile[level] < grey - _JUMP * span]
    if np.ptp(even) > _EVEN * span or not len(level):
        return None
    return np.asarray(rows < edge + level[0] + 1)


def _line(x: NDArray[np.intp], y: NDArray[np.intp]) -> tuple[float, float] | None:
    """Slope and offset of a line through most of the points, by medians (Theil and Sen); None where there is none."""
    half = len(x) // 2
    slope = float(np.median((y[half : 2 * half] - y[:half]) / (x[half : 2 * half] - x[:half])))
    offset = float(np.median(y - slope * x))
    on_line = np.abs(y - slope * x - offset) <= _OFF_LINE
    return (slope, offset) if on_line.mean() >= _ON_LINE and abs(slope) <= _STEEPEST else None


def shrunk(pixels: FloatImage, side: int = 256) -> FloatImage:
    """Some 256 pixels along the shorter side, by means of blocks: enough for shapes, and free of noise."""
    by = max(1, min(pixels.shape) // side)
    height, width = (size // by * by for size in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // by, by, width // by, by)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def enlarged(small: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of `shrunk` brought back to (H, W)."""
    rows, columns = (
        np.minimum(np.arange(size) * few // size, few - 1) for size, few in zip(shape, small.shape, strict=True)
    )
    return np.asarray(small[rows[:, None], columns])


def range_of(pixels: FloatImage) -> float:
    """From the darkest to the brightest grey, without the 0.5 % beyond either."""
    every = max(1, math.isqrt(pixels.size // _ENOUGH))
    low, high = np.quantile(pixels[::every, ::every], [0.005, 0.995])
    return float(max(high - low, 1e-6))
