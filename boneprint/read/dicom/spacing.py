"""How large the pixels of a DICOM radiograph are in the plane of the bone, and how well that is known (PS3.3 10.7)."""

import math
from dataclasses import dataclass

from pydicom.dataset import FileDataset

from boneprint.read.dicom.header import text
from boneprint.read.square import plausible_mm

_LARGEST_MAGNIFICATION = 10.0  # micro-focus tubes; below 1 the bone would lie behind the detector


@dataclass(frozen=True)
class Spacing:
    """Distance between rows and between columns in mm, or None; and what the user has to know of it."""

    row_mm: float | None
    column_mm: float | None
    notes: tuple[str, ...] = ()


def spacing_of(dataset: FileDataset) -> Spacing:
    """Take the spacing that was calibrated, else the detector's over the magnification, else the detector's.

    PixelSpacing is believed as it stands where PixelSpacingCalibrationType says how it came about, or where it differs
    from ImagerPixelSpacing. Where it merely repeats that one, and where only that one is there, it is divided by
    EstimatedRadiographicMagnificationFactor, else by DistanceSourceToDetector / DistanceSourceToPatient. Zero and
    absurd values are unknown.
    """
    spacing, absurd = _pair(dataset, "PixelSpacing")
    at_detector, absurd_too = _pair(dataset, "ImagerPixelSpacing")
    lost = tuple(f"{name} of the file is taken as unknown" for name in (absurd, absurd_too) if name)
    calibration = text(dataset, "PixelSpacingCalibrationType").upper()
    if spacing is not None and (calibration in ("GEOMETRY", "FIDUCIAL") or (at_detector and spacing != at_detector)):
        return Spacing(*spacing, lost)
    if spacing is not None and at_detector is None:
        note = "PixelSpacing alone: whether it was corrected for magnification is not known"
        return Spacing(*spacing, (*lost, note))
    if at_detector is not None:
        magnification = _magnification(dataset)
        if magnification is None:
            note = "the pixel spacing is the detector's and the magnification unknown: bones look larger than they are"
            return Spacing(*at_detector, (*lost, note))
        note = f"detector spacing divided by the magnification of {magnification:.3f}"
        return Spacing(at_detector[0] / magnification, at_detector[1] / magnification, (*lost, note))
    scanned, _ = _pair(dataset, "NominalScannedPixelSpacing")
    if scanned is not None:
        return Spacing(*scanned, (*lost, "the pixel spacing is that of a scanned film, magnification included"))
    return Spacing(None, None, lost)


def _magnification(dataset: FileDataset) -> float | None:
    estimated = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    to_detector, to_patient = (_number(dataset, f"DistanceSourceTo{end}") for end in ("Detector", "Patient"))
    for factor in (estimated, to_detector / to_patient if to_detector and to_patient else None):
        if factor is not None and 1 <= factor < _LARGEST_MAGNIFICATION:
            return factor
    return None


def _number(dataset: FileDataset, keyword: str) -> float | None:
    try:
        value = float(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _pair(dataset: FileDataset, keyword: str) -> tuple[tuple[float, float] | None, str | None]:
    """(row, column) in mm, or None; and, where it is there but cannot be a spacing, how to name it."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return None, None
    try:
        row_mm, column_mm = (float(number) for number in value)
    except (TypeError, ValueError):
        return None, f"the malformed {keyword}"
    if plausible_mm(row_mm) and plausible_mm(column_mm):
        return (row_mm, column_mm), None
    return None, f"the {keyword} {row_mm:g} x {column_mm:g} mm"
