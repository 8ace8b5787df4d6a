"""A volume written as a CT series that any viewer reads."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from boneprint.errors import BoneprintError
from boneprint.nouns import Volume
from boneprint.read.dicom.header import CT_IMAGE

_INTERCEPT = -1024  # as most scanners write it; the stored values are unsigned
_DATE = "20200101"  # fixed, so that the same volume gives the same bytes
_TIME = "120000"


def write_ct_series(
    folder: Path | str,
    volume: Volume,
    *,
    subject_id: str,
    body_part: str | None = None,
    laterality: str | None = None,
    description: str = "simulated CT",
    series_uid: str | None = None,
    kvp: float = 120.0,
) -> list[Path]:
    """Write a volume as DICOM CT Image Storage: one 16-bit, uncompressed file per slice, CT0001.dcm and on.

    Slices run along the first axis of ``volume.hu``. Every tag, UIDs and dates included, follows from the arguments,
    so the same call writes the same bytes. Float HU are rounded to whole HU. ``load()`` gives the voxels back exactly
    (from -1000 HU up) and the affine to the 16 characters of a DICOM decimal; where the affine is left-handed, with its
    slices in reverse order, which is the same body.

    Parameters
    ----------
    folder : made where it is missing
    volume : HU, orthogonal affine in any orientation
    subject_id : goes to PatientID; the patient's name becomes "Simulated^<subject_id>"
    body_part : e.g. "femur"; written in upper case
    laterality : "L", "R" or None
    description : SeriesDescription, at most 64 characters
    series_uid : default: derived from the content and the other arguments
    kvp : tube voltage written to the tag; nothing is computed from it

    Returns
    -------
    list of Path
        The files, in slice order.

    Raises
    ------
    BoneprintError
        If the affine is sheared or the folder cannot be written.
    """
    across, down, along = (volume.affine[:3, axis] for axis in range(3))
    spacing_mm = volume.spacing_mm
    directions = volume.affine[:3, :3] / spacing_mm
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-6:
        raise BoneprintError(
            f"{folder}: the volume's axes are not perpendicular, expected an orthogonal affine. "
            "Resample the volume before writing it."
        )
    if max(volume.hu.shape[1:]) > 65535:
        raise BoneprintError(f"{folder}: slices of {volume.hu.shape[1:]} voxels, DICOM holds at most 65535 a side.")
    series = series_uid or _uid("series", _digest(volume), subject_id, body_part, laterality, description)
    common = _common(subject_id, body_part, laterality, description, series)
    common.Rows, common.Columns = volume.hu.shape[1:]
    common.PixelSpacing = [_decimal(spacing_mm[1]), _decimal(spacing_mm[0])]
    common.SliceThickness = _decimal(spacing_mm[2])
    common.ImageOrientationPatient = [_decimal(value) for value in (*(across / spacing_mm[0]), *(down / spacing_mm[1]))]
    common.KVP = _decimal(kvp)
    normal = np.cross(directions[:, 0], directions[:, 1])

    folder = Path(folder)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, hu in enumerate(volume.hu, start=1):
            position = volume.affine[:3, 3] + (index - 1) * along
            common.SOPInstanceUID = common.file_meta.MediaStorageSOPInstanceUID = _uid("slice", series, index)
            common.InstanceNumber = index
            common.ImagePositionPatient = [_decimal(value) for value in position]
            common.SliceLocation = _decimal(float(position @ normal))
            common.PixelData = _stored(hu).tobytes()
            path = folder / f"CT{index:04d}.dcm"
            common.save_as(path, enforce_file_format=True)
            paths.append(path)
    except OSError as error:
        raise BoneprintError(f"{folder}: {error.strerror}. Give a folder that can be written.") from error
    return paths


def _common(subject_id: str, body_part: str | None, laterality: str | None, description: str, series: str) -> Dataset:
    """Every tag of the CT Image IOD (PS3.3 A.3) that all slices share."""
    if not subject_id or len(subject_id) > 64 or "\\" in subject_id:
        raise BoneprintError(f"subject id {subject_id!r}: expected 1 to 64 characters and no backslash.")
    if laterality not in ("L", "R", None):
        raise BoneprintError(f"laterality {laterality!r}: expected 'L', 'R' or None.")
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE)
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.ImplementationClassUID = _uid("implementation", "boneprint")
    tags.file_meta.ImplementationVersionName = "BONEPRINT"

    tags.SpecificCharacterSet = "ISO_IR 192"
    tags.SOPClassUID = CT_IMAGE
    tags.PatientName = f"Simulated^{subject_id}"[:64]
    tags.PatientID = subject_id
    tags.PatientBirthDate = ""
    tags.PatientSex = ""
    tags.StudyInstanceUID = _uid("study", subject_id)
    tags.StudyDate = tags.SeriesDate = tags.AcquisitionDate = tags.ContentDate = _DATE
    tags.StudyTime = tags.SeriesTime = tags.AcquisitionTime = tags.ContentTime = _TIME
    tags.ReferringPhysicianName = ""
    tags.StudyID = "1"
    tags.AccessionNumber = ""
    tags.Modality = "CT"
    tags.SeriesInstanceUID = series
    tags.SeriesNumber = 1
    tags.SeriesDescription = description[:64]
    tags.PatientPosition = "HFS"
    tags.FrameOfReferenceUID = _uid("frame", series)
    tags.PositionReferenceIndicator = ""
    tags.Manufacturer = "boneprint simulation"
    tags.ManufacturerModelName = "boneprint"
    tags.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    tags.AcquisitionNumber = 1
    if body_part:
        tags.BodyPartExamined = body_part.upper()[:16]
    if laterality:
        tags.Laterality = laterality

    tags.SamplesPerPixel = 1
    tags.PhotometricInterpretation = "MONOCHROME2"
    tags.BitsAllocated = tags.BitsStored = 16
    tags.HighBit = 15
    tags.PixelRepresentation = 0
    tags.RescaleIntercept = str(_INTERCEPT)
    tags.RescaleSlope = "1"
    tags.RescaleType = "HU"
    tags.WindowCenter = "300"  # a bone window, so that a viewer opens on something
    tags.WindowWidth = "1500"
    return tags


def _stored(hu: NDArray[np.generic]) -> NDArray[np.uint16]:
    whole = np.rint(hu).astype(np.int32) if hu.dtype.kind == "f" else hu.astype(np.int32)
    return np.asarray(np.clip(whole - _INTERCEPT, 0, 65535), dtype="<u2")


def _digest(volume: Volume) -> str:
    content = hashlib.sha256(np.ascontiguousarray(volume.hu).data)
    content.update(repr((volume.hu.shape, str(volume.hu.dtype), volume.affine.round(6).tolist())).encode())
    return content.hexdigest()


def _uid(*parts: object) -> UID:
    """Derive a UID from its parts: 2.25 and a 128-bit number needs no registered root (PS3.5 B.2)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def _decimal(value: float) -> str:
    return format_number_as_ds(float(value) + 0.0)  # + 0.0 turns -0.0 into 0.0
