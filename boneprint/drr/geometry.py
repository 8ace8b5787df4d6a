"""Where the source and the detector stand: a pose of the beam about the body, and the flat detector behind it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError

Triple = tuple[float, float, float]


# Voxels that a ray may move aside from one slice to the next: 76 degrees from the slices' normal.
STEEPEST = 4.0


class GeometryError(BoneprintError):
    """Source, detector and body cannot stand as asked."""


@dataclass(frozen=True)
class Pose:
    """From which side a picture is taken.

    All zero is AP: the beam runs from front to back, image right is the patient's left, image top the head.

    Parameters
    ----------
    axis_deg : about the patient's long axis; 90 = ML: from left to right, image right is the back
    tilt_deg : how far the source has moved towards the head
    in_plane_deg : rotation of the picture, counter-clockwise
    centre_mm : isocentre in patient LPS: where the central ray passes and about which all of this turns
    """

    axis_deg: float = 0.0
    tilt_deg: float = 0.0
    in_plane_deg: float = 0.0
    centre_mm: Triple = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.centre_mm) != 3 or not np.isfinite(self.parameters()).all():
            raise GeometryError(f"pose: {self}; expected finite angles in degrees and a centre of three mm.")

    def parameters(self) -> NDArray[np.float64]:
        """(6,): axis, tilt and in-plane angle in degrees, centre in mm; what the tensor projector differentiates by."""
        return np.array([self.axis_deg, self.tilt_deg, self.in_plane_deg, *self.centre_mm], dtype=np.float64)

    def axes(self) -> NDArray[np.float64]:
        """(3, 3): rows are the unit vectors image right, image down and beam, in patient LPS."""
        axis, tilt, turn = np.deg2rad(self.parameters()[:3])
        return np.stack(turned_axes(axis, tilt, turn, np))


def turned_axes(axis: Any, tilt: Any, turn: Any, library: Any) -> tuple[Any, Any, Any]:
    """Image right, image down and beam of a pose, as unit vectors in patient LPS.

    Parameters
    ----------
    axis, tilt, turn : radians, scalars of numpy or torch
    library : numpy or torch, whichever they are of
    """
    zero = 0 * axis
    right = library.stack([library.cos(axis), library.sin(axis), zero])
    level = library.stack([-library.sin(axis), library.cos(axis), zero])
    feet = library.stack([zero, zero, zero - 1])
    beam = library.cos(tilt) * level + library.sin(tilt) * feet
    down = library.cos(tilt) * feet - library.sin(tilt) * level
    return (
        library.cos(turn) * right + library.sin(turn) * down,
        library.cos(turn) * down - library.sin(turn) * right,
        beam,
    )


@dataclass(frozen=True)
class Detector:
    """A flat detector of square pixels, perpendicular to the central ray.

    Parameters
    ----------
    rows, columns : pixels
    pixel_mm : pitch, on the detector
    source_detector_mm : from the source to the detector; None: parallel rays
    source_isocentre_mm : from the source to the pose's centre; None with parallel rays only
    offset_mm : from where the central ray meets the detector to its centre: right, down
    """

    rows: int
    columns: int
    pixel_mm: float
    source_detector_mm: float | None = None
    source_isocentre_mm: float | None = None
    offset_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or not 0 < self.pixel_mm < float("inf"):
            raise GeometryError(
                f"detector: {self.rows} x {self.columns} pixels of {self.pixel_mm} mm; expected some, larger than 0."
            )
        if not np.isfinite(self.offset_mm).all():
            raise GeometryError(f"detector: offset {self.offset_mm} mm, expected two finite numbers.")
        near, far = self.source_isocentre_mm, self.source_detector_mm
        if (near is None) != (far is None):
            raise GeometryError(
                "detector: give source_detector_mm and source_isocentre_mm, or neither (parallel rays)."
            )
        if near is not None and far is not None and not 0 < near < far < float("inf"):
            raise GeometryError(
                f"detector: isocentre {near} mm and detector {far} mm from the source; "
                "expected 0 < source_isocentre_mm < source_detector_mm."
            )

    @classmethod
    def holding(
        cls,
        points_mm: NDArray[np.float64],
        pose: Pose,
        spacing_mm: float,
        *,
        source_detector_mm: float | None = None,
        source_isocentre_mm: float | None = None,
    ) -> "Detector":
        """The smallest detector about the central ray that shows all of some points, with a pixel to spare all round.

        Parameters
        ----------
        points_mm : (N, 3) patient LPS
        spacing_mm : pixel pitch in the plane of the isocentre
        """
        probe = cls(1, 1, 1.0, source_detector_mm, source_isocentre_mm)
        right, down, depth = pose.axes() @ (points_mm - np.array(pose.centre_mm)).T
        nearer = 1.0 if source_isocentre_mm is None else source_isocentre_mm / (source_isocentre_mm + depth)
        half = [np.abs(place * nearer).max() / spacing_mm for place in (down, right)]
        rows, columns = (2 * int(np.ceil(pixels)) + 3 for pixels in half)
        return replace(probe, rows=rows, columns=columns, pixel_mm=spacing_mm * probe.magnification)

    @property
    def magnification(self) -> float:
        """How much larger than life a thing at the isocentre appears; 1 with parallel rays."""
        if self.source_detector_mm is None or self.source_isocentre_mm is None:
            return 1.0
        return self.source_detector_mm / self.source_isocentre_mm

    @property
    def spacing_mm(self) -> float:
        """Pixel pitch in the plane of the isocentre."""
        return self.pixel_mm / self.magnification

    def stand(self, right: Any, down: Any, beam: Any, centre_mm: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Source (or None), beam, first pixel, column step and row step in patient LPS mm, each (3,).

        Parameters
        ----------
        right, down, beam : (3,) axes of a pose, arrays or tensors
        centre_mm : (3,) its isocentre
        """
        source = None
        middle = centre_mm + self.offset_mm[0] * right + self.offset_mm[1] * down
        if self.source_detector_mm is not None and self.source_isocentre_mm is not None:
            source = centre_mm - self.source_isocentre_mm * beam
            middle = middle + (self.source_detector_mm - self.source_isocentre_mm) * beam
        column_step, row_step = self.pixel_mm * right, self.pixel_mm * down
        first = middle - (self.columns - 1) / 2 * column_step - (self.rows - 1) / 2 * row_step
        return source, beam, first, column_step, row_step


