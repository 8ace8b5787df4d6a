"""A DICOM segmentation (SEG) as a map of labels, with the names and sides that its coded segments give."""

import re
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from boneprint.errors import ReadError
from boneprint.read.content import refusal
from boneprint.read.dicom.header import quiet, read_dataset, text
from boneprint.read.nifti import LabelMap

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_SAYS_NOTHING = ("", "bone", "bone structure", "organ", "tissue", "anatomical structure")
_LARGEST_GRID = 2**30  # voxels, as for a NIfTI map


def read_segmentation(path: Path) -> LabelMap:
    """Read a SEG: binary, fractional (over one half) or label map; where segments overlap the later one wins.

    Raises
    ------
    ReadError
        If it is no segmentation of a volume, or damaged.
    """
    from highdicom.seg import Segmentation

    dataset = read_dataset(path)
    if text(dataset, "SOPClassUID") != SEGMENTATION:
        raise ReadError(
            f"{path}: {dataset.get('Modality') or 'DICOM'}, expected a segmentation (DICOM SEG) or a NIfTI label map. "
            "Give the label map that was made from this CT."
        )
    try:
        with quiet():
            segments = list(dataset.get("SegmentSequence") or [])
            volume = Segmentation.from_dataset(dataset, copy=False).get_volume(
                combine_segments=True, skip_overlap_checks=True, rescale_fractional=False, dtype=np.uint16
            )
            names = {int(segment.SegmentNumber): _name(path, segment) for segment in segments}
    except ReadError:
        raise
    except Exception as error:  # a damaged file raises whatever the parser stumbled over
        raise refusal(path, error, "Export the segmentation again, or convert it to NIfTI.") from error
    # highdicom: array axes are slice, row, column, and the affine maps indices in that order to patient LPS.
    affine = volume.affine[:, [2, 1, 0, 3]]
    labels = np.asarray(volume.array)
    if labels.ndim != 3 or labels.size > _LARGEST_GRID or not np.isfinite(affine).all():
        raise ReadError(f"{path}: a grid of {labels.shape}, expected one volume of labels. Export it again.")
    return LabelMap(np.ascontiguousarray(labels), affine, names, str(path))


def _name(path: Path, segment: Dataset) -> str:
    """Side and bone as the codes say them ("left femur"), else the label that a person typed.

    The type is what was segmented; where it is only "bone" or the like, the anatomic region says which. A modifier of
    either gives the side.

    Raises
    ------
    ReadError
        If codes and label name both sides.
    """
    kind, side = _coded(segment, "SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence")
    region, other = _coded(segment, "AnatomicRegionSequence", "AnatomicRegionModifierSequence")
    label = text(segment, "SegmentLabel")
    said = {word for each in (kind, side, region, other, label) for word in re.split("[^a-z]+", each.lower())}
    if {"left", "right"} <= said:
        raise ReadError(
            f"{path}: segment {int(segment.SegmentNumber)} is called both left and right by its codes and label, "
            "expected one side. Correct the segmentation."
        )
    named = region if kind.lower() in _SAYS_NOTHING else kind
    side = side or other or next((word for word in ("left", "right") if word in re.split("[^a-z]+", label.lower())), "")
    if not named:
        return label or f"segment {int(segment.SegmentNumber)}"
    return named if not side or side.lower() in named.lower() else f"{side} {named}"


def _coded(segment: Dataset, sequence: str, modifiers: str) -> tuple[str, str]:
    """The meaning of a code, and of its modifier; modifiers stand in the item of the code or beside it."""
    items = segment.get(sequence) or []
    if not items:
        return "", ""
    found = list(items[0].get(modifiers) or segment.get(modifiers) or [])
    return text(items[0], "CodeMeaning"), text(found[0], "CodeMeaning") if found else ""
