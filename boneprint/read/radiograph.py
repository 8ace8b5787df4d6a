"""One radiograph from one file, whatever its format."""

import math
from dataclasses import replace
from pathlib import Path

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.read.content import kind_of


def read_radiograph(
    path: Path | str,
    *,
    pixel_spacing_mm: float | None = None,
    view: str | None = None,
    marker_mm: float | None = None,
    ruler_mm: float | None = None,
    frame: int | None = None,
    invert: bool = False,
) -> Radiograph:
    """Read a radiograph from DICOM (CR, DX, RF, XA, MG, secondary capture), PNG, JPEG, TIFF or BMP, by its content.

    Parameters
    ----------
    path : the file
    pixel_spacing_mm : mm per pixel in the plane of the bone; overrules what the file says
    view : e.g. "AP"; overrules what the file says
    marker_mm : diameter of a calibration ball that lies in the plane of the bone; found, measured and painted over
    ruler_mm : distance of the marks of a ruler that lies in the plane of the bone; found, measured and painted over
    frame : of a DICOM file with several pictures (fluoroscopy), counted from 1; None takes the one the file recommends
    invert : turn bright and dark round, where neither the file nor the picture tells that bone is shown dark

    Returns
    -------
    Radiograph
        Bone bright, pixels square; spacing None where nothing trustworthy is known.

    Raises
    ------
    ReadError
        If the file is missing, no radiograph, damaged, the spacing given is no positive number, or no ball or ruler is
        found.
    """
    path = Path(path)
    if sum(given is not None for given in (pixel_spacing_mm, marker_mm, ruler_mm)) > 1:
        raise ReadError(f"{path}: two of pixel spacing, marker and ruler were given; give one of them.")
    if pixel_spacing_mm is not None and not (math.isfinite(pixel_spacing_mm) and pixel_spacing_mm > 0):
        raise ReadError(f"{path}: pixel spacing {pixel_spacing_mm} mm was given, expected a positive number of mm.")
    if path.is_dir():
        raise ReadError(f"{path}: a folder, expected one radiograph. Give a file; CT folders go to `boneprint ingest`.")
    radiograph = _as_stored(path, pixel_spacing_mm, view, frame)
    if invert:
        pixels = radiograph.pixels.max() + radiograph.pixels.min() - radiograph.pixels
        radiograph = replace(radiograph, pixels=pixels, notes=(*radiograph.notes, "inverted, as asked"))
    if marker_mm is not None:
        from boneprint.read.marker import scaled_by_marker

        radiograph = scaled_by_marker(radiograph, marker_mm)
    return radiograph if ruler_mm is None else _scaled_by_ruler(radiograph, ruler_mm)


def _scaled_by_ruler(radiograph: Radiograph, ruler_mm: float) -> Radiograph:
    if not 0.5 <= ruler_mm <= 100:
        raise ReadError(f"{radiograph.source}: marks of a ruler {ruler_mm} mm apart, expected 0.5 to 100 mm.")
    if radiograph.ruler_pixels is None:
        raise ReadError(
            f"{radiograph.source}: no ruler found, expected at least twelve marks evenly apart along one side of the "
            "picture. Measure it and pass --pixel-spacing MM instead."
        )
    spacing_mm = ruler_mm / radiograph.ruler_pixels
    note = f"pixel spacing {spacing_mm:.4f} mm from a ruler with marks {ruler_mm:g} mm apart"
    return replace(radiograph, spacing_mm=spacing_mm, notes=(*radiograph.notes, note))


def _as_stored(path: Path, pixel_spacing_mm: float | None, view: str | None, frame: int | None) -> Radiograph:
    kind = kind_of(path)
    if kind == "dicom":
        from boneprint.read.dicom.radiograph import read_dicom_radiograph

        return read_dicom_radiograph(path, pixel_spacing_mm=pixel_spacing_mm, view=view, frame=frame)
    if kind == "nifti":
        raise ReadError(f"{path}: a NIfTI volume, expected a radiograph. CTs go to `boneprint ingest`.")
    if kind in ("unknown", "zip"):
        raise ReadError(
            f"{path}: none of the formats DICOM, PNG, JPEG, TIFF, BMP, expected a radiograph. "
            "Check the file, or export it again as DICOM or PNG."
        )
    from boneprint.read.image import read_image

    return read_image(path, pixel_spacing_mm=pixel_spacing_mm, view=view)
