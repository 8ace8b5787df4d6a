"""The best placing of a bone: from several starts, coarse to fine, by damped least squares on edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.superimpose.edges import FloatArray
from boneprint.superimpose.placing import Placing
from boneprint.superimpose.search import looked, starts, window
from boneprint.superimpose.sight import Level, Sight
from boneprint.superimpose.solid import Solid

Values = NDArray[np.float64]

# Directions that are searched on either side of one that is given: the enrolled view that looks most like a
# picture was up to 40 degrees from the true one in simulated femora seen from the side.
_SPAN_DEG, _STEP_DEG = 40, 10
_STARTS, _FOLLOWED = 6, 4
_FIRST, _THEN, _LAST = 2, 8, 5  # steps of all starts, of the best ones, and at the finest level
_ENOUGH = 3e-4  # gain in likeness below which no further step is taken

# Usual size of what is sought: degrees from the given direction, of tilt, in the plane; mm; logarithm of size. Nobody
# knows place and turn; a bone lies within some 4 % of the plane that the spacing is said of.
_USUAL = np.array([25.0, 5.0, 1e3, 1e3, 1e3, 0.04])
_MOST_TILT_DEG, _MOST_LARGER = 15.0, 0.1
_STEP_MOST = np.array([10.0, 4.0, 6.0, 8.0, 8.0, 0.03])  # places in pixels
# Neighbouring pixels err together: so many count as one.
_TOGETHER = 6.0
_DAMPING = (1e-2, 8.0, 0.25)  # at first, after a step that did not help, after one that did


@dataclass(frozen=True)
class Overlay:
    """A bone laid over a radiograph.

    Parameters
    ----------
    likeness : weighted correlation of the edges of both on and around the bone, at most 1
    placing : of the bone
    """

    likeness: float
    placing: Placing


def superimpose(solid: Solid, sight: Sight, directions_deg: Sequence[float]) -> Overlay:
    """Lay a bone over a radiograph.

    Parameters
    ----------
    solid : the bone
    sight : the radiograph, made ready for bones of about this length
    directions_deg : it was taken from near one of them, within some 50 degrees about the long axis (0 = AP, 90 = ML)
    """
    begun: list[tuple[_Fit, Overlay]] = []
    for direction in directions_deg:
        angles = [direction + off for off in range(-_SPAN_DEG, _SPAN_DEG + 1, _STEP_DEG)]
        coarse = _Fit(solid, sight, sight.middle, direction, 1.5 * sight.pitch_mm)
        begun += [(coarse, coarse.followed(start, _FIRST)) for start in starts(solid, sight, angles, _STARTS)]
    begun.sort(key=lambda each: -each[1].likeness)
    followed = [(coarse, coarse.followed(overlay.placing, _THEN)) for coarse, overlay in begun[:_FOLLOWED]]
    coarse, best = max(followed, key=lambda each: each[1].likeness)
    return coarse.at(sight.fine, sight.pitch_mm).followed(best.placing, _LAST)


def likely_directions(likeness: NDArray[np.floating], angles_deg: NDArray[np.floating]) -> tuple[float, ...]:
    """Where a picture may have been taken from, by how much it resembles a bone's enrolled views.

    Bones look alike from opposite sides, above all where little of them is seen. So it is the likest view's direction,
    and that of the likest of the views that are clearly other ones.

    Parameters
    ----------
    likeness, angles_deg : (V,) of every view
    """
    first = float(angles_deg[np.argmax(likeness)])
    others = np.abs((angles_deg - first + 180) % 360 - 180) > 2 * _SPAN_DEG
    if not others.any():
        return (first,)
    return first, float(angles_deg[others][np.argmax(likeness[others])])


class _Fit:
    """Least squares at one level of a picture."""

    def __init__(self, solid: Solid, sight: Sight, level: Level, angle_deg: float, voxel_mm: float) -> None:
        self._absorber = solid.absorber(voxel_mm)
        self._solid, self._sight, self._level, self._angle_deg = solid, sight, level, angle_deg
        self._rows, self._columns = window(solid, sight)
        self._pixel_mm = level.factor * sight.pitch_mm

    def at(self, level: Level, voxel_mm: float) -> "_Fit":
        """The same at another level."""
        return _Fit(self._solid, self._sight, level, self._angle_deg, voxel_mm)

    def followed(self, start: Placing, steps: int) -> Overlay:
        """The placing that a few steps from ``start`` lead to."""
        damping, worse, better = _DAMPING
        values = self._in_pixels(start)
        seen = self._seen(values)
        for _ in range(steps):
            normal, gradient = self._equations(values, seen)
            before = seen.likeness
            for _ in range(3):
                step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
                tried = values + np.clip(step, -_STEP_MOST, _STEP_MOST)
                tried[1] = np.clip(tried[1], -_MOST_TILT_DEG, _MOST_TILT_DEG)
                tried[5] = np.clip(tried[5], -_MOST_LARGER, _MOST_LARGER)
                then = self._seen(tried)
                if then.likeness > before:
                    values, seen, damping = tried, then, max(better * damping, 1e-4)
                    break
                damping *= worse
            if seen.likeness - before < _ENOUGH:
                break
        return Overlay(seen.likeness, self._in_mm(values))

    def _look(self, values: Values) -> tuple[FloatArray, FloatArray]:
        return looked(self._absorber, self._in_mm(values), self._sight.pitch_mm, self._level, self._rows, self._columns)

    def _seen(self, values: Values) -> "_Seen":
        bone, weight = self._look(values)
        picture, inside = cut(self._level.edges, values[3], values[4], bone.shape)
        return _Seen(bone, weight * inside, picture)

    def _equations(self, values: Values, seen: "_Seen") -> tuple[Values, Values]:
        """Normal matrix and gradient of picture - gain * bone, and of the usual sizes."""
        changes: list[FloatArray] = []
        for number in (0, 1):
            moved = values.copy()
            moved[number] += 1.0
            changes.append(self._look(moved)[0] - seen.bone)
        down, right = (np.asarray(slope) for slope in np.gradient(seen.bone))
        v, u = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in seen.bone.shape)
        # What turns, moves or grows in the plane is the picture of the bone as a whole.
        changes += [np.deg2rad(u * down - v[:, None] * right), -down, -right, -(u * right + v[:, None] * down)]
        weight = seen.weight.ravel()
        slopes = seen.gain * np.stack([change.ravel() for change in changes], axis=1, dtype=np.float64)
        left = (seen.picture - seen.gain * seen.bone).ravel()
        variance = float((weight * left**2).sum() / max(weight.sum(), 1.0)) * _TOGETHER + 1e-9
        weighted = slopes * weight[:, None]
        strayed = values - np.array([self._angle_deg, 0.0, 0.0, 0.0, 0.0, 0.0])
        strayed[2:5] = 0.0
        normal = weighted.T @ slopes / variance + np.diag(1 / _USUAL**2)
        return normal, weighted.T @ left / variance - strayed / _USUAL**2

    def _in_pixels(self, placing: Placing) -> Values:
        values = placing.values()
        values[3:5] /= self._pixel_mm
        return values

    def _in_mm(self, values: Values) -> Placing:
        scaled = values.copy()
        scaled[3:5] *= self._pixel_mm
        return Placing(*scaled.tolist())


@dataclass(frozen=True, eq=False)
class _Seen:
    """Edges of the bone, where they count, and those of the picture in the same place."""

    bone: FloatArray
    weight: FloatArray
    picture: FloatArray

    @property
    def likeness(self) -> float:
        """Weighted correlation."""
        both = (self.weight * self.bone**2).sum() * (self.weight * self.picture**2).sum()
        return float((self.weight * self.bone * self.picture).sum() / np.sqrt(both + 1e-12))

    @property
    def gain(self) -> float:
        """How strong the picture's edges are beside the bone's."""
        return max(
            0.2, float((self.weight * self.bone * self.picture).sum() / ((self.weight * self.bone**2).sum() + 1e-9))
        )


def cut(picture: FloatArray, down: float, right: float, size: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """A window about a place that is off the picture's middle; 1 within the picture, 0 beyond."""
    first = [(n - 1) / 2 + off - (m - 1) / 2 for n, m, off in zip(picture.shape, size, (down, right))]
    cut: FloatArray = ndimage.affine_transform(picture, [1.0, 1.0], first, size, order=1, mode="nearest")
    inside = [(at + np.arange(m) >= 0) & (at + np.arange(m) <= n - 1) for at, m, n in zip(first, size, picture.shape)]
    return cut, np.outer(*inside).astype(np.float32)
