"""PNG, JPEG, TIFF and BMP pictures in; PNG out, with its pixel spacing.

When is a resolution a pixel spacing? Most files carry the resolution of a screen or a printer, which says nothing of
the patient. So a JPEG's or BMP's resolution is never taken, and of a PNG (pHYs chunk, per metre) or TIFF it is taken
only if its unit is known, it is none of the usual screen and print values in dots per inch (72, 96, 300, ...), and it
lies between 0.01 and 3 mm. A PNG that boneprint wrote says so, and is believed whatever its value. Everything else has
an unknown spacing: give it by hand.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Radiograph
from boneprint.read.content import refusal
from boneprint.read.square import plausible_mm, square_pixels
from boneprint.read.tidy import tidied

LARGEST_PICTURE = 100_000_000  # pixels: a long-leg mosaic has 40 million; more is a decompression bomb
# Defaults of screens, scanners, printers and image programs; 25.4 / dpi would be a spacing only by accident.
_SCREEN_AND_PRINT_DPI = (1, 72, 75, 90, 96, 100, 120, 144, 150, 180, 192, 200, 220, 240, 300, 350, 360, 400, 600, 720)
_MM_PER_INCH = 25.4
_WRITER = "boneprint"


def read_image(path: Path, *, pixel_spacing_mm: float | None = None, view: str | None = None) -> Radiograph:
    """Read a picture file as a radiograph; colour becomes grey, an EXIF rotation is carried out,
    and what is no X-ray shadow is taken away (`tidy`) unless boneprint wrote the picture.

    Parameters
    ----------
    path : PNG, JPEG, TIFF or BMP; 8 or 16 bit (16-bit colour is read with 8), or floating point (TIFF)
    pixel_spacing_mm : overrules the file
    view : overrules the file

    Raises
    ------
    ReadError
        If it is damaged, has several pages, or is larger than a radiograph can be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the bomb is refused below, odd tags do not matter
            with Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP")) as picture:
                _check_size(path, picture)
                upright = ImageOps.exif_transpose(picture)
                row_mm, column_mm = spacing_of(picture)
                if upright.size != picture.size:
                    row_mm, column_mm = column_mm, row_mm
                ours = picture.info.get("Software") == _WRITER
                written_view = picture.info.get("View") if ours else None
                pixels = _grey(upright, picture)
    except ReadError:
        raise
    except Exception as error:  # each decoder fails in its own way on a damaged file
        raise refusal(path, error, "The picture is damaged; export it again as PNG, JPEG, TIFF or DICOM.") from error
    pixels, ratio_mm = square_pixels(pixels, row_mm or 1.0, column_mm or 1.0)
    spacing_mm = pixel_spacing_mm or (ratio_mm if row_mm else None)
    pixels, notes, ruler_pixels = (pixels, (), None) if ours else tidied(pixels, may_be_inverted=True)
    try:
        return Radiograph(pixels, spacing_mm, view or written_view, str(path), notes, None, ruler_pixels)
    except BoneprintError as error:
        raise ReadError(f"{error} Check that the file is the radiograph you meant.") from error


def write_png(
    path: Path | str,
    radiograph: Radiograph,
    *,
    bits: int = 16,
    value_range: tuple[float, float] | None = None,
) -> None:
    """Write a radiograph as grey PNG with the spacing in pHYs.

    pHYs counts whole pixels per metre, so that a spacing s in mm comes back to within s * s / 2000 mm. Where the
    spacing is unknown the chunk is left out. The view goes to a text chunk.

    Parameters
    ----------
    path : the file to write
    radiograph : what to write
    bits : 16 or 8
    value_range : what becomes 0 and full scale; None takes the darkest and the brightest pixel

    Raises
    ------
    BoneprintError
        If the file cannot be written or ``bits`` is neither 8 nor 16.
    """
    picture = png_bytes(radiograph, bits=bits, value_range=value_range)
    try:
        Path(path).write_bytes(picture)
    except OSError as error:
        raise BoneprintError(f"{path}: {error.strerror or error}. Give a folder that can be written.") from error


