"""One CT series: its slices in order, their geometry checked, their values in HU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import AIR_HU, Volume
from boneprint.read.content import refusal
from boneprint.read.dicom.header import SliceHeader, quiet, read_dataset
from boneprint.read.dicom.pixels import stored_values

FEWEST_SLICES = 5  # fewer show no bone's shape, and leave nothing to check even spacing by
SAME_PLACE_MM = 0.01  # positions are written to 0.01 mm or better; no scanner steps by so little
# Scanners that write positions to 0.1 mm jitter by up to 0.1 mm; beyond that the step really changes.
GAP_TOLERANCE_MM = 0.1
GAP_TOLERANCE_SHARE = 0.05
STRAIGHTEST_DEG = 0.1  # a smaller lean of the stack is rounding: 0.7 mm over 400 mm


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in rising order along the normal, the affine they span, and what had to be noted."""

    slices: tuple[SliceHeader, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]


def load_series(slices: Sequence[SliceHeader]) -> tuple[Volume, tuple[str, ...]]:
    """Stack the slices of one series into a volume in HU.

    Slices are sorted by ImagePositionPatient along their normal; SliceThickness is never looked at. Rescale slope and
    intercept come first; then padding and everything below -1000 HU becomes -1000. A tilted gantry is not resampled:
    the affine's slice column is the true step between neighbouring slices, and so leans.

    Parameters
    ----------
    slices : headers of one series and one geometry, in any order

    Returns
    -------
    Volume, int16 HU (float32 where slope or intercept is not whole), and notes for the user

    Raises
    ------
    ReadError
        If there are too few slices, one is missing or damaged, the distances are uneven, or two different pictures
        claim one place.
    """
    stack = _stacked(slices)
    rows, columns = stack.slices[0].shape
    whole = all(header.slope.is_integer() and header.intercept.is_integer() for header in stack.slices)
    try:
        hu = np.empty((len(stack.slices), rows, columns), dtype=np.int16 if whole else np.float32)
    except MemoryError as error:
        raise refusal(stack.slices[0].path.parent, error, "The scan does not fit into memory.") from error
    notes = list(stack.notes)
    brightest = 0.0
    for plane, header in zip(hu, stack.slices, strict=True):
        values = _hounsfield(header)
        brightest = max(brightest, float(values.max()))
        np.clip(values, AIR_HU, np.iinfo(np.int16).max, out=plane, casting="unsafe")
    if brightest > np.iinfo(np.int16).max:
        notes.append(f"values up to {brightest:.0f} HU were cut to 32767")
    try:
        return Volume(hu, stack.affine), tuple(notes)
    except BoneprintError as error:
        raise refusal(stack.slices[0].path.parent, error, "Export the series again.") from error


def _stacked(slices: Sequence[SliceHeader]) -> Stack:
    """Order the slices, set copies aside and check that they stand at even steps."""
    normal = slices[0].normal
    # Ties are broken by what the files say, so that file names never decide.
    ordered = sorted(slices, key=lambda header: (_along(header, normal), header.instance, header.sop_uid))
    kept, notes = _without_copies(ordered, normal)
    folder = kept[0].path.parent
    if len(kept) < FEWEST_SLICES:
        raise ReadError(
            f"{folder}: {len(kept)} slice{'s' if len(kept) > 1 else ''} in the series ({kept[0].path.name} ...), "
            f"expected at least {FEWEST_SLICES}. Export the whole series."
        )
    positions = np.stack([header.position_mm for header in kept])
    _check_even(kept, np.diff(positions @ normal))
    step = (positions[-1] - positions[0]) / (len(kept) - 1)
    _check_straight(kept, positions, step)

    lean_deg = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    tilt_deg = kept[0].tilt_deg
    if lean_deg > STRAIGHTEST_DEG:
        notes.append(f"the slices lean by {lean_deg:.1f} degrees (gantry tilt): kept exactly, as a sheared affine")
    elif abs(tilt_deg) > STRAIGHTEST_DEG:
        notes.append(
            f"the gantry tilt tag says {tilt_deg:g} degrees, but the slice positions stand straight: positions taken"
        )
    row_mm, column_mm = kept[0].spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = kept[0].orientation[0] * column_mm
    affine[:3, 1] = kept[0].orientation[1] * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return Stack(tuple(kept), affine, tuple(notes))


