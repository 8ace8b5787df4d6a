"""A radiograph from DICOM: which way round it is, how large its pixels are.

Bone is made bright: MONOCHROME1 is inverted. What X-ray angiography and unprocessed detectors store is beam intensity,
which is inverted too. The modality LUT (or rescale) is applied; the VOI LUT, window and level are not, as they are
choices of display, cut the range, and differ between two exports of one picture.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_modality_lut

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Radiograph
from boneprint.read.content import refusal
from boneprint.read.dicom.header import quiet, read_dataset, text
from boneprint.read.dicom.pixels import stored_values
from boneprint.read.square import plausible_mm, square_pixels

# Modalities that are projections; OT, SC and a missing one are secondary captures of who knows what, and are taken.
_PROJECTIONS = {"CR", "DX", "DR", "RG", "RF", "XA", "MG", "PX", "IO", "OT", "SC", "XC", "HC", ""}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's convert("L")


def read_dicom_radiograph(path: Path, *, pixel_spacing_mm: float | None = None, view: str | None = None) -> Radiograph:
    """Read one projection image.

    Raises
    ------
    ReadError
        If it is no projection, has several frames, is damaged, or its compression is not supported.
    """
    dataset = read_dataset(path)
    try:
        with quiet():
            modality = text(dataset, "Modality").upper()[:16]
            _check_kind(path, dataset, modality)
            pixels = _bone_bright(dataset, stored_values(path, dataset), modality)
            row_mm, column_mm = spacing_of(dataset)
            known = row_mm is not None
            if row_mm is None or column_mm is None:
                row_mm, column_mm = _aspect(dataset)
            written_view = text(dataset, "ViewPosition").upper() or None
    except ReadError:
        raise
    except Exception as error:  # a malformed tag raises when it is first looked at, as whatever it likes
        raise refusal(path, error, "The DICOM tags are damaged; export the file again.") from error
    pixels, square_mm = square_pixels(pixels, row_mm, column_mm)
    try:
        return Radiograph(pixels, pixel_spacing_mm or (square_mm if known else None), view or written_view, str(path))
    except BoneprintError as error:
        raise ReadError(f"{error} Check that the file is the radiograph you meant.") from error


def spacing_of(dataset: FileDataset) -> tuple[float, float] | tuple[None, None]:
    """Spacing (between rows, between columns) in mm in the plane of the bone, or (None, None).

    PixelSpacing is believed as it stands, unless it merely repeats ImagerPixelSpacing. That one, at the detector, is
    divided by EstimatedRadiographicMagnificationFactor where the file has it, and taken as it stands where it has not.
    Zero and absurd values are unknown.
    """
    spacing = _pair(dataset, "PixelSpacing")
    at_detector = _pair(dataset, "ImagerPixelSpacing")
    if spacing is not None and spacing != at_detector:
        return spacing
    if at_detector is not None:
        magnification = float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1)
        if not (math.isfinite(magnification) and 1 <= magnification < 10):  # below 1 the bone lies behind the detector
            magnification = 1.0
        return at_detector[0] / magnification, at_detector[1] / magnification
    return _pair(dataset, "NominalScannedPixelSpacing") or (None, None)


def _pair(dataset: FileDataset, keyword: str) -> tuple[float, float] | None:
    try:
        row_mm, column_mm = (float(value) for value in dataset.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return (row_mm, column_mm) if plausible_mm(row_mm) and plausible_mm(column_mm) else None


def _aspect(dataset: FileDataset) -> tuple[float, float]:
    """Relative (row, column) spacing where no true one is known."""
    try:
        row, column = (float(value) for value in dataset.get("PixelAspectRatio") or (1, 1))
    except (TypeError, ValueError):
        return 1.0, 1.0
    return (row, column) if row > 0 and column > 0 and 0.1 < row / column < 10 else (1.0, 1.0)


def _check_kind(path: Path, dataset: FileDataset, modality: str) -> None:
    if modality == "CT":
        raise ReadError(f"{path}: a CT slice, expected a radiograph. CT folders go to `boneprint ingest`.")
    if modality not in _PROJECTIONS:
        raise ReadError(
            f"{path}: modality {modality}, expected a radiograph (CR, DX, RF, XA, MG or a secondary capture). "
            "Give an X-ray picture."
        )
    if not modality and "Rows" not in dataset:
        raise ReadError(f"{path}: DICOM without a picture, expected a radiograph. Export the file again.")


def _bone_bright(dataset: FileDataset, stored: NDArray[Any], modality: str) -> NDArray[np.float32]:
    """(H, W) float32, bone bright, padding as dark as the darkest pixel of the picture."""
    if stored.ndim == 3 and stored.shape[2] == 3:
        return np.asarray(stored.astype(np.float32) @ _LUMA, dtype=np.float32)
    pixels = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    inside = ~_padding(dataset, stored)
    if not inside.any():
        inside[:] = True
    if _stores_beam(dataset, modality):
        pixels = pixels[inside].max() - pixels
    pixels[~inside] = pixels[inside].min()
    return pixels


def _stores_beam(dataset: FileDataset, modality: str) -> bool:
    """Whether high values mean much beam, or are shown dark: then bone is low."""
    if modality == "XA":
        return True  # PS3.3 C.8.7.1: XA pixels rise with beam intensity (LIN, LOG); shown so, bone is dark
    if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        sign = text(dataset, "PixelIntensityRelationshipSign")
        if sign in ("1", "-1"):
            return sign == "1"  # PS3.3 C.8.11.3: 1 = lower values, less beam
    return text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1"


def _padding(dataset: FileDataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return np.zeros(stored.shape, dtype=bool)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return np.asarray((stored >= low) & (stored <= high))
