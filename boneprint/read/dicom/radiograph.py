"""A radiograph from DICOM: which way round it is, and its grey values.

Bone is made bright: MONOCHROME1 is inverted. What X-ray angiography and unprocessed detectors store is beam intensity,
which is inverted too. The modality LUT (or rescale) is applied, and so is a VOI LUT that is a table or a sigmoid: these
are the tone curve that the maker of the detector meant. A linear window is not, as it is a choice of display, cuts the
range, and differs between two exports of one picture; exposure is normalised later, for every radiograph alike.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Radiograph
from boneprint.read.content import refusal
from boneprint.read.dicom.header import laterality_of, quiet, read_dataset, sides_of, text, texts
from boneprint.read.dicom.pixels import stored_values
from boneprint.read.dicom.shutter import beyond_shutters
from boneprint.read.dicom.spacing import spacing_of
from boneprint.read.square import square_pixels
from boneprint.read.tidy import darkened, tidied

# Modalities that are projections; OT, SC and a missing one are secondary captures of who knows what, and are taken.
_PROJECTIONS = {"CR", "DX", "DR", "RG", "RF", "XA", "MG", "PX", "IO", "OT", "SC", "XC", "HC", ""}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's convert("L")


def read_dicom_radiograph(
    path: Path, *, pixel_spacing_mm: float | None = None, view: str | None = None, frame: int | None = None
) -> Radiograph:
    """Read one projection image.

    Parameters
    ----------
    frame : of several, counted from 1; None takes the representative one, where the file names it

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
            number, notes = _frame(dataset, frame)
            stored = stored_values(path, dataset, frame=number)
            pixels = _bone_bright(dataset, stored, modality)
            shut = beyond_shutters(dataset, pixels.shape)
            if shut.any():
                pixels = darkened(pixels, shut)
                notes.append("what lies beyond the shutters that the file names was darkened")
            spacing = spacing_of(dataset)
            known = spacing.row_mm is not None
            row_mm, column_mm = spacing.row_mm or _aspect(dataset)[0], spacing.column_mm or _aspect(dataset)[1]
            pixels, row_mm, column_mm, turned = _upright(dataset, pixels, row_mm, column_mm)
            written_view = text(dataset, "ViewPosition").upper() or None
            side, doubts = laterality_of(sides_of(dataset))
    except ReadError:
        raise
    except Exception as error:  # a malformed tag raises when it is first looked at, as whatever it likes
        raise refusal(path, error, "The DICOM tags are damaged; export the file again.") from error
    pixels, square_mm = square_pixels(pixels, row_mm, column_mm)
    pixels, cleaned, ruler_pixels = tidied(pixels, may_be_inverted=False)
    spacing_mm = pixel_spacing_mm or (square_mm if known else None)
    notes += [*(() if pixel_spacing_mm else spacing.notes), *turned, *cleaned, *doubts]
    try:
        return Radiograph(pixels, spacing_mm, view or written_view, str(path), tuple(notes), side, ruler_pixels)
    except BoneprintError as error:
        raise ReadError(f"{error} Check that the file is the radiograph you meant.") from error


def _frame(dataset: FileDataset, frame: int | None) -> tuple[int | None, list[str]]:
    """Which frame to read, from 0; None where the file must hold a single picture."""
    if frame is not None:
        return frame - 1, []
    recommended = dataset.get("RepresentativeFrameNumber")
    if isinstance(recommended, int) and int(dataset.get("NumberOfFrames") or 1) > 1:
        return recommended - 1, [f"frame {recommended} of {int(dataset.NumberOfFrames)}, as the file recommends"]
    return None, []


# Rows run to the right and columns down in a picture that is upright as radiographs are shown: the head up, and in a
# frontal view the patient's left at the viewer's right (PS3.3 C.7.6.1.1.1 for the letters).
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def _upright(
    dataset: FileDataset, pixels: NDArray[np.float32], row_mm: float, column_mm: float
) -> tuple[NDArray[np.float32], float, float, tuple[str, ...]]:
    """Bring the head up and, in a frontal view, the patient's left to the right, where PatientOrientation says how."""
    letters = [letter[:1] for letter in texts(dataset, "PatientOrientation")]
    animal = text(dataset, "AnatomicalOrientationType").upper() == "QUADRUPED"
    if animal or len(letters) != 2 or not all(letter in _OPPOSITE for letter in letters):
        return pixels, row_mm, column_mm, ()
    right, down = letters
    if right in "HF" and down in "LRAP":
        pixels, row_mm, column_mm, (right, down) = pixels.T, column_mm, row_mm, (down, right)
    if down == "H":
        pixels, down = pixels[::-1], "F"
    if down != "F":
        return pixels, row_mm, column_mm, ()  # seen from above or below: there is no upright
    if right == "R":
        pixels, right = pixels[:, ::-1], "L"
    if [right, down] == letters:
        return pixels, row_mm, column_mm, ()
    note = f"turned upright by the patient orientation {letters[0]}\\{letters[1]} of the file"
    return np.ascontiguousarray(pixels), row_mm, column_mm, (note,)


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
    pixels = np.asarray(_toned(apply_modality_lut(stored, dataset), dataset), dtype=np.float32)
    inside = ~_padding(dataset, stored)
    if not inside.any():
        inside[:] = True
    if _stores_beam(dataset, modality):
        pixels = pixels[inside].max() - pixels
    pixels[~inside] = pixels[inside].min()
    return pixels


def _toned(values: NDArray[Any], dataset: FileDataset) -> NDArray[Any]:
    """The maker's tone curve: a VOI table or sigmoid; linear windows are left alone."""
    if dataset.get("VOILUTSequence") or text(dataset, "VOILUTFunction").upper() == "SIGMOID":
        return np.asarray(apply_voi_lut(values, dataset))
    return values


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
