"""The frames of an enhanced multi-frame CT, each as the tags that a slice of its own would have."""

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset

from boneprint.errors import ReadError

ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # enhanced, legacy converted enhanced
MOST_FRAMES = 20_000  # a whole body of 2 m in slices of 0.1 mm

# Functional groups (PS3.3 C.7.6.16.2, C.8.15.3) that hold what a slice needs; read_dataset keeps no others.
GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameAnatomySequence",
    "CTImageFrameTypeSequence",
)


def frame_tags(path: Path, dataset: FileDataset) -> Iterator[Dataset]:
    """One flat data set per frame: the file's own tags, under those of the shared and of the frame's groups.

    Raises
    ------
    ReadError
        If the groups and the number of frames do not agree.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(each) != frames or frames > MOST_FRAMES:
        raise ReadError(
            f"{path}: {frames} frames and the geometry of {len(each)}, expected the same number, at most "
            f"{MOST_FRAMES}. Export the series again, or as single-frame CT."
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    plain = Dataset()
    for element in dataset:
        if element.VR != "SQ":
            plain.add(element)
    for number, own in enumerate(each):
        flat = Dataset()
        flat.update(plain)
        for group in (*shared, own):
            for keyword in GROUPS:
                for item in group.get(keyword) or []:
                    flat.update(item)
        if "FrameType" in flat:
            flat.ImageType = flat.FrameType
        flat.InstanceNumber = number + 1
        yield flat
