"""Where a fit begins: a model's likely sizes, correlated with a radiograph in every place, turn and direction.

Contours attract from a few millimetres only, and a femur's shaft fits a radiograph in many places: what decides is the
whole bone. So renderings of several sizes are looked for in every place and turn of each picture at once (normalised
correlation by Fourier transforms), and several places of each size are kept.

References
----------
J. P. Lewis, Fast normalized cross-correlation, Vision Interface, 1995.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import fft, ndimage

from boneprint.drr import Pose
from boneprint.nouns import Radiograph
from boneprint.shape.model import ShapeModel
from boneprint.shape.sight import Picture, View, detail, evened, rendered
from boneprint.shape.surface import FloatArray, Surface

# Pixels along the model's diagonal.
_SEARCHED = 75
# About the axis, in the plane, degrees, and of the first mode, which is a bone's size.
_AXIS_STEP_DEG = 12.0
_PLANE_DEG = tuple(float(turn) for turn in range(-20, 21, 4))
_SIZES = tuple(0.5 * step for step in range(-5, 6))
_CLUTTER = 0.5  # of a picture's mean power, which the denominator of a correlation is at least
_PEAKS = 200  # that are looked at
_PLACES = 3  # of a size in a picture
# Places that differ by less, in degrees about the axis and in the plane and as a share of the diagonal, are one.
_APART = (12.5, 4.5, 0.04)


@dataclass(frozen=True, eq=False)
class Start:
    """A shape in front of each picture.

    Attributes
    ----------
    modes : (K,) in standard deviations
    views : of each picture
    agreement : mean normalised correlation, at most 1
    """

    modes: FloatArray
    views: tuple[View, ...]
    agreement: float


def starts(
    model: ShapeModel,
    radiographs: Sequence[Radiograph],
    angles_deg: Sequence[float],
    begun: Sequence[FloatArray],
    count: int,
    *,
    within_deg: float,
) -> list[Start]:
    """The most alike ones, each clearly another.

    Parameters
    ----------
    begun : (K,) shapes whose sizes are varied
    within_deg : of the angles is searched
    """
    diagonal = model.surface(np.zeros(0)).diagonal_mm
    searches = [_Search(Picture.of(each, diagonal / _SEARCHED), diagonal) for each in radiographs]
    found = []
    each_side = int(within_deg / _AXIS_STEP_DEG)
    away = [_AXIS_STEP_DEG * step for step in range(-each_side, each_side + 1)]
    for modes in begun:
        for step in _SIZES:
            sized = modes + step * (np.arange(len(modes)) == 0)
            surface = model.surface(sized)
            places = [
                search.places(surface, [angle + off for off in away]) for search, angle in zip(searches, angles_deg)
            ]
            for chosen in product(*places):
                agreement = float(np.mean([value for value, _ in chosen]))
                found.append(Start(sized, tuple(view for _, view in chosen), agreement))
    found.sort(key=lambda start: -start.agreement)
    return found[:count]


class _Search:
    """A picture turned every way, ready to be correlated with."""

    def __init__(self, picture: Picture, diagonal_mm: float) -> None:
        self._pixel_mm, self._diagonal_mm = picture.pixel_mm, diagonal_mm
        self._side = int(max(np.hypot(*picture.shape), 1.2 * diagonal_mm / picture.pixel_mm)) + 1
        # A bone that is half out of the picture would come in again on the other side, and is not looked for.
        self._size = int(fft.next_fast_len(round(1.5 * self._side), real=True))
        shown = evened(picture.detail) * picture.valid
        self._floor = _CLUTTER * float((shown**2).mean())
        turned = np.stack([self._turned(shown, turn) for turn in _PLANE_DEG]).astype(np.float32)
        self._shown, self._power = (fft.rfft2(each, s=(self._size,) * 2) for each in (turned, turned**2))

    def _turned(self, picture: FloatArray, turn_deg: float) -> FloatArray:
        """Turned back, so that a bone that was turned so stands upright."""
        matrix = _turn(turn_deg)[::-1, ::-1]  # of (row, column)
        middle = (np.array(picture.shape) - 1) / 2
        offset = middle - matrix @ np.full(2, (self._side - 1) / 2)
        found: FloatArray = ndimage.affine_transform(picture, matrix, offset, (self._side,) * 2, order=1)
        return found

    def places(self, surface: Surface, angles_deg: Sequence[float]) -> list[tuple[float, View]]:
        """Where a surface is likeliest, each clearly another place: agreement and view."""
        alike = np.stack([self._alike(surface, angle) for angle in angles_deg])  # (axis, turn, row, column)
        peaks = np.argwhere(alike == ndimage.maximum_filter(alike, (1, 1, 5, 5), mode="wrap"))
        values = alike[tuple(peaks.T)]
        kept: list[tuple[float, View]] = []
        for at in np.argsort(-values)[:_PEAKS]:
            axis, turn, *place = peaks[at].tolist()
            down, right = (each - self._size if each > self._size // 2 else each for each in place)
            shift = self._pixel_mm * _turn(_PLANE_DEG[turn]) @ [right, down]
            view = View(angles_deg[axis], 0.0, _PLANE_DEG[turn], float(shift[0]), float(shift[1]))
            if all(self._differ(view, other) for _, other in kept):
                kept.append((float(values[at]), view))
            if len(kept) == _PLACES:
                break
        return kept

    def _alike(self, surface: Surface, axis_deg: float) -> FloatArray:
        """(turn, row, column) normalised correlation with the bone moved so far."""
        shape = (self._side, self._side)
        picture = rendered(surface, View(axis_deg), self._pixel_mm, shape)
        around = ndimage.binary_dilation(picture > 0, iterations=2).astype(np.float32)
        ours = evened(detail(picture)).astype(np.float32) * around
        one, other = (fft.rfft2(each, s=(self._size,) * 2).conj() for each in (ours, around))
        fitting = fft.irfft2(self._shown * one, s=(self._size,) * 2)
        there = fft.irfft2(self._power * other, s=(self._size,) * 2)
        least = self._floor * around.sum()
        return np.asarray(fitting / np.sqrt(np.maximum(there, least) * (ours**2).sum()))

    def _differ(self, one: View, other: View) -> bool:
        apart = np.abs(one.values() - other.values())
        far = _APART[2] * self._diagonal_mm
        return bool(apart[0] > _APART[0] or apart[2] > _APART[1] or max(apart[3:]) > far)


def _turn(turn_deg: float) -> FloatArray:
    """(2, 2) of what lies (right, down) when the picture is turned."""
    return np.asarray(Pose(0.0, 0.0, turn_deg).axes()[:2] @ Pose(0.0).axes()[:2].T)
