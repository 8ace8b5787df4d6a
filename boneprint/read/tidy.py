"""What is in the picture of a radiograph and is no X-ray shadow: shutters, padding, scales, letters; and inversion.

Each step acts only on what can be nothing else, and says what it did; a picture without such things stays as it is.
Sizes are shares of the picture, as the pixel spacing may be unknown.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.read.field import beyond_round_field, enlarged, range_of, shrunk, soft_shutters
from boneprint.read.scale import without_scales

FloatImage = NDArray[np.float32]

_SMALLEST = 64  # pixels a side; below it nothing can be told from the picture itself
_LONGEST = 20  # times as long as wide: no radiograph is; a strip of a film or a damaged header
_FLAT = 0.02  # of the picture's range: what varies less is the same grey
_BLANK = 0.005  # of the range: what varies less has not even noise
_BORDER_SHARE = 0.97  # of a row's pixels that must be flat, as a shutter may bear a letter
_MOST_CROPPED = 0.8  # of a side: beyond it the picture is empty, not collimated
_SHUTTER_SHARE = 0.01  # of the picture: a smaller bright flat patch at the border is a letter or a corner
_SHUTTER_CONTACT = 0.6  # of a side of the picture: a limb that leaves the picture is narrower
_ABRUPT = 0.25  # of the range: a shutter's edge jumps by more within a few pixels, skin in an open beam by less
_PENUMBRA = 8  # of some 256 pixels a side: how wide the edges of shutters are in computed radiographs
_OPEN_BEAM_SHARE = 0.1  # of the picture that must be open beam before it can say which way round the picture is
_OPEN_ABOVE = 0.25  # of the open beam's border that must lie in the upper half: an abdomen is bright, and below
_DARK_SHARE = 0.2  # of the bright border: where more is dark, that may be the open beam
_TEXT_SIDE = 0.08  # of the longer side: letters and lead markers are smaller, bones of interest larger
_TEXT_DROP = 0.35  # of the range between a letter and what lies around it
_SAME_VALUE = 0.3  # of a letter's pixels that are as bright as any: burnt in, or saturated by lead
_MOST_LETTERS = 400


def tidied(pixels: FloatImage, *, may_be_inverted: bool) -> tuple[FloatImage, tuple[str, ...], float | None]:
    """Turn an inverted picture round, darken what the beam did not reach, crop flat borders, paint over writing.

    Parameters
    ----------
    pixels : (H, W), bone bright
    may_be_inverted : whether nothing but the picture itself says which way round it is

    Returns
    -------
    (H', W') float32; what was done, as sentences for the user; and the pixels from mark to mark of a ruler, where
    there was one
    """
    notes: list[str] = []
    if min(pixels.shape) < _SMALLEST or max(pixels.shape) > _LONGEST * min(pixels.shape) or np.ptp(pixels) == 0:
        return pixels, (), None
    beyond = beyond_round_field(pixels)
    if beyond is not None:
        pixels = np.where(beyond, pixels[~beyond].min(), pixels)  # as padding is told by `is_inverted`
    soft = soft_shutters(pixels)
    inverted = may_be_inverted and not soft.framed and is_inverted(pixels)
    if inverted:
        pixels = pixels.max() + pixels.min() - pixels
        notes.append("the picture was inverted (open beam shown bright): turned round, so that bone is bright")
    if beyond is not None:
        pixels = darkened(pixels, beyond)
        notes.append("what lies beyond the round field of view was darkened")
    bright = _shutters(pixels)
    if not inverted:
        bright |= soft.beyond
    if 0 < bright.mean() < _MOST_CROPPED:
        pixels = darkened(pixels, bright)
        notes.append("bright collimator shutters were darkened")
    top, bottom, left, right = _field(pixels)
    if (bottom - top, right - left) != pixels.shape:
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
        notes.append("flat borders were cropped")
    pixels, scales, ruler_pixels = without_scales(pixels)
    notes += scales
    pixels, letters = _without_letters(pixels)
    if letters:
        notes.append(f"{letters} letters or markers burnt into the picture were painted over")
    return pixels, tuple(notes), ruler_pixels


def is_inverted(pixels: FloatImage) -> bool:
    """Whether a large open beam, recognised by the soft edge of what stands in it, is shown bright.

    False where there is no open beam to be seen, as in most chests.
    """
    small = shrunk(pixels)
    mask = _connected_to_border(small == small.min(), np.ones_like(small, dtype=bool))  # round image intensifiers
    inside = ~ndimage.binary_dilation(mask, iterations=2)
    if inside.mean() < _OPEN_BEAM_SHARE:
        return False
    low, high = np.quantile(small[inside], [0.005, 0.995])
    reach = 2.5 * _FLAT * (high - low)
    bright = _connected_to_border((small >= high - reach) & inside, inside)
    dark = _connected_to_border((small <= low + reach) & inside, inside)
    if bright.mean() < _OPEN_BEAM_SHARE or dark.mean() > _DARK_SHARE * bright.mean():
        return False
    at_border = np.nonzero(bright & _rim(inside))[0]
    above = (at_border < small.shape[0] / 2).mean() if len(at_border) else 0.0
    return bool(above >= _OPEN_ABOVE and _jump(small, bright, 3, inside) < _ABRUPT)


def _shutters(pixels: FloatImage) -> NDArray[np.bool_]:
    """(H, W) bool: flat, at the border along a good part of it, and brighter than what begins abruptly beyond."""
    small = shrunk(pixels)
    spread = ndimage.maximum_filter(small, 3) - ndimage.minimum_filter(small, 3)
    pieces, count = ndimage.label(spread < _FLAT * range_of(small))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    shut = np.zeros(small.shape, dtype=bool)
    for number in np.flatnonzero(sizes[1:] >= _SHUTTER_SHARE * small.size) + 1:
        piece = pieces == number
        contact = max(line.mean() for line in (piece[0], piece[-1], piece[:, 0], piece[:, -1]))
        if contact >= _SHUTTER_CONTACT and _jump(small, piece, _PENUMBRA) >= _ABRUPT:
            shut |= ndimage.binary_dilation(piece, iterations=_PENUMBRA)
    return enlarged(shut, pixels.shape)


def darkened(pixels: FloatImage, where: NDArray[np.bool_]) -> FloatImage:
    """What is there as dark as the darkest hundredth of the rest."""
    return np.where(where, np.float32(np.quantile(pixels[~where], 0.01)), pixels)


def _field(pixels: FloatImage) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is left without flat borders."""
    tolerance = _BLANK * range_of(pixels)
    ends = []
    for lines in (pixels, pixels[::-1], pixels.T, pixels.T[::-1]):
        edge = np.median(lines[0])
        flat = (np.abs(lines - edge) <= tolerance).mean(axis=1) >= _BORDER_SHARE
        inside = np.flatnonzero(~flat)
        ends.append(int(inside[0]) if len(inside) and inside[0] < _MOST_CROPPED * len(lines) else 0)
    height, width = pixels.shape
    top, bottom, left, right = ends[0], height - ends[1], ends[2], width - ends[3]
    if bottom - top < _SMALLEST or right - left < _SMALLEST:
        return 0, height, 0, width
    return top, bottom, left, right