@dataclass(frozen=True, eq=False)
class Rays:
    """One view in patient LPS: a source (or a direction) and a grid of pixels, whatever made them.

    Parameters
    ----------
    source_mm : (3,), or None with parallel rays
    beam : (3,) unit vector of the central ray
    first_mm : (3,) centre of the pixel in row 0, column 0
    column_step_mm, row_step_mm : (3,) from one pixel to the next, along a row and down a column
    rows, columns : pixels
    """

    source_mm: NDArray[np.float64] | None
    beam: NDArray[np.float64]
    first_mm: NDArray[np.float64]
    column_step_mm: NDArray[np.float64]
    row_step_mm: NDArray[np.float64]
    rows: int
    columns: int

    @classmethod
    def of(cls, pose: Pose, detector: Detector) -> "Rays":
        """The rays of a detector in a pose."""
        right, down, beam = pose.axes()
        stand = detector.stand(right, down, beam, np.array(pose.centre_mm))
        return cls(*stand, detector.rows, detector.columns)

    @property
    def corners(self) -> NDArray[np.float64]:
        """(3, 4): column, row and 1 of the four corner pixels."""
        right, bottom = self.columns - 1.0, self.rows - 1.0
        return np.array([[0.0, right, 0.0, right], [0.0, 0.0, bottom, bottom], [1.0, 1.0, 1.0, 1.0]])

    def main_axis(self, affine: NDArray[np.float64]) -> int:
        """The grid axis across whose slices the rays are followed: the one that the central ray runs along most.

        Parameters
        ----------
        affine : (4, 4) of voxel coordinates to patient LPS mm

        Raises
        ------
        GeometryError
            If a ray leaves it for another by more than ``STEEPEST`` voxels a slice.
        """
        to_voxels = np.linalg.inv(affine[:3, :3])
        main = int(np.argmax(np.abs(to_voxels @ self.beam)))
        if self.source_mm is not None:
            pixels = np.stack([self.column_step_mm, self.row_step_mm, self.first_mm - self.source_mm], axis=1)
            ways = to_voxels @ pixels @ self.corners
            forward = ways[main] * np.sign((to_voxels @ self.beam)[main])
            if (np.abs(ways).max(axis=0) > STEEPEST * forward).any():
                raise GeometryError(
                    "projection: the beam opens so wide that its outer rays run along the grid's slices. "
                    "Reduce the detector or enlarge source_detector_mm."
                )
        return main

    @cached_property
    def middle_mm(self) -> NDArray[np.float64]:
        """(3,) the middle of the grid of pixels."""
        return np.asarray(
            self.first_mm + (self.columns - 1) / 2 * self.column_step_mm + (self.rows - 1) / 2 * self.row_step_mm
        )

    def check_clear_of(self, affine: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        """See that the body lies between the source and the detector.

        Parameters
        ----------
        affine : (4, 4) of voxel coordinates x, y, z to patient LPS mm
        shape : (X, Y, Z) voxels

        Raises
        ------
        GeometryError
            If the body reaches the plane of the source (the source then lies inside or beside it) or of the detector.
        """
        if self.source_mm is None:
            return
        corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
        depth = (corners @ affine[:3, :3].T + affine[:3, 3] - self.source_mm) @ self.beam
        far = float((self.first_mm - self.source_mm) @ self.beam)
        if depth.min() <= 1e-6 * far:
            raise GeometryError(
                f"projection: the body begins {depth.min():.1f} mm along the beam from the source, which so lies inside"
                " or beside it. Enlarge source_isocentre_mm or move the pose's centre_mm."
            )
        if depth.max() > far * (1 + 1e-6):
            raise GeometryError(
                f"projection: the body reaches {depth.max() - far:.1f} mm behind the detector. "
                "Enlarge source_detector_mm or reduce source_isocentre_mm."
            )
