"""Where the slices of a series stand: in order, one to a place, on one straight line, and how far apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import ReadError
from boneprint.read.dicom.header import SliceHeader

FEWEST_SLICES = 5  # fewer show no bone's shape, and leave nothing to check even spacing by
SAME_PLACE_MM = 0.01  # positions are written to 0.01 mm or better; no scanner steps by so little
# Scanners that write positions to 0.1 mm jitter by up to 0.1 mm; beyond that the step really changes.
GAP_TOLERANCE_MM = 0.1
GAP_TOLERANCE_SHARE = 0.05
LARGEST_GAP_MM = 10.0  # the thickest slices of sequential head protocols; nothing between wider ones is known
HOLE = 1.75  # times the wider of its neighbours: a protocol that changes its step stays with the new one
STRAIGHTEST_DEG = 0.1  # a smaller lean of the stack is rounding: 0.7 mm over 400 mm
_FINEST_STEP_MM = 0.5  # of a resampled stack: finer than any slice is thick, and bounds the memory


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in rising order along the normal, the affine they span, and what had to be noted.

    ``along_mm`` is (N,), the place of each slice on the line through them; None where they stand at even steps. Where
    it is given, the affine's slice column is one step of the even stack that `resampled` makes of them.
    """

    slices: tuple[SliceHeader, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]
    along_mm: NDArray[np.float64] | None
    largest_gap_mm: float


def stacked(
    slices: Sequence[SliceHeader], hounsfield: Callable[[SliceHeader], NDArray[Any]], *, fill_gaps: bool = False
) -> Stack:
    """Order the slices, set copies aside, and say how they stand.

    Parameters
    ----------
    slices : of one geometry, in any order
    hounsfield : reads a slice; asked only where two claim one place
    fill_gaps : take a stack with missing slices, or slices more than 10 mm apart, all the same

    Raises
    ------
    ReadError
        If there are too few slices, one is missing, two different pictures claim one place, or they stand on no
        straight line.
    """
    normal = slices[0].normal
    # Ties are broken by what the files say, so that file names never decide.
    ordered = sorted(slices, key=lambda header: (_along(header, normal), header.instance, header.sop_uid))
    kept, notes = _without_copies(ordered, normal, hounsfield)
    folder = kept[0].path.parent
    if len(kept) < FEWEST_SLICES:
        raise ReadError(
            f"{folder}: {len(kept)} slice{'s' if len(kept) > 1 else ''} in the series ({kept[0].path.name} ...), "
            f"expected at least {FEWEST_SLICES}. Export the whole series."
        )
    positions = np.stack([header.position_mm for header in kept])
    gaps = np.diff(positions @ normal)
    missing = _missing(kept, gaps, fill_gaps=fill_gaps)
    line = positions[-1] - positions[0]
    length = float(np.linalg.norm(line))
    along = (positions - positions[0]) @ (line / length)
    _check_straight(kept, positions, line / length, along)
    notes += _tilt_notes(kept[0], line / length)

    even = length / (len(kept) - 1) * np.arange(len(kept))
    step_mm = float(even[1])
    uneven = bool(missing) or not _evenly(gaps) or bool(np.abs(along - even).max() > _off_line_mm(step_mm))
    if uneven:
        step_mm = length / np.ceil(length / _fine_step_mm(kept[0], np.diff(along)) - 1e-6)
        filled = f", {missing} of them missing and interpolated" if missing else ""
        notes.append(
            f"slice distances from {gaps.min():.2f} to {gaps.max():.2f} mm{filled}: "
            f"resampled along the stack to every {step_mm:.2f} mm"
        )
    row_mm, column_mm = kept[0].spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = kept[0].orientation[0] * column_mm
    affine[:3, 1] = kept[0].orientation[1] * row_mm
    affine[:3, 2] = line / length * step_mm
    affine[:3, 3] = positions[0]
    return Stack(tuple(kept), affine, tuple(notes), along if uneven else None, float(gaps.max()))


def resampled(hu: NDArray[Any], along_mm: NDArray[np.float64], step_mm: float) -> NDArray[Any]:
    """Planes at even steps, each interpolated linearly between its two neighbours, along the line of the stack.

    Parameters
    ----------
    hu : (N, Y, X)
    along_mm : (N,), rising from 0: where each plane stands
    step_mm : of the planes that are made

    Returns
    -------
    (M, Y, X) of the same type, from the first plane to the last
    """
    wanted = np.arange(round(along_mm[-1] / step_mm) + 1) * step_mm
    out = np.empty((len(wanted), *hu.shape[1:]), dtype=hu.dtype)
    below = np.clip(np.searchsorted(along_mm, wanted, side="right") - 1, 0, len(along_mm) - 2)
    shares = (wanted - along_mm[below]) / np.diff(along_mm)[below]
    for plane, low, share in zip(out, below, np.clip(shares, 0, 1).astype(np.float32), strict=True):
        mixed = hu[low] * (1 - share) + hu[low + 1] * share
        plane[:] = mixed if hu.dtype.kind == "f" else np.rint(mixed)
    return out


