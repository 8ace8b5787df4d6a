"""Parallel views of an upright specimen from all sides: it turns about its long axis, the detector stands still."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boneprint.drr import shear_warp
from boneprint.drr.absorber import Absorber
from boneprint.drr.geometry import Detector, GeometryError, Pose, Rays
from boneprint.nouns import Volume


def view_width(shape: tuple[int, ...]) -> int:
    """Detector columns (one voxel wide) that hold every view of a (Z, Y, X) grid."""
    _, ny, nx = shape
    return int(np.ceil(np.hypot(ny, nx))) + 2


def upright_affine(shape: tuple[int, ...], step_mm: float) -> NDArray[np.float64]:
    """(4, 4): the specimen's own axes in place of the patient's, centred, for a (Z, Y, X) grid of cubic voxels."""
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * step_mm
    return affine


def own_axes(specimen: Volume) -> Volume:
    """An upright specimen (cubic voxels) placed in its own axes, so that poses are about those and its centre."""
    return Volume(specimen.hu, upright_affine(specimen.hu.shape, float(specimen.spacing_mm[0])))


def turntable(
    values: NDArray[np.floating],
    step_mm: float,
    angles_deg: Sequence[float],
    width: int | None = None,
    *,
    tilts_deg: Sequence[float] = (0.0,),
) -> NDArray[np.float32]:
    """Integrate along parallel rays perpendicular to z, or as many degrees off that as is said.

    Parameters
    ----------
    values : (Z, Y, X) on a cubic grid, per mm
    step_mm : edge of a voxel; detector pixels have the same pitch
    angles_deg : V angles about z (0 = AP, 90 = ML)
    width : detector columns; None takes as many as any view needs
    tilts_deg : T; how far the source has moved towards the head

    Returns
    -------
    (T * V, rows, width) float32
        Line integrals, no unit; row 0 is the upper end (largest z), 0 where the ray misses the volume. All angles of
        the first tilt come first; there are Z rows, and as many more as tilted views need.

    Raises
    ------
    GeometryError
        If the step is not positive or there is no angle.
    """
    if not step_mm > 0 or len(angles_deg) == 0:
        raise GeometryError(
            f"projection: step {step_mm} mm, {len(angles_deg)} angles; expected a positive step and at least one angle."
        )
    body = Absorber.of_values(values, upright_affine(values.shape, step_mm))
    columns = width or view_width(values.shape)
    leaning = np.sin(np.deg2rad(np.abs(tilts_deg).max()))
    detector = Detector(values.shape[0] + 2 * int(np.ceil(leaning * columns / 2)), columns, step_mm)
    poses = [Pose(angle, tilt) for tilt in tilts_deg for angle in angles_deg]
    return np.stack([shear_warp.project(body, Rays.of(pose, detector))[0] for pose in poses])
