"""Which bony voxels are bone, and which are table, head-rest, tubes or clothing.

In a CT of a body the bones lie in flesh. What remains of the tissue once everything thinner than 8 mm is opened away
is the body; bony pieces outside it are not the body's. A dry bone has no flesh to go by. There the couch is what every
slice shows in the very same place, as it moves along its own length; a bone, however straight, never quite is.
"""

import numpy as np
from scipy import ndimage

from boneprint.bone.morphology import (
    EVERY_NEIGHBOUR,
    BoolArray,
    components,
    filled,
    grown,
    pooled,
    unpooled,
)
from boneprint.nouns import Volume

# Fat reaches down to -150 HU, lung and foam up to -300; files cut off at -200 HU then count as air below it.
TISSUE_HU = -190.0
_GRID_MM = 3.0  # flesh is coarse: seen at this grid the body is found in a second
_OPENING_MM = 4.0  # radius: the shells of couches are up to 6 mm thick, a cat's leg at least 10 mm
_CAVITY_MM = 60.0  # spongy ends of a human femur, sparse enough to look like flesh, are not what surrounds the bone
_FLESHY = 0.4  # of the voxels around: a dry bone on a slab has a quarter, one under thin skin a half
_WET = 0.25  # of all bony voxels in flesh: a bright couch may well hold half of them
_COUCH_STEADY_HU = 120.0  # noise along the couch, at most; a bone that ends in the scan varies by 1000 and more
_COUCH_WIDE_MM = 120.0  # no shaft is so wide; narrower steady things (rails) must not drift at all
_COUCH_EDGE = 0.05  # of a rail's cross-section may be blurred along its way; a shaft drifts by a voxel or more
_COUCH_LENGTH_MM = 60.0  # over less than that, a flat bone may hold as still as a couch


def without_couch(volume: Volume, bony: BoolArray) -> BoolArray:
    """Drop bony voxels that belong to the surroundings.

    Parameters
    ----------
    volume : HU
    bony : (Z, Y, X), voxels dense enough to be bone; at least one

    Returns
    -------
    (Z, Y, X) bool, part of ``bony``
    """
    body = _flesh(volume, bony)
    return _dry(volume, bony) if body is None else _in_body(bony, body)


def _flesh(volume: Volume, bony: BoolArray) -> BoolArray | None:
    """The body, (Z, Y, X) bool; None where the bones lie bare."""
    block = [max(1, round(_GRID_MM / mm)) for mm in volume.spacing_mm[::-1]]
    spacing_mm = volume.spacing_mm[::-1] * block
    tissue = pooled(volume.hu, block) > TISSUE_HU
    amount = pooled(bony, block)
    dense = amount > 0
    if not _is_wet(tissue, amount, filled(dense, _CAVITY_MM, spacing_mm)):
        return None
    depth_mm = ndimage.distance_transform_edt(tissue, sampling=spacing_mm)
    core = depth_mm > _OPENING_MM
    if not core.any():
        return None
    core = ndimage.distance_transform_edt(~core, sampling=spacing_mm) <= _OPENING_MM
    pieces, sizes = components(core, smallest=1, smallest_share=0.02)
    soft = np.bincount(pieces[core & ~dense], minlength=len(sizes))
    body = soft >= 0.3 * sizes  # a thick couch is dense throughout
    body[0] = False
    return unpooled(body[pieces], block, bony.shape)


def _is_wet(tissue: BoolArray, amount: np.typing.NDArray[np.float32], solid: BoolArray) -> bool:
    """Whether a good part of what is bony has flesh around it."""
    pieces, count = ndimage.label(solid, structure=EVERY_NEIGHBOUR)
    owner = ndimage.grey_dilation(pieces, footprint=EVERY_NEIGHBOUR)
    around = (owner > 0) & ~solid
    voxels = np.bincount(owner[around], minlength=count + 1)
    flesh = np.bincount(owner[around & tissue], minlength=count + 1)
    held = np.bincount(pieces.ravel(), weights=amount.ravel(), minlength=count + 1)
    return bool(held[flesh >= np.maximum(1, _FLESHY * voxels)].sum() >= _WET * held.sum())


def _in_body(bony: BoolArray, body: BoolArray) -> BoolArray:
    """Whole bony pieces that lie in the body by more than half."""
    pieces, sizes = components(bony, smallest=1)
    inside = np.bincount(pieces[bony & body], minlength=len(sizes))
    keep = inside > 0.5 * sizes
    out = np.zeros_like(bony)
    out[bony] = keep[pieces[bony]]
    return out


def _dry(volume: Volume, bony: BoolArray) -> BoolArray:
    """Without what stands still along the couch; unless nothing else is there."""
    along = 2 - int(np.argmax(np.abs(volume.affine[2, :3]) / volume.spacing_mm))  # the axis nearest to head-feet
    spacing_mm = volume.spacing_mm[::-1]
    hu = np.moveaxis(volume.hu, along, 0)
    dense = np.moveaxis(bony, along, 0)
    if len(hu) * spacing_mm[along] < _COUCH_LENGTH_MM:
        return bony
    mean = hu.mean(axis=0, dtype=np.float64)
    varied = np.sqrt(sum((np.square(plane - mean) for plane in hu), np.zeros_like(mean)) / len(hu))
    share = dense.mean(axis=0, dtype=np.float64)
    pieces, _ = ndimage.label((varied < _COUCH_STEADY_HU) & (share > 0.5), structure=np.ones((3, 3)))
    wide, rails = np.zeros_like(share, dtype=bool), np.zeros_like(share, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces == number
        reach = grown(piece, (2, 2))
        extent_mm = max(
            (side.stop - side.start) * mm for side, mm in zip(box, np.delete(spacing_mm, along), strict=True)
        )
        if extent_mm >= _COUCH_WIDE_MM:
            wide |= reach
        elif np.count_nonzero((share > 0.1) & (share < 0.9) & reach) <= _COUCH_EDGE * np.count_nonzero(piece):
            rails |= reach
    for couch in (wide | rails, wide):
        rest = dense & ~couch
        if rest.any():
            return np.moveaxis(rest, 0, along)
    return bony