def _without_copies(ordered: Sequence[SliceHeader], normal: NDArray[np.float64]) -> tuple[list[SliceHeader], list[str]]:
    kept = [ordered[0]]
    copies = 0
    for header in ordered[1:]:
        if _along(header, normal) - _along(kept[-1], normal) > SAME_PLACE_MM:
            kept.append(header)
            continue
        beside_mm = np.abs(header.position_mm - kept[-1].position_mm).max()
        if beside_mm > SAME_PLACE_MM or not np.array_equal(_hounsfield(header), _hounsfield(kept[-1])):
            raise ReadError(
                f"{header.path}: another picture than {kept[-1].path.name} at the same place "
                f"({_along(header, normal):.2f} mm), expected one slice per place. "
                "Export one phase or one reconstruction of the scan."
            )
        copies += 1
    notes = [f"{copies} duplicate slice{'s' if copies > 1 else ''} set aside"] if copies else []
    return kept, notes


def _check_even(kept: Sequence[SliceHeader], gaps: NDArray[np.float64]) -> None:
    """Refuse a missing slice and a step that changes on the way."""
    expected = float(np.median(gaps))
    tolerance = max(GAP_TOLERANCE_MM, GAP_TOLERANCE_SHARE * expected)
    wrong = np.flatnonzero(np.abs(gaps - expected) > tolerance)
    if not len(wrong):
        return
    first = int(wrong[0])
    multiples = gaps[wrong] / expected
    holes = np.rint(multiples)
    if len(wrong) <= max(1, len(gaps) // 10) and (holes >= 2).all() and np.abs(multiples - holes).max() < 0.1:
        missing = int(holes.sum()) - len(wrong)
        raise ReadError(
            f"{kept[first].path}: gap of {gaps[first]:.2f} mm after this slice ({first + 1} of {len(kept)}), expected "
            f"{expected:.2f} mm: {missing} slice{'s are' if missing > 1 else ' is'} missing. "
            "Export the whole series again."
        )
    raise ReadError(
        f"{kept[first].path}: gap of {gaps[first]:.2f} mm after this slice ({first + 1} of {len(kept)}), and distances "
        f"from {gaps.min():.2f} to {gaps.max():.2f} mm in the series, expected {expected:.2f} mm throughout. "
        "Export a reconstruction with even slice distances, or convert it to NIfTI with dcm2niix, which resamples it."
    )


def _check_straight(kept: Sequence[SliceHeader], positions: NDArray[np.float64], step: NDArray[np.float64]) -> None:
    """Refuse slices that wander off the line from first to last, or steps that drift: no single affine holds them."""
    on_line = positions[0] + np.arange(len(kept))[:, None] * step
    off_mm = np.linalg.norm(positions - on_line, axis=1)
    tolerance = max(2.5 * GAP_TOLERANCE_MM, 2 * GAP_TOLERANCE_SHARE * float(np.linalg.norm(step)))
    worst = int(off_mm.argmax())
    if off_mm[worst] > tolerance:
        raise ReadError(
            f"{kept[worst].path}: this slice stands {off_mm[worst]:.2f} mm off an even, straight stack, expected "
            f"at most {tolerance:.2f} mm. Export one reconstruction with even slice distances."
        )


def _along(header: SliceHeader, normal: NDArray[np.float64]) -> float:
    return float(header.position_mm @ normal)


def _hounsfield(header: SliceHeader) -> NDArray[Any]:
    """One slice in HU, (Y, X) int32 or float64, padding turned to air."""
    dataset = read_dataset(header.path)
    values = stored_values(header.path, dataset)
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
        padding = dataset.get("PixelPaddingValue")
        limit = dataset.get("PixelPaddingRangeLimit")
    if isinstance(padding, int):
        ends = (padding, limit if isinstance(limit, int) else padding)
        low, high = sorted(_as_stored(end, values) for end in ends)
        hu[(values >= low) & (values <= high)] = AIR_HU
    return hu


def _as_stored(number: int, values: NDArray[Any]) -> int:
    """A padding value in the sign of the pixels: files written as unsigned mean -2000 by 63536."""
    return number - 65536 if values.dtype.kind == "i" and number > 32767 else number