def _without_copies(
    ordered: Sequence[SliceHeader], normal: NDArray[np.float64], hounsfield: Callable[[SliceHeader], NDArray[Any]]
) -> tuple[list[SliceHeader], list[str]]:
    kept = [ordered[0]]
    copies = 0
    for header in ordered[1:]:
        if _along(header, normal) - _along(kept[-1], normal) > SAME_PLACE_MM:
            kept.append(header)
            continue
        beside_mm = np.abs(header.position_mm - kept[-1].position_mm).max()
        if beside_mm > SAME_PLACE_MM or not np.array_equal(hounsfield(header), hounsfield(kept[-1])):
            raise ReadError(
                f"{header.path}: another picture than {kept[-1].name} at the same place "
                f"({_along(header, normal):.2f} mm), expected one slice per place. "
                "Export one phase or one reconstruction of the scan."
            )
        copies += 1
    notes = [f"{copies} duplicate slice{'s' if copies > 1 else ''} set aside"] if copies else []
    return kept, notes


def _tolerance_mm(step_mm: float) -> float:
    return max(GAP_TOLERANCE_MM, GAP_TOLERANCE_SHARE * step_mm)


def _off_line_mm(step_mm: float) -> float:
    """How far a slice may stand from its place on a line: two neighbours' tolerances, rounded up."""
    return max(2.5 * GAP_TOLERANCE_MM, 2 * GAP_TOLERANCE_SHARE * step_mm)


def _evenly(gaps: NDArray[np.float64]) -> bool:
    expected = float(np.median(gaps))
    return bool(np.abs(gaps - expected).max() <= _tolerance_mm(expected))


def _missing(kept: Sequence[SliceHeader], gaps: NDArray[np.float64], *, fill_gaps: bool) -> int:
    """How many slices are missing; refuses them, and gaps too wide to interpolate, unless they are to be filled."""
    beside = np.maximum(np.append(gaps[1:], 0), np.insert(gaps[:-1], 0, 0))
    expected = float(np.median(gaps))
    holes = (gaps > HOLE * beside) & (gaps > beside + _tolerance_mm(expected))
    usual = np.where(holes, beside, expected)
    # Two neighbouring holes hide each other; a series of one step shows them all the same.
    odd = np.abs(gaps - expected) > _tolerance_mm(expected)
    if odd.sum() <= max(1, len(gaps) // 10) and (np.rint(gaps[odd] / expected) >= 2).all():
        holes |= odd
    wide = gaps > LARGEST_GAP_MM
    missing = int(np.sum(np.maximum(np.rint(gaps[holes] / usual[holes]) - 1, 1)))
    if fill_gaps or not (holes | wide).any():
        return missing
    first = int(np.flatnonzero(holes | wide)[0])
    found = f"{kept[first].path}: gap of {gaps[first]:.2f} mm after this slice ({first + 1} of {len(kept)}), expected "
    if holes.any():
        raise ReadError(
            f"{found}{usual[first]:.2f} mm: {missing} slice{'s are' if missing > 1 else ' is'} "
            "missing. Export the whole series again, or pass --fill-gaps to interpolate."
        )
    raise ReadError(
        f"{found}at most {LARGEST_GAP_MM:g} mm. Export a reconstruction with thinner slices, or pass --fill-gaps to "
        "interpolate all the same."
    )


def _check_straight(
    kept: Sequence[SliceHeader],
    positions: NDArray[np.float64],
    direction: NDArray[np.float64],
    along: NDArray[np.float64],
) -> None:
    """Refuse slices that wander off the line from first to last."""
    off_mm = np.linalg.norm(positions - positions[0] - along[:, None] * direction, axis=1)
    tolerance = _off_line_mm(float(np.median(np.diff(along))))
    worst = int(off_mm.argmax())
    if off_mm[worst] > tolerance:
        raise ReadError(
            f"{kept[worst].path}: this slice stands {off_mm[worst]:.2f} mm off a straight stack, expected "
            f"at most {tolerance:.2f} mm. Export one reconstruction with one field of view."
        )


def _tilt_notes(header: SliceHeader, direction: NDArray[np.float64]) -> list[str]:
    lean_deg = float(np.degrees(np.arccos(np.clip(direction @ header.normal, -1, 1))))
    if lean_deg > STRAIGHTEST_DEG:
        return [f"the slices lean by {lean_deg:.1f} degrees (gantry tilt): kept exactly, as a sheared affine"]
    if abs(header.tilt_deg) > STRAIGHTEST_DEG:
        return [
            f"the gantry tilt tag says {header.tilt_deg:g} degrees, but the slice positions stand straight: "
            "positions taken"
        ]
    return []


def _fine_step_mm(header: SliceHeader, gaps: NDArray[np.float64]) -> float:
    """The finest distance in the stack; no finer than the pixels, where nothing finer can be seen."""
    return max(float(gaps.min()), min(header.spacing_mm), _FINEST_STEP_MM)


def _along(header: SliceHeader, normal: NDArray[np.float64]) -> float:
    return float(header.position_mm @ normal)