def png_bytes(radiograph: Radiograph, *, bits: int = 16, value_range: tuple[float, float] | None = None) -> bytes:
    """What `write_png` writes; `from_png` reads it."""
    if bits not in (8, 16):
        raise BoneprintError(f"{radiograph.source}: {bits} bits, expected 8 or 16.")
    dark, bright = value_range or (float(radiograph.pixels.min()), float(radiograph.pixels.max()))
    full = 2**bits - 1
    share = (radiograph.pixels.astype(np.float64) - dark) / (bright - dark)
    scaled = np.rint(np.clip(share, 0, 1) * full)
    picture = Image.fromarray(scaled.astype(np.uint16 if bits == 16 else np.uint8))
    text = PngInfo()
    text.add_text("Software", _WRITER)
    if radiograph.view:
        text.add_itxt("View", radiograph.view)
    per_inch = None
    if radiograph.spacing_mm is not None:
        per_inch = (_MM_PER_INCH / radiograph.spacing_mm,) * 2
    written = io.BytesIO()
    picture.save(written, format="PNG", pnginfo=text, **({"dpi": per_inch} if per_inch else {}))
    return written.getvalue()


def from_png(picture: bytes, source: str) -> Radiograph:
    """What `png_bytes` made, as a radiograph again; grey values are whole numbers from 0.

    Parameters
    ----------
    source : what the radiograph says it was made from

    Raises
    ------
    ReadError
        If it is damaged.
    """
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG",)) as opened:
            row_mm, _ = spacing_of(opened)
            return Radiograph(np.asarray(opened, dtype=np.float32), row_mm, opened.info.get("View"), source)
    except (OSError, SyntaxError, ValueError) as error:
        raise ReadError(
            f"{source}: the picture that was kept of it cannot be read ({error}). Run `boneprint check`."
        ) from error


def spacing_of(picture: Image.Image) -> tuple[float, float] | tuple[None, None]:
    """Pixel spacing (between rows, between columns) in mm by the rule at the head of this file, or (None, None)."""
    per_inch = picture.info.get("dpi")
    if per_inch is None or not _has_unit(picture):
        return None, None
    across, down = (float(value) for value in per_inch)
    if across <= 0 or down <= 0:
        return None, None
    if picture.info.get("Software") != _WRITER and any(
        abs(value / usual - 1) < 0.002 for value in (across, down) for usual in _SCREEN_AND_PRINT_DPI
    ):
        return None, None
    row_mm, column_mm = _MM_PER_INCH / down, _MM_PER_INCH / across
    return (row_mm, column_mm) if plausible_mm(row_mm) and plausible_mm(column_mm) else (None, None)


def _has_unit(picture: Image.Image) -> bool:
    if picture.format == "PNG":
        return True  # Pillow reports "dpi" only for a pHYs chunk in metres
    if picture.format == "TIFF":
        return picture.tag_v2.get(296) in (2, 3)  # type: ignore[attr-defined]  # inch, centimetre, said and not implied
    return False


def _check_size(path: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > LARGEST_PICTURE:
        raise ReadError(
            f"{path}: {picture.width} x {picture.height} pixels, expected at most {LARGEST_PICTURE}. "
            "The file is damaged, or the picture has to be shrunk first."
        )
    pages = getattr(picture, "n_frames", 1)
    if pages != 1:
        raise ReadError(f"{path}: {pages} pages, expected one picture. Save the page you want as a file of its own.")


def _grey(upright: Image.Image, picture: Image.Image) -> NDArray[np.float32]:
    """(H, W) float32, in stored grey values; a TIFF with white as zero is turned round."""
    if upright.mode.startswith(("I", "F")):
        pixels = np.asarray(upright, dtype=np.float32)
        # Pillow turns 8-bit pictures round by itself, and deeper ones not.
        if picture.format == "TIFF" and picture.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
            pixels = pixels.max() - pixels
        return pixels
    if upright.mode in ("LA", "RGBA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright)
    return np.asarray(upright.convert("L"), dtype=np.float32)
