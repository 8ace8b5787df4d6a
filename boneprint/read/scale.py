"""Scales in a radiograph: bars that a program burnt in, and the graduation of a ruler that lay beside the limb.

Both are painted over with the grey beside them. Neither gives a pixel spacing by itself: what a mark stands for is
written beside it, or is not. How far a ruler's marks are apart is measured, for those who know what they stand for.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.read.field import enlarged, range_of, shrunk

FloatImage = NDArray[np.float32]
BoolImage = NDArray[np.bool_]

_BURNT_IN = 0.02  # of the range below the brightest: compression rings, ink does not vary
_DROP = 0.35  # of the range, from a bar to what lies around it
_LONGEST, _SHORTEST = 0.95, 0.08  # of the longer side; what is shorter is a letter
_WIDEST = 0.08  # of the longer side, ticks and all
_STROKE = 0.006  # of the longer side: how thick a line is drawn
_FULL = 0.97  # of a bar's length is one straight line along a row or a column: no wire in a bone is

_SIDE = 1000  # pixels along the shorter side in which rulers are looked for
_RAISED = 0.12  # of the range: a mark of metal or ink above what is beside it
_MARK = 0.006  # of the longer side: how thick a mark is, at most
_MARK_WIDTH = (0.004, 0.08)  # of the longer side
_IN_LINE = 0.004  # of the longer side: how far the ends of marks on one ruler are apart
_FEWEST_MARKS = 12
_MOST_PIECES = 20_000  # noise
_EVEN = 0.06  # of the distance of two marks; vertebrae and ribs differ by more
_ONE_SCALE = 1.02  # by which two rulers, one along each side, may differ
_EVENLY = 0.85  # of the marks are so evenly apart


def without_scales(pixels: FloatImage) -> tuple[FloatImage, tuple[str, ...], float | None]:
    """Paint scales over.

    Parameters
    ----------
    pixels : (H, W), bone and ink bright

    Returns
    -------
    (H, W) and notes, the input and none where there is no scale; and the pixels from mark to mark of the ruler, None
    where there is none, or where two rulers disagree
    """
    span = range_of(pixels)
    ink = np.zeros(pixels.shape, dtype=bool)
    notes = []
    rulers = []
    for turned, found in ((pixels, ink), (pixels.T, ink.T)):
        bars = _bars(turned, span)
        if bars.any():
            found |= bars
            notes.append("lines or a scale bar burnt into the picture were painted over")
        coarse = shrunk(turned, _SIDE)
        marks, apart = _graduation(coarse, span)
        if apart:
            found |= ndimage.binary_dilation(enlarged(marks, turned.shape), iterations=turned.shape[0] // len(coarse))
            apart *= turned.shape[0] / len(coarse)
            rulers.append(apart)
            notes.append(
                f"a ruler was painted over: {apart:.1f} pixels from mark to mark. If it lay in the plane of the bone, "
                "pass --ruler-mm MM, the distance of its marks"
            )
    if not notes:
        return pixels, (), None
    beside = ndimage.distance_transform_edt(
        ndimage.binary_dilation(ink, iterations=2), return_distances=False, return_indices=True
    )
    agreed = bool(rulers) and max(rulers) <= _ONE_SCALE * min(rulers)
    return pixels[tuple(beside)], tuple(dict.fromkeys(notes)), float(np.mean(rulers)) if agreed else None


def _bars(pixels: FloatImage, span: float) -> BoolImage:
    """Bright straight lines down the picture, with their ticks."""
    side = max(pixels.shape)
    brightest = float(pixels.max())
    pieces, _ = ndimage.label(pixels >= brightest - _BURNT_IN * span, structure=np.ones((3, 3)))
    found = np.zeros(pixels.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        length, width = (part.stop - part.start for part in box)
        if not (_SHORTEST * side <= length <= _LONGEST * side and width <= _WIDEST * side and length > 2 * width):
            continue
        own = pieces[box] == number
        thick = np.median(own.sum(axis=1))
        if own.mean(axis=0).max() < _FULL or thick > max(3.0, _STROKE * side):
            continue
        room = max(3, round(_STROKE * side))
        place = tuple(
            slice(max(0, part.start - room), min(size, part.stop + room))
            for part, size in zip(box, pixels.shape, strict=True)
        )
        mine = pieces[place] == number
        around = pixels[place][~ndimage.binary_dilation(mine, iterations=2)]
        if len(around) and np.quantile(around, 0.9) < brightest - _DROP * span:
            found[place] |= mine
    return found


def _graduation(pixels: FloatImage, span: float) -> tuple[BoolImage, float]:
    """Short marks across, one below the other and evenly apart; and how many pixels they are apart, 0 without any."""
    side = max(pixels.shape)
    thick = max(2, round(_MARK * side))
    raised = pixels - ndimage.grey_opening(pixels, size=(2 * thick + 1, 1)) > _RAISED * span
    pieces, count = ndimage.label(raised)
    if count > _MOST_PIECES:
        return raised & False, 0.0
    boxes, numbers = [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height <= 2 * thick and 2 * height <= width and _MARK_WIDTH[0] <= width / side <= _MARK_WIDTH[1]:
            boxes.append(((rows.start + rows.stop) / 2, columns.start, columns.stop))
            numbers.append(number)
    if len(boxes) < _FEWEST_MARKS:
        return raised & False, 0.0
    middles, starts, stops = np.array(boxes).T
    for ends in (starts, stops):  # a ruler's marks begin, or end, at its edge
        for end in np.unique(ends):
            mine = np.flatnonzero(np.abs(ends - end) <= max(1.0, _IN_LINE * side))
            gaps = np.diff(np.sort(middles[mine]))
            if len(mine) < _FEWEST_MARKS:
                continue
            apart = float(np.median(gaps))
            even = np.abs(gaps - apart) <= max(1.0, _EVEN * apart)
            if apart > thick and even.mean() >= _EVENLY:
                return np.isin(pieces, np.array(numbers)[mine]), float(gaps[even].mean())
    return raised & False, 0.0
