"""NIfTI: a CT, or a map of labels over a CT. Patient axes are turned from NIfTI's RAS to our LPS."""

import gzip
import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.imageglobals import logger
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import AIR_HU, Volume
from boneprint.read.content import kind_of, refusal

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, mm, micron (NIfTI-1.1); unsaid means mm
_KNOWN_NAMES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_INTENT_LABEL = 1002  # NIFTI_INTENT_LABEL
_LARGEST_GRID = 2**30  # voxels, 2 GiB of HU: a whole body of 1500 slices has 0.4 of it; more is a decompression bomb
_RESCALED = 0.005  # of a spacing: both are written in single precision, and two people differ by more
_SINGULAR = 1e-9  # mm3: no voxel is so small
_LABEL = re.compile(r'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))\s*</Label>', re.DOTALL)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label per voxel.

    Parameters
    ----------
    labels : (Z, Y, X) uint8 or uint16; 0 is background
    affine : (4, 4) float64, voxel centre (x, y, z, 1) to patient LPS mm
    names : label to name where the file says so (TotalSegmentator's does), else empty
    source : the file, for messages
    """

    labels: NDArray[np.generic]
    affine: NDArray[np.float64]
    names: dict[int, str] = field(default_factory=dict)
    source: str = "label map"

    def labels_on(self, volume: Volume) -> NDArray[np.generic]:
        """Labels on the grid of a volume, by the nearest voxel; 0 where the map does not reach.

        Returns
        -------
        (Z, Y, X) of the volume, dtype of ``labels``

        Raises
        ------
        ReadError
            If no labelled voxel lies within the volume.
        """
        to_label = np.linalg.inv(self.affine) @ volume.affine
        if (
            self.labels.shape == volume.hu.shape
            and np.abs(_corners(volume.hu.shape) @ (to_label - np.eye(4)).T).max() < 0.1
        ):
            on_grid = self.labels
        else:
            on_grid = self._resampled(to_label, volume.hu.shape)
        if not on_grid.any():
            raise ReadError(
                f"{self.source}: no label lies within the CT, expected a map of the same patient and scan. "
                "Give the label map that was made from this CT."
            )
        return on_grid

    def _resampled(self, to_label: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.generic]:
        """Nearest voxel, one slice at a time, so that memory stays that of a slice."""
        out = np.zeros(shape, dtype=self.labels.dtype)
        y, x = np.mgrid[: shape[1], : shape[2]]
        in_plane = x[None] * to_label[:3, 0, None, None] + y[None] * to_label[:3, 1, None, None]
        limits = np.array(self.labels.shape[::-1])[:, None, None]
        for z, plane in enumerate(out):
            index = np.rint(in_plane + (to_label[:3, 2] * z + to_label[:3, 3])[:, None, None]).astype(np.intp)
            inside = ((index >= 0) & (index < limits)).all(axis=0)
            column, row, depth = index[:, inside]
            plane[inside] = self.labels[depth, row, column]
        return out


def why_no_ct(path: Path) -> str | None:
    """Say from the header why a NIfTI file is no CT but a label map or mask; None where it may be a CT.

    Raises
    ------
    ReadError
        If the header is damaged.
    """
    image = _opened(path)
    if _label_names(image) or int(image.header.get("intent_code", 0)) == _INTENT_LABEL:
        return "a label map, not a CT; give it with --labels"
    if image.get_data_dtype().itemsize == 1:
        return "8-bit voxels hold no Hounsfield units (a label map? give it with --labels)"
    return None


def read_ct(path: Path) -> tuple[Volume, tuple[str, ...]]:
    """Read a CT in HU: (Z, Y, X) int16, or float32 where it holds fractions; below -1000 becomes -1000.

    Raises
    ------
    ReadError
        If it is damaged, not three-dimensional, of unknown orientation, or its values are no HU.
    """
    image = _opened(path)
    affine = _affine(path, image)
    values = _voxels(path, image)
    notes: list[str] = []
    if values.dtype.kind == "f":
        holes = int(np.count_nonzero(~np.isfinite(values)))
        if holes:
            notes.append(f"{holes} voxels without a number were made air")
            values = np.where(np.isfinite(values), values, AIR_HU)
    if values.min() >= 0:
        raise ReadError(
            f"{path}: no voxel below {values.min():g}, expected Hounsfield units (air is -1000, fat is negative). "
            "Give the CT itself; a label map goes with --labels."
        )
    if values.max() > np.iinfo(np.int16).max:
        notes.append(f"values up to {values.max():.0f} HU were cut to 32767")
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    hu = np.clip(values, AIR_HU, np.iinfo(np.int16).max).astype(np.int16 if whole else np.float32)
    try:
        return Volume(np.ascontiguousarray(hu.T), affine), tuple(notes)
    except BoneprintError as error:
        raise refusal(path, error, "Convert the CT to NIfTI again.") from error


def read_labels(path: Path | str) -> LabelMap:
    """Read a map of labels from NIfTI or DICOM SEG, with their names.

    Of a NIfTI the names are those of a header extension, as TotalSegmentator writes it; of a SEG those of its codes.

    Raises
    ------
    ReadError
        If it is neither, damaged, of unknown orientation, or holds anything but whole, non-negative numbers.
    """
    path = Path(path)
    if kind_of(path) == "dicom":
        from boneprint.read.dicom.segmentation import read_segmentation

        return read_segmentation(path)
    image = _opened(path)
    affine = _affine(path, image)
    values = _voxels(path, image)
    # Whole numbers are looked at as they are: a whole body's labels in floating point would not fit into memory.
    fractions = values.dtype.kind == "f" and (not np.isfinite(values).all() or bool((values != np.rint(values)).any()))
    if fractions or values.min() < 0 or values.max() > 65535:
        raise ReadError(
            f"{path}: values from {values.min():g} to {values.max():g}, expected whole label numbers from 0 to 65535. "
            "Give the label map, not the CT."
        )
    labels = np.ascontiguousarray(values.astype(np.uint8 if values.max() < 256 else np.uint16, copy=False).T)
    return LabelMap(labels, affine, _label_names(image), str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel from telling stderr how it repaired a header: what matters is checked here."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _opened(path: Path) -> Any:
    """A NIfTI image; Any, as half of nibabel is untyped."""
    try:
        with _quiet():
            image = nibabel.load(path) if path.name.lower().endswith(_KNOWN_NAMES) else _nameless(path)
        if not isinstance(image, nibabel.Nifti1Pair):  # NIfTI-2 is a subclass
            raise ReadError(f"{path}: {type(image).__name__}, expected NIfTI. Convert it to .nii or .nii.gz.")
        return image
    except ReadError:
        raise
    except Exception as error:  # a damaged header raises whatever the parser stumbled over
        raise refusal(path, error, "Expected NIfTI (.nii or .nii.gz); convert the file again.") from error


def _nameless(path: Path) -> Any:
    """A single-file NIfTI whose name does not say so, which nibabel goes by."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        kind = nibabel.Nifti2Image if file.read(12)[4:8] == b"n+2\x00" else nibabel.Nifti1Image
    holder = nibabel.FileHolder(fileobj=gzip.open(path)) if packed else nibabel.FileHolder(filename=str(path))  # noqa: SIM115
    return kind.from_file_map({"header": holder, "image": holder})  # type: ignore[no-untyped-call]


def _voxels(path: Path, image: Any) -> NDArray[np.generic]:
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1 or np.prod([float(size) for size in shape]) > _LARGEST_GRID:
        raise ReadError(
            f"{path}: a grid of {' x '.join(map(str, image.shape))}, expected one three-dimensional volume of at most "
            "1024 x 1024 x 1024. Extract one volume from the file."
        )
    try:
        values = np.asanyarray(image.dataobj).reshape(shape)
    except Exception as error:  # cut short, bad gzip, foreign voxel types
        raise refusal(path, error, "The voxels are damaged; convert the file again.") from error
    if values.dtype.kind not in "iuf":
        raise ReadError(f"{path}: voxels of type {values.dtype}, expected one number each. Convert the CT again.")
    return np.asarray(values)


def _affine(path: Path, image: Any) -> NDArray[np.float64]:
    if not int(image.header["sform_code"]) and not int(image.header["qform_code"]):
        raise ReadError(
            f"{path}: neither sform nor qform is set, expected a known orientation; left and right cannot be told. "
            "Convert the CT from DICOM again, with dcm2niix."
        )
    broken = ReadError(f"{path}: the affine is singular, expected spacings above 0. Convert the CT again.")
    if not all(np.isfinite(matrix).all() for _, matrix in _transforms(path, image)):
        raise broken
    _check_agreement(path, image)
    unit = _MM_PER_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)
    affine = _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64)
    affine[:3] *= unit
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _SINGULAR:
        raise broken
    return affine