def _without_letters(pixels: FloatImage) -> tuple[FloatImage, int]:
    """Paint over small, saturated, isolated pieces with the grey around them."""
    brightest = float(pixels.max())
    drop = _TEXT_DROP * range_of(pixels)
    pieces, count = ndimage.label(pixels >= brightest - drop, structure=np.ones((3, 3)))
    if not 0 < count <= 50 * _MOST_LETTERS:  # noise that touches full scale makes thousands of specks
        return pixels, 0
    largest = _TEXT_SIDE * max(pixels.shape)
    out, letters = pixels, 0
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        height, width = (side.stop - side.start for side in box)
        if max(height, width) > largest or max(height, width) < 4:
            continue
        room = max(3, max(height, width) // 4)
        place = tuple(
            slice(max(0, side.start - room), min(size, side.stop + room))
            for side, size in zip(box, pixels.shape, strict=True)
        )
        own = pieces[place] == number
        values = pixels[place][own]
        around = pixels[place][~ndimage.binary_dilation(pieces[place] > 0, iterations=2)]
        if not len(around) or (values == brightest).mean() < _SAME_VALUE or np.quantile(around, 0.9) > brightest - drop:
            continue
        if out is pixels:
            out = pixels.copy()
        out[place][ndimage.binary_dilation(own, iterations=2)] = np.median(around)
        letters += 1
        if letters > _MOST_LETTERS:
            return pixels, 0
    return out, letters


def _rim(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outermost pixels of a field: of the picture, or of a round mask in it."""
    return np.asarray(inside & ~ndimage.binary_erosion(inside))


def _connected_to_border(region: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of a region that reach the rim of a field."""
    pieces, _ = ndimage.label(region)
    touching = np.unique(pieces[_rim(inside)])
    return np.isin(pieces, touching[touching > 0])


def _jump(small: FloatImage, region: NDArray[np.bool_], beyond: int, inside: NDArray[np.bool_] | None = None) -> float:
    """How much brighter a region is than some pixels beyond its edge: the median step, as a share of the range."""
    near = ndimage.binary_dilation(region, iterations=beyond + 1) & ~ndimage.binary_dilation(region, iterations=beyond)
    if inside is not None:
        near &= inside
    if not near.any():
        return 0.0
    return float((np.median(small[region]) - np.median(small[near])) / range_of(small))
