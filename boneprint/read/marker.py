"""A calibration ball in a radiograph: found, measured, and painted over.

A steel ball is brighter than what surrounds it, round at every grey level, and of one size at all of them; nothing in
a body is. Its radius is where the grey stands half-way between ball and surroundings, which blur leaves in its place:
the median over many directions, as a bone may pass behind one side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph

_LEVELS = 24
_FEWEST_LEVELS = 4  # at which it must be round
_ROUND = 0.06  # of the diameter: how far width, height and area may disagree; a femoral head joins its neck sooner
_ONE_SIZE = 0.08  # of the diameter, over the middle half of the levels: blur, not shape
_RAYS = 180
_SMALLEST, _LARGEST = 8, 0.3  # pixels across; of the picture's shorter side


@dataclass(frozen=True)
class Ball:
    """Centre (row, column) and diameter in pixels, and at how many grey levels it was round."""

    row: float
    column: float
    diameter: float
    levels: int


def scaled_by_marker(radiograph: Radiograph, marker_mm: float) -> Radiograph:
    """Find the ball, take the pixel spacing from it, and paint it over.

    Parameters
    ----------
    radiograph : with a ball in the plane of the bone
    marker_mm : its diameter

    Raises
    ------
    ReadError
        If there is no ball, or there are two of different sizes.
    """
    if not 1 <= marker_mm <= 100:
        raise ReadError(f"{radiograph.source}: a marker of {marker_mm} mm, expected 1 to 100 mm (most are 25).")
    balls = find_balls(radiograph.pixels)
    if not balls:
        raise ReadError(
            f"{radiograph.source}: no calibration ball found, expected one of {marker_mm:g} mm, round and brighter "
            "than what surrounds it. Measure it and pass --pixel-spacing MM instead."
        )
    sizes = [ball.diameter for ball in balls]
    if max(sizes) > 1.05 * min(sizes):
        raise ReadError(
            f"{radiograph.source}: round markers of {min(sizes):.0f} and {max(sizes):.0f} pixels, expected one size. "
            "Crop to the one you mean, or pass --pixel-spacing MM."
        )
    spacing_mm = marker_mm / float(np.mean(sizes))
    pixels = radiograph.pixels.copy()
    for ball in balls:
        _paint_over(pixels, ball)
    note = (
        f"pixel spacing {spacing_mm:.4f} mm from a calibration ball of {marker_mm:g} mm ({np.mean(sizes):.1f} pixels)"
    )
    return Radiograph(pixels, spacing_mm, radiograph.view, radiograph.source, (*radiograph.notes, note))


def find_balls(pixels: NDArray[np.float32]) -> list[Ball]:
    """Every round thing that is brighter than its surroundings, the surest first."""
    low, high = np.quantile(pixels, [0.3, 0.9999])
    seen: list[list[tuple[float, float, float]]] = []
    for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
        for disc in _discs(pixels > level):
            mine = next((group for group in seen if _same_place(group[-1], disc)), None)
            if mine is None:
                seen.append([disc])
            else:
                mine.append(disc)
    balls = []
    for group in seen:
        sizes = np.array([size for _, _, size in group])
        if len(group) < _FEWEST_LEVELS or np.ptp(np.quantile(sizes, [0.25, 0.75])) > _ONE_SIZE * np.median(sizes) + 1:
            continue
        row, column, _ = np.median(np.array(group), axis=0)
        diameter = _measured(pixels, row, column, float(np.median(sizes)))
        if diameter is not None:
            balls.append(Ball(float(row), float(column), diameter, len(group)))
    balls.sort(key=lambda ball: -ball.levels)
    return [ball for ball in balls if ball.levels > 0.5 * balls[0].levels]


def _discs(mask: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
    """(row, column, diameter) of the components that are discs and touch no border."""
    pieces, _ = ndimage.label(mask)
    largest = _LARGEST * min(mask.shape)
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        height, width = (side.stop - side.start for side in box)
        if not (min(height, width) >= _SMALLEST and max(height, width) <= largest):
            continue
        if any(side.start == 0 or side.stop == size for side, size in zip(box, mask.shape, strict=True)):
            continue
        if abs(height - width) > max(2, _ROUND * max(height, width)):
            continue
        own = ndimage.binary_fill_holes(pieces[box] == number)
        diameter = 2 * float(np.sqrt(own.sum() / np.pi))
        if abs(diameter / ((height + width) / 2) - 1) > max(_ROUND, 1.0 / width):
            continue
        rows, columns = np.nonzero(own)
        centre = rows.mean(), columns.mean()
        # Of all shapes of one area a disc has the least second moment, area / (2 pi).
        spread = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2).mean() * 2 * np.pi / own.sum()
        if spread < 1.02:
            found.append((box[0].start + centre[0], box[1].start + centre[1], diameter))
    return found


def _same_place(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return bool(np.hypot(one[0] - other[0], one[1] - other[1]) < 0.15 * max(one[2], other[2]))


def _measured(pixels: NDArray[np.float32], row: float, column: float, diameter: float) -> float | None:
    """Diameter in pixels; None where it is not brighter than around."""
    radius = diameter / 2
    radii = np.arange(0.5 * radius, 1.4 * radius, 0.1)
    angles = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)[:, None]
    places = np.stack([row + np.sin(angles) * radii, column + np.cos(angles) * radii])
    rays = ndimage.map_coordinates(pixels, places, order=1, mode="nearest")
    inside = rays[:, radii < 0.75 * radius].mean(axis=1)
    around = rays[:, radii > 1.25 * radius].mean(axis=1)
    if not np.median(inside - around) > 0:
        return None
    below = rays < ((inside + around) / 2)[:, None]
    return 2 * float(np.median(radii[below.argmax(axis=1)]))


def _paint_over(pixels: NDArray[np.float32], ball: Ball) -> None:
    distance = _distances(pixels.shape, ball.row, ball.column)
    radius = ball.diameter / 2
    pixels[distance < 1.2 * radius] = np.median(pixels[(distance > 1.3 * radius) & (distance < 1.6 * radius)])


def _distances(shape: tuple[int, ...], row: float, column: float) -> NDArray[np.float64]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(rows - row, columns - column))
