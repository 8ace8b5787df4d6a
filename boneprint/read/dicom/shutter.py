"""What DICOM says of shutters: the part of a picture beyond which there is nothing of the patient.

Only the display shutter is believed. The edges of the collimator (PS3.3 C.8.7.3) should be rows and columns too, but
real detectors write millimetres from the middle of the table there.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from boneprint.read.dicom.header import texts

_LEAST = 0.02  # of the picture that must be left: tags that leave less are a slip
_FAR = 1e6  # pixels: no picture is so large, and no edge so far away


def beyond_shutters(dataset: Dataset, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What lies beyond the display shutter (PS3.3 C.7.6.11) of a picture as stored.

    Where several shapes are given, what lies within all of them is left. Edges are rows and columns counted from 1.

    Parameters
    ----------
    shape : (H, W)

    Returns
    -------
    (H, W) bool
        All False where nothing is said, or nothing of the picture would be left.
    """
    height, width = shape[:2]
    row, column = np.ogrid[1 : height + 1, 1 : width + 1]
    left = np.ones((height, width), dtype=bool)
    shapes = texts(dataset, "ShutterShape")
    if "RECTANGULAR" in shapes:
        edges = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
        ends = [_numbers(dataset, f"Shutter{edge}Edge", 1) for edge in edges]
        if all(ends):
            top, bottom, first, last = (end[0] for end in ends)
            left &= (row >= top) & (row <= bottom) & (column >= first) & (column <= last)
    if "CIRCULAR" in shapes:
        centre = _numbers(dataset, "CenterOfCircularShutter", 2)
        radius = _numbers(dataset, "RadiusOfCircularShutter", 1)
        if centre and radius:
            left &= np.hypot(row - centre[0], column - centre[1]) <= radius[0]
    if "POLYGONAL" in shapes:
        corners = _numbers(dataset, "VerticesOfThePolygonalShutter", 6)
        if corners:
            picture = Image.new("1", (width, height))
            places = [(x - 1, y - 1) for y, x in zip(corners[::2], corners[1::2], strict=False)]
            ImageDraw.Draw(picture).polygon(places, fill=1)
            left &= np.asarray(picture)
    return ~left if left.mean() >= _LEAST else np.zeros_like(left)


def _numbers(dataset: Dataset, name: str, at_least: int) -> list[float]:
    """The numbers of a tag; none where they are too few, no numbers, or no places in a picture."""
    value = dataset.get(name)
    try:
        found = [float(part) for part in (value if isinstance(value, Iterable) else [value])]
    except (TypeError, ValueError):
        return []
    return found if len(found) >= at_least and all(abs(part) < _FAR for part in found) else []
