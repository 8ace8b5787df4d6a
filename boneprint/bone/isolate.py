"""Everything bony in a CT, without table, air and flesh; and its single bones, by connection or by label map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.bone.label_names import bone_and_side, is_bone
from boneprint.bone.morphology import (
    BoolArray,
    Box,
    box_of,
    components,
    filled,
    grown,
    grown_labels,
    shrunk,
    steps,
    widened,
)
from boneprint.bone.surroundings import TISSUE_HU, without_couch
from boneprint.errors import ReadError
from boneprint.nouns import AIR_HU, Volume

# Spongy bone lies at 100-300 HU and cortical bone above 500, muscle and blood below 80 (Schneider 1996, table 1).
BONY_HU = 200.0
MARGIN_MM = 1.5  # partial volume at the surface
MARGIN_VOXELS = 2  # and no more than this: fine voxels hold little of it, and a halo of flesh is none
NECK_MM = 1.0  # half the width of a bridge across a joint that partial volume makes
CAVITY_MM = 30.0  # open cavities: a human femur's is up to 20 mm wide, an obturator foramen more than 30
CAVITY_MM3 = 150_000.0  # closed ones: the sparse ends of a human femur hold up to 100 ml, a skull 1400
SPECK_MM3 = 20.0  # a cat's smallest phalanx is larger
SPECK_SHARE = 0.0005  # of the largest piece: 0.1 ml beside 200 ml of spine and ribs is noise or calcification
PART_SHARE = 0.01  # of the largest part
_CUT_OFF = ("touches the border of the scan: it may be cut off",)


@dataclass(frozen=True, eq=False)
class Part:
    """One bone, or one connected bony piece, of a CT.

    ``name`` is unique within the CT ("part-2", "femur_left", "label-7"); ``bone`` and ``laterality`` ("L" or "R") are
    known only from a label's name. ``notes`` are sentences for the user.
    """

    name: str
    volume: Volume
    bone: str | None = None
    laterality: str | None = None
    notes: tuple[str, ...] = ()


def isolate(volume: Volume, *, threshold_hu: float = BONY_HU, margin_mm: float | None = None) -> Volume:
    """Keep everything bony, metal included; turn all else to air, and crop.

    Kept, with their HU as they are: voxels from ``threshold_hu`` up that are not table (see
    `boneprint.bone.surroundings`), cavities within bone (marrow: up to 30 mm wide where open, to 150 ml where closed),
    and a thin margin around both for the partial volume at the surface.

    Parameters
    ----------
    volume : HU; with flesh or dry, on a table or in air
    threshold_hu : from here on a voxel is bony
    margin_mm : kept around bone, at least one voxel; default: 1.5 mm, but at most two voxels

    Returns
    -------
    Volume
        The same grid, cropped to the bone, its margin and one voxel of air where the scan reaches so far.

    Raises
    ------
    ReadError
        If nothing bony is there.
    """
    around, mask = _bony(volume, threshold_hu, margin_mm)
    return _kept(around, mask, margin_mm, _air_of(volume))


def split(
    volume: Volume, *, threshold_hu: float = BONY_HU, margin_mm: float | None = None, neck_mm: float = NECK_MM
) -> list[Part]:
    """Separate what is bony into connected parts, the largest first.

    Bridges up to twice ``neck_mm`` thick are cut (a joint space lost to partial volume), where the voxels are fine
    enough to show them; parts below 1 % of the largest are dropped. Bones that touch over more than that stay one part.

    Parameters
    ----------
    volume : HU, as for `isolate`
    threshold_hu, margin_mm : as for `isolate`
    neck_mm : half the thickness of the bridges that are cut; 0 cuts none

    Returns
    -------
    list of Part
        "part-1", "part-2", ..., each cropped. The margin of one never holds a bony voxel of another.

    Raises
    ------
    ReadError
        If nothing bony is there.
    """
    around, mask = _bony(volume, threshold_hu, margin_mm)
    by = steps(neck_mm, volume.spacing_mm[::-1])
    cut = shrunk(mask, by)
    labels, sizes = components(cut if cut.any() else mask, smallest=1, smallest_share=PART_SHARE)
    if any(by):
        labels = grown_labels(labels, mask, rounds=3 * max(by))
        sizes = np.bincount(labels[mask], minlength=len(sizes))
    boxes = ndimage.find_objects(labels)
    room = _room(volume, margin_mm)
    parts = []
    for rank, label in enumerate(np.argsort(-sizes[1:], kind="stable") + 1, start=1):
        place = widened(boxes[label - 1], room, mask.shape)
        part = labels[place] == label
        kept = _kept(_cropped(around, place), part, margin_mm, _air_of(volume), others=mask[place] & ~part)
        parts.append(Part(f"part-{rank}", kept, notes=_notes(labels == label)))
    return parts


def by_labels(
    volume: Volume,
    labels: NDArray[np.generic],
    names: dict[int, str],
    *,
    threshold_hu: float = BONY_HU,
    margin_mm: float | None = None,
) -> list[Part]:
    """Cut a CT into the bones of a label map.

    Where the map has names, the labels whose name is a bone's are kept (`boneprint.bone.label_names`); organs, muscles
    and vessels are not. Where it has none, every label with bony voxels is kept, as "label-7". Numbers alone are never
    read as anybody's list of classes. Of a label, all voxels are kept, and the margin around it.

    Parameters
    ----------
    volume : HU
    labels : (Z, Y, X) whole numbers on the grid of ``volume``; 0 is background
    names : label to name; may be empty
    threshold_hu, margin_mm : as for `isolate`

    Returns
    -------
    list of Part
        In the order of the labels. The margin of one never reaches into another label.

    Raises
    ------
    ReadError
        If the grids differ or no label holds a bone.
    """
    if labels.shape != volume.hu.shape:
        raise ReadError(
            f"label map: grid {labels.shape}, expected that of the CT, {volume.hu.shape}. "
            "Bring it onto the CT with labels_on(volume)."
        )
    room = _room(volume, margin_mm)
    parts: list[Part] = []
    taken: set[str] = set()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        name = names.get(label)
        if box is None or (names and (name is None or not is_bone(name))):
            continue
        place = widened(box, room, labels.shape)
        around, own = _cropped(volume, place), np.asarray(labels[place] == label)
        if not (own & _at_least(around, threshold_hu)).any():
            continue
        kept = _kept(around, own, margin_mm, _air_of(volume), others=~own & np.asarray(labels[place] != 0))
        unique = f"label-{label}" if name is None else name if name not in taken else f"{name}-{label}"
        taken.add(unique)
        bone, laterality = bone_and_side(name) if name else (None, None)
        cut_off = any(side.start == 0 or side.stop == size for side, size in zip(box, labels.shape, strict=True))
        parts.append(Part(unique, kept, bone, laterality, _CUT_OFF if cut_off else ()))
    if not parts:
        raise ReadError(
            "label map: no label holds a bone, expected names such as femur_left, or bony voxels under the labels. "
            "Give the label map that was made from this CT, or use --split."
        )
    return parts


def _bony(volume: Volume, threshold_hu: float, margin_mm: float | None) -> tuple[Volume, BoolArray]:
    """Bone and its cavities, without table and specks; and the volume cropped to it and its margin."""
    dense = _at_least(volume, threshold_hu)
    box = box_of(dense)
    if box is not None:
        box = box_of(dense := without_couch(volume, dense))
    if box is not None:
        place = widened(box, _room(volume, margin_mm), dense.shape)
        around = _cropped(volume, place)
        voxel_mm3 = float(abs(np.linalg.det(volume.affine[:3, :3])))
        pieces, _ = components(dense[place], max(8, SPECK_MM3 / voxel_mm3), SPECK_SHARE)
        if pieces.any():
            return around, filled(pieces > 0, CAVITY_MM, volume.spacing_mm[::-1], CAVITY_MM3)
    raise ReadError(
        f"CT: nothing bony in it (brightest voxel {float(volume.hu.max()):g} HU), expected bone from "
        f"{threshold_hu:g} HU up. Check that it is a CT of a bone, in Hounsfield units, or lower the threshold."
    )


def _kept(
    volume: Volume, mask: BoolArray, margin_mm: float | None, file_air_hu: float, others: BoolArray | None = None
) -> Volume:
    """Crop the volume around a mask; turn to air what is beyond the margin, what is others', and the file's air."""
    keep = grown(mask, _reach(volume, margin_mm))
    hu: NDArray[Any] = volume.hu
    keep &= hu > file_air_hu
    if others is not None:
        keep &= ~others
    box = box_of(keep)
    assert box is not None  # the mask is never empty
    place = widened(box, (1, 1, 1), keep.shape)
    kept = np.where(keep[place], hu[place], np.asarray(AIR_HU, dtype=hu.dtype))
    return Volume(kept, _cropped(volume, place).affine)


def _cropped(volume: Volume, box: Box) -> Volume:
    """The same voxels in the same places, without the rest."""
    affine = volume.affine.copy()
    affine[:3, 3] += volume.affine[:3, :3] @ [side.start for side in reversed(box)]
    return Volume(volume.hu[box], affine)


def _reach(volume: Volume, margin_mm: float | None) -> list[int]:
    """Voxels of margin along each axis of the array."""
    if margin_mm is not None:
        return steps(margin_mm, volume.spacing_mm[::-1], at_least=1)
    return [min(MARGIN_VOXELS, voxels) for voxels in steps(MARGIN_MM, volume.spacing_mm[::-1], at_least=1)]


def _room(volume: Volume, margin_mm: float | None) -> list[int]:
    """Voxels to leave around a bone: its margin, and one of air."""
    return [voxels + 1 for voxels in _reach(volume, margin_mm)]


def _air_of(volume: Volume) -> float:
    """What counts as air, HU: the darkest value of the file, as some are cut off at -200."""
    return min(float(volume.hu.min()), TISSUE_HU)


def _at_least(volume: Volume, threshold_hu: float) -> BoolArray:
    hu: NDArray[Any] = volume.hu
    return np.asarray(hu >= threshold_hu)


def _notes(mask: BoolArray) -> tuple[str, ...]:
    """A note where a mask touches the border of its grid (which is the scan's, where the crop left no margin)."""
    faces = (mask.take(end, axis=axis) for axis in range(3) for end in (0, -1))
    return _CUT_OFF if any(face.any() for face in faces) else ()
