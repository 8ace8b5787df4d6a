"""The stored values of one DICOM file, decompressed where they are compressed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from boneprint.errors import ReadError
from boneprint.read.content import refusal
from boneprint.read.dicom.header import quiet

LARGEST_PICTURE = 100_000_000  # pixels: a long-leg mosaic has 40 million; more is a decompression bomb


def stored_values(path: Path, dataset: FileDataset, *, frame: int | None = None) -> NDArray[Any]:
    """Decode the pixels of a file, or of one of its frames, before any rescaling: (H, W) or (H, W, 3), integers.

    Parameters
    ----------
    frame : counted from 0; None where the file must hold a single one

    Raises
    ------
    ReadError
        If there are none, they are cut short, too many, several frames, or no installed codec decodes them.
    """
    frames, rows, columns = (_count(dataset, keyword) for keyword in ("NumberOfFrames", "Rows", "Columns"))
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise ReadError(f"{path}: DICOM without pixels, expected a picture. Export the file again, with its pixels.")
    if frame is None and frames != 1:
        raise ReadError(
            f"{path}: {frames} frames, expected one picture. Pass --frame N (1 to {frames}) for the one you mean."
        )
    if frame is not None and not 0 <= frame < frames:
        raise ReadError(f"{path}: frame {frame + 1} was asked for, it holds {frames}. Pass --frame 1 to {frames}.")
    if rows * columns > LARGEST_PICTURE:
        raise ReadError(
            f"{path}: {rows} x {columns} pixels, expected at most {LARGEST_PICTURE}. "
            "The file is damaged, or the picture has to be shrunk first."
        )
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        with quiet():
            if syntax == JPEGExtended12Bit:
                return _twelve_bit(dataset, frame or 0)
            return np.asarray(dataset.pixel_array if frames == 1 else pixel_array(dataset, index=frame))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # every codec fails in its own way; those written in Rust panic past Exception
        name = getattr(syntax, "name", "of unknown transfer syntax")
        if isinstance(error, RuntimeError) or not isinstance(
            error, Exception
        ):  # pydicom lists every codec's complaint, a screenful
            error = RuntimeError(f"no installed codec decodes its pixels ({name})")
        raise refusal(path, error, "They are damaged or rare; export the file again, uncompressed.") from error


def _twelve_bit(dataset: FileDataset, frame: int) -> NDArray[Any]:
    """Decode JPEG Extended: loss may leave the range that the tags allow, and must not wrap round to black."""
    stored, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    frames = _count(dataset, "NumberOfFrames")
    wide = Dataset()
    wide.update(dataset)
    wide.file_meta = dataset.file_meta
    wide.set_original_encoding(*dataset.original_encoding)
    if frames == 1:
        wide.PixelData = _repaired_scan(bytes(dataset.PixelData))
    if not signed and stored < 12 < int(dataset.BitsAllocated):
        wide.BitsStored, wide.HighBit = 12, 11
    values = np.asarray(pixel_array(wide, index=frame))
    return values if signed else np.minimum(values, 2**stored - 1).astype(values.dtype)


def _repaired_scan(stream: bytes) -> bytes:
    """Set spectral selection and approximation in a JPEG's scan header to what a sequential scan has: 0, 63, 0.

    Some 12-bit encoders left them 0, 0, 0; the standard fixes them (ITU-T T.81, table B.3), so nothing is guessed.
    """
    at = stream.find(b"\xff\xda")  # start of scan: length (2), number of components n (1), n * 2, then the three
    end = at + 5 + 2 * stream[at + 4] if at >= 0 and at + 4 < len(stream) else len(stream)
    return stream[:end] + b"\x00\x3f\x00" + stream[end + 3 :] if stream[end : end + 3] == b"\x00\x00\x00" else stream


def _count(dataset: FileDataset, keyword: str) -> int:
    try:
        return int(dataset.get(keyword) or 1)
    except (TypeError, ValueError):
        return 1
