"""A radiograph made ready to have bones of about one size laid over it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from skimage.transform import resize

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.superimpose.edges import FloatArray, coarser, edges

# Pixels along a bone: as its enrolled grid has voxels, and where places are searched for. A pixel is no finer than CTs
# and radiographs show: with 1.8, 1.2 and 0.9 mm the right one of six simulated bones (seed 31, 16 radiographs) was
# ahead of the likest other one by 2.4, 3.6 and 4.2 standard deviations of its lead where they were vertebrae,
# by 1.9, 2.6 and 1.8 where they were hip bones.
_FINE, _SEARCHED = 230, 58
_FINEST_MM = 1.2
# In-plane turns that are searched, degrees. Half a step moves a long bone's end by two searched pixels.
TURNS = tuple(float(turn) for turn in range(-24, 25, 4))
_ROOM = 40  # searched pixels that a bone may reach beyond the picture's edge
_MOST_PIXELS = 1500


@dataclass(frozen=True, eq=False)
class Level:
    """Edges at one pixel size: (h, w), ``factor`` pixels of the finest level wide."""

    edges: FloatArray
    factor: int


@dataclass(frozen=True, eq=False)
class Sight:
    """A radiograph's edges, in three sizes of pixels.

    Parameters
    ----------
    picture : (H, W) at the finest pitch
    pitch_mm : of the finest level
    fine, middle, coarse : levels
    turned : (T, 2, A, B) transforms of the coarse level turned by each of `TURNS`, and of its square
    turned_size : (h, w) of the turned pictures; transforms are larger
    transform_size : (h, w) of the transforms
    """

    picture: FloatArray
    pitch_mm: float
    fine: Level
    middle: Level
    coarse: Level
    turned: NDArray[np.complex64]
    turned_size: tuple[int, int]
    transform_size: tuple[int, int]

    @classmethod
    def of(cls, radiograph: Radiograph, longest_mm: float) -> "Sight":
        """For bones of a given length.

        Raises
        ------
        ReadError
            If the pixel spacing is unknown, or the picture shows far more or less than such a bone.
        """
        pitch_mm = max(longest_mm / _FINE, _FINEST_MM)
        spacing_mm = radiograph.known_spacing_mm()
        size = [round(n * spacing_mm / pitch_mm) for n in radiograph.pixels.shape]
        if min(size) < 16 or max(size) > _MOST_PIXELS:
            raise ReadError(
                f"{radiograph.source}: shows {size[0] * pitch_mm:.0f} x {size[1] * pitch_mm:.0f} mm, expected about "
                f"the {longest_mm:.0f} mm of the bone that is laid over it. Check the pixel spacing, or crop."
            )
        picture = resize(  # type: ignore[no-untyped-call]
            radiograph.pixels, size, order=1, anti_aliasing=True, preserve_range=True
        ).astype(np.float32)
        found = edges(picture)
        factor = max(1, round(longest_mm / _SEARCHED / pitch_mm))
        middle, coarse = (Level(coarser(found, each), each) for each in ((factor + 1) // 2, factor))
        side = int(np.hypot(*coarse.edges.shape)) + 1
        length = int(fft.next_fast_len(side + _ROOM, real=True))
        turned = np.stack([_turned(coarse.edges, turn, side) for turn in TURNS])
        transforms = fft.rfft2(np.stack([turned, turned**2], axis=1), s=(length, length))
        return cls(
            picture,
            pitch_mm,
            Level(found, 1),
            middle,
            coarse,
            transforms.astype(np.complex64),
            (side, side),
            (length, length),
        )


def _turned(picture: FloatArray, turn_deg: float, side: int) -> FloatArray:
    """A picture turned back about its middle, (side, side): a bone that was turned so then stands upright."""
    turn = np.deg2rad(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # of (row, column)
    middle = (np.array(picture.shape) - 1) / 2
    offset = middle - matrix @ np.full(2, (side - 1) / 2)
    turned: FloatArray = ndimage.affine_transform(picture, matrix, offset, (side, side), order=1)
    return turned
