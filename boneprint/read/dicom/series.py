"""One CT series: its slices stacked, their values in HU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import AIR_HU, Volume
from boneprint.read.content import refusal
from boneprint.read.dicom.header import SliceHeader, quiet, read_dataset
from boneprint.read.dicom.pixels import stored_values
from boneprint.read.dicom.stack import resampled, stacked

LARGEST_GRID = 2**30  # voxels, 2 GiB of HU: a whole body of 1500 slices has 0.4 of it; more is a decompression bomb
# Scanners clip at 3071 (12 bit) where no extended scale is used (a flat top says so); metal begins about there.
_TWELVE_BIT_TOP = 3071
_CLIPPED_SHARE = 1e-5  # of all voxels: a handful of brightest voxels are no flat top


def load_series(slices: Sequence[SliceHeader], *, fill_gaps: bool = False) -> tuple[Volume, tuple[str, ...], float]:
    """Stack the slices of one series into a volume in HU.

    Slices are sorted by ImagePositionPatient along their normal; SliceThickness is never looked at. Rescale slope and
    intercept come first; then padding and everything below -1000 HU becomes -1000. A tilted gantry is not resampled:
    the affine's slice column is the true step between neighbouring slices, and so leans. Slices at uneven distances
    are resampled to even ones, along that same column.

    Parameters
    ----------
    slices : headers of one series and one geometry, in any order
    fill_gaps : interpolate over missing slices and gaps beyond 10 mm instead of refusing them

    Returns
    -------
    Volume, int16 HU (float32 where slope or intercept is not whole); notes for the user; and the largest distance
    between neighbouring slices as they were recorded, mm

    Raises
    ------
    ReadError
        If there are too few slices, one is missing or damaged, they lie too far apart, or two different pictures
        claim one place.
    """
    reader = _Reader()
    stack = stacked(slices, reader.hounsfield, fill_gaps=fill_gaps)
    rows, columns = stack.slices[0].shape
    folder = stack.slices[0].path.parent
    if len(stack.slices) * rows * columns > LARGEST_GRID:
        raise ReadError(
            f"{folder}: {len(stack.slices)} slices of {rows} x {columns}, expected at most {LARGEST_GRID} voxels. "
            "The files are damaged, or the scan has to be cut into regions first."
        )
    whole = all(header.slope.is_integer() and header.intercept.is_integer() for header in stack.slices)
    notes = list(stack.notes)
    brightest, clipped = 0.0, 0
    try:
        hu = np.empty((len(stack.slices), rows, columns), dtype=np.int16 if whole else np.float32)
        for plane, header in zip(hu, stack.slices, strict=True):
            values = reader.hounsfield(header)
            brightest = max(brightest, float(values.max()))
            clipped += int(np.count_nonzero(values == _TWELVE_BIT_TOP))
            np.clip(values, AIR_HU, np.iinfo(np.int16).max, out=plane, casting="unsafe")
        if stack.along_mm is not None:
            hu = resampled(hu, stack.along_mm, float(np.linalg.norm(stack.affine[:3, 2])))
    except MemoryError as error:
        raise refusal(folder, error, "The scan does not fit into memory.") from error
    if brightest > np.iinfo(np.int16).max:
        notes.append(f"values up to {brightest:.0f} HU were cut to 32767")
    if brightest == _TWELVE_BIT_TOP and clipped > _CLIPPED_SHARE * hu.size:
        notes.append(f"the scanner cut values off at {_TWELVE_BIT_TOP} HU: metal is brighter than that")
    try:
        return Volume(hu, stack.affine), tuple(notes), stack.largest_gap_mm
    except BoneprintError as error:
        raise refusal(folder, error, "Export the series again.") from error


class _Reader:
    """Reads slices; keeps the file of the last one open, as a multi-frame file holds them all."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset: FileDataset | None = None

    def hounsfield(self, header: SliceHeader) -> NDArray[Any]:
        """One slice in HU, (Y, X) int32 or float64, padding turned to air."""
        if self._dataset is None or self._path != header.path:
            self._path, self._dataset = header.path, read_dataset(header.path)
        values = stored_values(header.path, self._dataset, frame=header.frame)
        if values.shape != header.shape:
            raise ReadError(
                f"{header.path}: pixels of shape {values.shape}, expected {header.shape}. "
                "The file is damaged; export it again."
            )
        hu: NDArray[Any]
        if header.slope.is_integer() and header.intercept.is_integer() and values.dtype.kind in "iu":
            hu = values.astype(np.int32) * int(header.slope) + int(header.intercept)
        else:
            hu = values.astype(np.float64) * header.slope + header.intercept
        with quiet():
            padding = self._dataset.get("PixelPaddingValue")
            limit = self._dataset.get("PixelPaddingRangeLimit")
        if isinstance(padding, int):
            ends = (padding, limit if isinstance(limit, int) else padding)
            low, high = sorted(_as_stored(end, values) for end in ends)
            hu[(values >= low) & (values <= high)] = AIR_HU
        return hu


def _as_stored(number: int, values: NDArray[Any]) -> int:
    """A padding value in the sign of the pixels: files written as unsigned mean -2000 by 63536."""
    return number - 65536 if values.dtype.kind == "i" and number > 32767 else number
