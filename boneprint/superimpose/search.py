"""Where to begin: coarse renderings from several directions, correlated with the picture in every turn and place."""

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

from boneprint.drr import Absorber
from boneprint.superimpose.edges import FloatArray, blocks, coarser, edges
from boneprint.superimpose.placing import Placing
from boneprint.superimpose.sight import TURNS, Level, Sight
from boneprint.superimpose.solid import Solid

# Pixels that are shown around a bone: edges reach beyond it, and it may appear larger than it is.
_AROUND = 12
_BONY = 0.02  # of its brightest pixel; what is less is none of the bone
_PEAKS = 500  # that are looked at
# Places that differ by less, in degrees about the axis and in the plane, and as shares of the bone, are one start.
_APART = (10.5, 4.5, 0.06)
_CLUTTER = 0.5  # of the picture's mean power, which the denominator of a correlation is at least


def window(solid: Solid, sight: Sight) -> tuple[int, int]:
    """(rows, columns) that show a bone in any direction, at the finest pitch; every level's pixels fill them."""
    x, y, z = solid.size_mm
    sizes = (1.04 * z / sight.pitch_mm + 2 * _AROUND, float(np.hypot(x, y)) / sight.pitch_mm + 2 * _AROUND)
    whole = int(np.lcm(sight.middle.factor, sight.coarse.factor))
    rows, columns = (whole * int(np.ceil(size / whole)) for size in sizes)
    return rows, columns


def looked(
    absorber: Absorber, placing: Placing, pitch_mm: float, level: Level, rows: int, columns: int
) -> tuple[FloatArray, FloatArray]:
    """Edges of a rendered bone at one level, and 1 on and around the bone, 0 elsewhere."""
    rendered = placing.render(absorber, pitch_mm, rows, columns)
    bony = rendered > _BONY * rendered.max()
    found = edges(rendered)
    if level.factor > 1:
        found = coarser(found, level.factor)
        bony = blocks(bony, level.factor).any(axis=(1, 3))
    weight = ndimage.maximum_filter(bony.astype(np.float32), 3)
    return found, weight


def starts(solid: Solid, sight: Sight, angles_deg: Sequence[float], count: int) -> list[Placing]:
    """The placings that correlate best, each clearly another one."""
    rows, columns = window(solid, sight)
    absorber = solid.absorber(1.5 * sight.pitch_mm)
    views = [looked(absorber, Placing(angle), sight.pitch_mm, sight.coarse, rows, columns) for angle in angles_deg]
    weights = np.stack([weight for _, weight in views])
    weighted = np.stack([weight * found for found, weight in views])
    power = (weighted**2).sum(axis=(1, 2))
    size = sight.transform_size
    bone, shown = (fft.rfft2(each, s=size).conj() for each in (weighted, weights))
    alike = fft.irfft2(sight.turned[:, :1] * bone, s=size)
    there = fft.irfft2(sight.turned[:, 1:] * shown, s=size)
    least = _CLUTTER * float((sight.coarse.edges**2).mean()) * weights.sum(axis=(1, 2))
    alike /= np.sqrt(np.maximum(there, least[:, None, None]) * power[:, None, None])
    return _peaks(alike, sight, weights.shape[1:], angles_deg, count, solid.longest_mm)


def _peaks(
    alike: FloatArray,
    sight: Sight,
    shown: tuple[int, ...],
    angles_deg: Sequence[float],
    count: int,
    longest_mm: float,
) -> list[Placing]:
    peaks = np.argwhere(alike == ndimage.maximum_filter(alike, (1, 1, 7, 7), mode="wrap"))
    order = np.argsort(-alike[tuple(peaks.T)])[:_PEAKS]
    pixel_mm = sight.coarse.factor * sight.pitch_mm
    kept: list[Placing] = []
    for turn, angle, *place in peaks[order].tolist():
        # What lies before the first pixel comes last.
        at = np.where(np.array(place) >= sight.turned_size, np.array(place) - sight.transform_size, place)
        down, right = pixel_mm * (at + (np.array(shown) - 1) / 2 - (np.array(sight.turned_size) - 1) / 2)
        c, s = np.cos(np.deg2rad(TURNS[turn])), np.sin(np.deg2rad(TURNS[turn]))
        placing = Placing(angles_deg[angle], 0.0, TURNS[turn], float(c * down - s * right), float(s * down + c * right))
        if all(_differ(placing, other, longest_mm) for other in kept):
            kept.append(placing)
        if len(kept) == count:
            break
    return kept


def _differ(one: Placing, other: Placing, longest_mm: float) -> bool:
    apart = np.abs(one.values() - other.values())
    return bool(apart[0] > _APART[0] or apart[2] > _APART[1] or apart[3] > _APART[2] * longest_mm)