def _check_agreement(path: Path, image: Any) -> None:
    """Refuse a file whose two transforms are mirror images of each other, or whose sform stretches its voxels."""
    spacings = np.abs(np.asarray(image.header.get_zooms()[:3], dtype=np.float64))
    given = {name: np.asarray(matrix) for name, matrix in _transforms(path, image)}
    hands = {name: bool(np.linalg.det(matrix[:3, :3]) > 0) for name, matrix in given.items()}
    if len(set(hands.values())) > 1:
        raise ReadError(
            f"{path}: sform and qform are mirror images of each other, expected one orientation; left and right cannot "
            "be told. Convert the CT from DICOM again, with dcm2niix."
        )
    matrix = np.asarray(image.affine)[:3, :3]
    if abs(np.linalg.det(matrix)) < _SINGULAR:
        return  # refused by the caller
    steps, heights = np.linalg.norm(matrix, axis=0), 1 / np.linalg.norm(np.linalg.inv(matrix), axis=1)
    # Of a tilted gantry some writers give the step along the lean, some that across the slices.
    off = np.minimum(np.abs(steps - spacings), np.abs(heights - spacings))
    if (off > _RESCALED * spacings).any():
        raise ReadError(
            f"{path}: the sform makes voxels of {_by(steps)}, the header says {_by(spacings)}: the image was brought "
            "into another space and rescaled. Give the CT as the scanner made it."
        )


def _transforms(path: Path, image: Any) -> list[tuple[str, Any]]:
    try:
        both = (("sform", image.get_sform(coded=True)), ("qform", image.get_qform(coded=True)))
    except Exception as error:  # a quaternion that is none
        raise refusal(path, error, "The orientation is damaged; convert the CT from DICOM again.") from error
    return [(name, matrix) for name, (matrix, code) in both if code]


def _by(numbers: NDArray[np.float64]) -> str:
    return " x ".join(f"{number:.3g}" for number in numbers)


def _label_names(image: Any) -> dict[int, str]:
    """Names from the CaretExtension label table that TotalSegmentator and Connectome Workbench write."""
    names: dict[int, str] = {}
    for extension in getattr(image.header, "extensions", ()):
        content = extension.get_content()
        if isinstance(content, bytes):
            content = content.decode("utf-8", "replace")
        for key, plain, escaped in _LABEL.findall(str(content)):
            names[int(key)] = plain or html.unescape(escaped).strip()
    return names


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The eight outermost voxel centres, (8, 4) as (x, y, z, 1)."""
    z, y, x = (size - 1 for size in shape)
    return np.array([(i, j, k, 1) for i in (0, x) for j in (0, y) for k in (0, z)], dtype=np.float64)
