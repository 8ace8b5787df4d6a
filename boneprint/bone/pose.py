"""Canonical pose: one upright, isotropic grid for every specimen, so that views of it can be named."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.bone.isolate import BONY_HU
from boneprint.errors import ReadError
from boneprint.nouns import AIR_HU, Volume

# Measured on simulated bones: whole femora 6.7 to 8.9, proximal thirds 1.6 to 2.0 (they keep the patient's axes).
LONG_RATIO = 2.5

# Voxels along the largest extent when a specimen is enrolled: finer than any canvas (192 pixels, never quite filled).
STANDARD_STEPS = 220

# Slices further apart than this are thick: bone that leans stands beside itself in the next one. Thinner ones are
# resampled as those were that calibration saw (`boneprint.two_visits`: up to 2.8 mm).
_THICK_MM = 2.9
_FLESH_HU = 55.0  # muscle: a view shows what bone absorbs beyond it (`boneprint.drr.attenuation.SOFT_TISSUE_HU`)


def principal_axes(volume: Volume, bony_hu: float = BONY_HU) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread of the bony voxels in patient space.

    Returns
    -------
    deviations : (3,) mm, largest first
    axes : (3, 3), rows are unit vectors in LPS, in that order

    Raises
    ------
    ReadError
        If fewer than 50 voxels reach ``bony_hu``.
    """
    points = np.argwhere(volume.hu > bony_hu)
    if len(points) < 50:
        raise ReadError(
            f"volume: {len(points)} voxels above {bony_hu:g} HU, expected a bone of at least 50. "
            "Give a scan that holds more of it or has thinner slices, or check the rescale tags."
        )
    stride = max(1, len(points) // 200_000)
    patient = volume.to_patient(points[::stride, ::-1].astype(np.float64))
    values, vectors = np.linalg.eigh(np.cov(patient.T))
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1].T


@dataclass(frozen=True, eq=False)
class Pose:
    """How a specimen is brought upright.

    Parameters
    ----------
    axes : (3, 3), rows are the new x, y, z in LPS: to the left, to the back, to the head
    long : whether z is the first principal axis of one long bone (else the patient's own axes)
    """

    axes: NDArray[np.float64]
    long: bool

    def placed(self, volume: Volume) -> Volume:
        """The same voxels with the pose's axes for the patient's: x to the left, y to the back, z to the head."""
        turn = np.eye(4)
        turn[:3, :3] = self.axes
        return Volume(volume.hu, turn @ volume.affine)

    def turned(self, about_x_deg: float, about_y_deg: float) -> "Pose":
        """The pose tipped by small angles about its own x and y: a bone that does not lie flat."""
        ax, ay = np.deg2rad([about_x_deg, about_y_deg])
        about_x = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        about_y = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        return Pose(about_x @ about_y @ self.axes, self.long)


def find_pose(volume: Volume, *, long: bool | None = None, bony_hu: float = BONY_HU) -> Pose:
    """The canonical pose of an isolated specimen.

    A long bone's z is its first principal axis, its y the patient's back made perpendicular to that; anything else
    keeps the patient axes.

    Parameters
    ----------
    long : force or forbid the principal axes; None: the first is at least ``LONG_RATIO`` times the second
    """
    deviations, axes = principal_axes(volume, bony_hu)
    if long is None:
        long = bool(deviations[0] > LONG_RATIO * max(deviations[1], 1e-6))
    return Pose(_upright(axes[0]) if long else np.eye(3), long)


def upright(volume: Volume, pose: Pose, step_mm: float | None = None, *, content_hu: float = BONY_HU) -> Volume:
    """Resample to cubic voxels along the axes of a pose; the new affine is a rotation, so that left stays left.

    Between slices 3 mm apart or more, what is beside bone counts as flesh and not as the air that isolation left
    there: halfway between a slice that holds a leaning bone and one that no longer does there is half of the bone.

    Parameters
    ----------
    volume : HU
    step_mm : edge of the new voxels; None takes the largest extent / ``STANDARD_STEPS``, the resolution of enrolment
    content_hu : what is kept lies above this, with a margin of three voxels; the rest is cropped

    Returns
    -------
    Volume, float32 HU

    Raises
    ------
    ReadError
        If nothing lies above ``content_hu``, or the step is not positive.
    """
    along = extremes_mm(volume, content_hu) @ pose.axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    step = float((high - low).max()) / STANDARD_STEPS if step_mm is None else step_mm
    if not step > 0:
        raise ReadError(f"volume: voxel edge {step} mm, expected a positive length.")
    low = low - 3 * step
    counts = np.ceil((high + 3 * step - low) / step).astype(int) + 1

    affine = np.eye(4)
    affine[:3, :3] = pose.axes.T * step
    affine[:3, 3] = pose.axes.T @ low
    flip = np.eye(4)[[2, 1, 0, 3]]
    matrix = flip @ np.linalg.inv(volume.affine) @ affine @ flip

    def sampled(darkest_hu: float) -> NDArray[np.float32]:
        return np.asarray(
            ndimage.affine_transform(
                _prefilter(volume, step, darkest_hu),
                matrix[:3, :3],
                offset=matrix[:3, 3],
                output_shape=tuple(counts[::-1]),
                order=1,
                mode="constant",
                cval=darkest_hu,
            )
        )

    hu = sampled(AIR_HU)
    if volume.spacing_mm.max() > _THICK_MM:
        in_flesh = sampled(_FLESH_HU)
        hu = np.where(in_flesh > _FLESH_HU, in_flesh, hu)
    return Volume(hu, affine)


def stand_up(isolated: Volume, step_mm: float | None = None) -> tuple[Volume, Pose]:
    """Bring an isolated specimen upright in its canonical pose: `find_pose`, then `upright`."""
    pose = find_pose(isolated)
    return upright(isolated, pose, step_mm), pose


def extremes_mm(volume: Volume, content_hu: float) -> NDArray[np.float64]:
    """First and last voxel above a value in every row: (N, 3) patient LPS; they hold the extent in every direction.

    Raises
    ------
    ReadError
        If nothing lies above ``content_hu``.
    """
    content = _row_ends(volume.hu > content_hu)
    if not len(content):
        raise ReadError(
            f"volume: nothing above {content_hu:g} HU, expected a bone; check the rescale tags and the series."
        )
    return volume.to_patient(content)


def _row_ends(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """First and last voxel of every row of a mask, (N, 3) in x, y, z: they hold its extremes in every direction."""
    z, y = np.nonzero(mask.any(axis=2))
    rows = mask[z, y]
    first = rows.argmax(axis=1)
    last = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([x, y, z], axis=1) for x in (first, last)]).astype(np.float64)


def _prefilter(volume: Volume, step_mm: float, darkest_hu: float) -> NDArray[np.float32]:
    """Average fine voxels before a coarser grid skips them: a box as wide as the ratio of the spacings."""
    hu = np.maximum(volume.hu.astype(np.float32), np.float32(darkest_hu))
    widths = np.maximum(np.round(step_mm / volume.spacing_mm[::-1]).astype(int), 1)
    return ndimage.uniform_filter(hu, size=tuple(widths)) if (widths > 1).any() else hu


def _upright(long_axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows x, y, z of the canonical frame of a long bone in LPS."""
    z = long_axis if long_axis[2] >= 0 else -long_axis
    back = np.array([0.0, 1.0, 0.0])
    if abs(z @ back) > 0.9:
        # The bone points to the front or back (a specimen on its end): its back cannot be the patient's, so it faces
        # head or feet.
        back = np.array([0.0, 0.0, -1.0]) * np.sign(z @ back)
    y = back - (back @ z) * z
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])
