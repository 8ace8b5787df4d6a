"""The stored values of one DICOM file, decompressed where they are compressed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from boneprint.errors import ReadError
from boneprint.read.content import refusal
from boneprint.read.dicom.header import quiet

LARGEST_PICTURE = 100_000_000  # pixels: a long-leg mosaic has 40 million; more is a decompression bomb


def stored_values(path: Path, dataset: FileDataset) -> NDArray[Any]:
    """Decode the pixels of a file, before any rescaling: (H, W) or (H, W, 3), integers.

    Raises
    ------
    ReadError
        If there are none, they are cut short, too many, several frames, or no installed codec decodes them.
    """
    frames, rows, columns = (_count(dataset, keyword) for keyword in ("NumberOfFrames", "Rows", "Columns"))
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise ReadError(f"{path}: DICOM without pixels, expected a picture. Export the file again, with its pixels.")
    if frames != 1:
        raise ReadError(f"{path}: {frames} frames, expected one picture. Export the frame you want as a single image.")
    if rows * columns > LARGEST_PICTURE:
        raise ReadError(
            f"{path}: {rows} x {columns} pixels, expected at most {LARGEST_PICTURE}. "
            "The file is damaged, or the picture has to be shrunk first."
        )
    try:
        with quiet():
            return np.asarray(dataset.pixel_array)
    except Exception as error:  # every codec fails in its own way
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "of unknown transfer syntax")
        if isinstance(error, RuntimeError):  # pydicom lists every codec's complaint, a screenful
            error = RuntimeError(f"no installed codec decodes its pixels ({name})")
        raise refusal(path, error, "They are damaged or rare; export the file again, uncompressed.") from error


def _count(dataset: FileDataset, keyword: str) -> int:
    try:
        return int(dataset.get(keyword) or 1)
    except (TypeError, ValueError):
        return 1
