"""The tags of one DICOM file: which of them a CT slice needs, and why a file is no CT slice."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from boneprint.errors import ReadError
from boneprint.read.content import refusal
from boneprint.read.dicom.frames import ENHANCED_CT, frame_tags

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY = "1.2.840.10008.1.3.10"
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_NOT_A_SLICE = {"LOCALIZER", "SCOUT", "SCREEN SAVE", "DOSE_INFO", "DOSE INFO", "REPORT"}

# Everything that is looked at. Name and birth date are not among them, so they are never even read.
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "PatientID",
    "BodyPartExamined",
    "Laterality",
    "ImageLaterality",
    "FrameLaterality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "GantryDetectorTilt",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


class SetAside(Exception):  # noqa: N818  (it is no error: the file is sound, and simply no CT slice)
    """A file that is not wanted here; its text is the reason."""


class DirectoryFound(SetAside):
    """A DICOMDIR."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """What sorting, grouping and naming need to know of one CT slice: a file, or a frame of one (``frame``, from 0).

    ``spacing_mm`` is DICOM's (between rows, between columns); ``orientation`` holds the unit vectors of rising
    column and rising row index, ``position_mm`` the centre of the first voxel, both in patient LPS. ``sides`` are all
    that the tags name, of "L" and "R": more than one in a file that contradicts itself.
    """

    path: Path
    sop_uid: str
    series_uid: str
    study_uid: str
    instance: int
    subject_id: str
    body_part: str | None
    sides: frozenset[str]
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    orientation: NDArray[np.float64]
    position_mm: NDArray[np.float64]
    slope: float
    intercept: float
    tilt_deg: float
    frame: int = 0

    @property
    def name(self) -> str:
        """What a message calls it."""
        return self.path.name if not self.frame else f"{self.path.name}, frame {self.frame + 1}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice: (3,)."""
        return np.cross(self.orientation[0], self.orientation[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about odd values: what matters is checked here and said as an error or a note."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_dataset(path: Path, *, header_only: bool = False) -> FileDataset:
    """Read a DICOM file, with or without its pixels.

    Raises
    ------
    ReadError
        If the file is not DICOM or is damaged.
    """
    try:
        with quiet():
            if header_only:
                return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            return pydicom.dcmread(path, force=True)
    except Exception as error:  # a damaged file raises whatever the parser stumbled over
        raise refusal(path, error, "The file is damaged; export it again.") from error


def read_slice_headers(path: Path) -> list[SliceHeader]:
    """Read the tags of a CT slice, or of every frame of an enhanced multi-frame CT.

    Raises
    ------
    SetAside
        If the file is sound DICOM but no CT slice: another modality, a localiser, a screen capture.
    ReadError
        If it is a CT that cannot be used: damaged, or without geometry.
    """
    dataset = read_dataset(path, header_only=True)
    try:
        with quiet():
            if _check_kind(path, dataset) not in ENHANCED_CT:
                _check_picture(path, dataset)
                return [_slice_header(path, dataset)]
            headers = []
            for frame, tags in enumerate(frame_tags(path, dataset)):
                _check_picture(path, tags, frames=None)
                headers.append(_slice_header(path, tags, frame))
            return headers
    except (SetAside, ReadError):
        raise
    except Exception as error:  # a malformed value raises when it is first looked at, as whatever it likes
        raise refusal(path, error, "The DICOM tags are damaged; export the file again.") from error


def _check_kind(path: Path, dataset: FileDataset) -> str:
    """The SOP class of a CT."""
    meta = getattr(dataset, "file_meta", None)
    sop_class = text(dataset, "SOPClassUID") or str(getattr(meta, "MediaStorageSOPClassUID", "") or "")
    modality = text(dataset, "Modality").upper()[:16]  # as long as a DICOM code may be
    if sop_class == _DIRECTORY:
        raise DirectoryFound("a DICOMDIR; the files that it lists are looked at")
    if not modality and not sop_class and "Rows" not in dataset:
        raise ReadError(
            f"{path}: DICOM without modality or picture, expected a CT slice. "
            "The file is damaged or cut short; export it again."
        )
    if sop_class.startswith(_SECONDARY_CAPTURE):
        raise SetAside("a secondary capture, not a CT slice")
    if sop_class == _SEGMENTATION:
        raise SetAside("a segmentation (DICOM SEG), not a CT; give it with --labels")
    if modality not in ("CT", "") or (not modality and sop_class not in (CT_IMAGE, *ENHANCED_CT)):
        raise SetAside(f"modality {modality or 'unknown'}, not CT")
    if sop_class not in (CT_IMAGE, *ENHANCED_CT, ""):
        raise SetAside(f"no CT slice (SOP class {sop_class})")
    return sop_class


def _check_picture(path: Path, dataset: Dataset, *, frames: int | None = 1) -> None:
    odd = {part.upper() for part in texts(dataset, "ImageType")} & _NOT_A_SLICE
    if odd:
        raise SetAside(f"a localiser or report (image type {', '.join(sorted(odd))}), not a CT slice")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise SetAside("a colour picture, not a CT slice")
    if frames is not None and int(dataset.get("NumberOfFrames") or 1) != frames:
        raise ReadError(
            f"{path}: {int(dataset.NumberOfFrames)} frames, expected one slice per file. Export a single-frame series."
        )


def _slice_header(path: Path, dataset: Dataset, frame: int = 0) -> SliceHeader:
    spacing = _numbers(path, dataset, "PixelSpacing", 2)
    if not (spacing > 0).all():
        raise ReadError(f"{path}: PixelSpacing {spacing.tolist()} mm, expected two positive numbers. Export it again.")
    intercept = _numbers(path, dataset, "RescaleIntercept", 1)[0]
    slope = float(dataset.get("RescaleSlope") or 1)
    return SliceHeader(
        path=path,
        sop_uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        instance=int(dataset.get("InstanceNumber") or 0),
        subject_id=text(dataset, "PatientID"),
        body_part=text(dataset, "BodyPartExamined").lower() or None,
        sides=sides_of(dataset),
        shape=(int(_numbers(path, dataset, "Rows", 1)[0]), int(_numbers(path, dataset, "Columns", 1)[0])),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        orientation=_orientation(path, dataset),
        position_mm=_numbers(path, dataset, "ImagePositionPatient", 3),
        slope=slope,
        intercept=float(intercept),
        tilt_deg=float(dataset.get("GantryDetectorTilt") or 0),
        frame=frame,
    )


def _orientation(path: Path, dataset: Dataset) -> NDArray[np.float64]:
    """Two orthonormal rows; what rounding in the file left over is removed."""
    vectors = _numbers(path, dataset, "ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    # 0.01: tags rounded to two digits still pass, a zero or skewed pair does not.
    if np.abs(lengths - 1).max() > 0.01 or abs(vectors[0] @ vectors[1]) > 0.01:
        raise ReadError(
            f"{path}: ImageOrientationPatient {vectors.ravel().tolist()}, expected two perpendicular unit vectors. "
            "Export the series again."
        )
    across = vectors[0] / lengths[0]
    down = vectors[1] - (vectors[1] @ across) * across
    return np.stack([across, down / np.linalg.norm(down)])


def _numbers(path: Path, dataset: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    value = dataset.get(keyword)
    found = [] if value is None or value == "" else list(value) if count > 1 and not isinstance(value, str) else [value]
    numbers = np.array([float(number) for number in found])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ReadError(
            f"{path}: {keyword} is {numbers.tolist() or 'missing'}, expected {count} "
            f"number{'s' if count > 1 else ''}. Without it the scan has no true scale; export the original series."
        )
    return numbers


def text(dataset: Dataset, keyword: str) -> str:
    """Return a tag's text in one clean line; "" where it is missing or empty.

    DICOM allows 64 characters; a damaged length would otherwise draw the tags that follow, a name among them, into it.
    """
    value = dataset.get(keyword)
    clean = "".join(sign if sign.isprintable() else " " for sign in str(value or ""))
    return " ".join(clean.split())[:64]


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return a tag's several texts; [] where it is missing or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [" ".join(str(part).split())[:16] for part in ([value] if isinstance(value, str) else value)]


def sides_of(dataset: Dataset) -> frozenset[str]:
    """Which of "L" and "R" the tags name; paired, unpaired and unknown are neither."""
    named = (text(dataset, keyword).upper() for keyword in ("ImageLaterality", "FrameLaterality", "Laterality"))
    return frozenset(side for side in named if side in ("L", "R"))


def laterality_of(sides: frozenset[str]) -> tuple[str | None, tuple[str, ...]]:
    """One side, or None; and a note where both are named."""
    if len(sides) > 1:
        return None, ("LATERALITY IN DOUBT: the tags name both L and R; give the side with --side",)
    return next(iter(sides), None), ()
