"""The outer surface of a bone from its CT, finer than a voxel, in one call.

A low threshold finds the whole bone, thin cortex too; what is inside it and what lies beside it goes. Then every vertex
moves along its normal to where the HU are halfway between the cortex there and what lies outside: a fixed threshold
would put the surface too far out where cortex is thick and dense, and too far in where it is thin.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

from boneprint.errors import BoneprintError
from boneprint.nouns import AIR_HU, Volume
from boneprint.shape.mesh import decimated, mended
from boneprint.shape.surface import FloatArray, Surface

# Spongy bone is at 100 to 300 HU, muscle and blood below 80 (Schneider 1996, table 1).
THRESHOLD_HU = 200.0
# Around the first surface the edge, and the cortex behind it, are looked for this far out and in, in voxels.
_OUT, _IN, _STEP = 1.5, 5.0, 0.25
_SMOOTH = 2  # rounds over neighbouring vertices: noise moves each one by itself, an edge moves them together


def surface_of(
    volume: Volume,
    *,
    threshold_hu: float = THRESHOLD_HU,
    halfway: bool = True,
    tolerance_mm: float | None = None,
    source: str = "CT",
) -> Surface:
    """The watertight outer surface of the largest bone in a volume.

    Parameters
    ----------
    volume : HU; best of one isolated bone. Of several that do not touch, the largest is taken
    threshold_hu : where bone begins
    halfway : refine each place to the edge's own half height; False: the iso-surface at the threshold, as S1 took it
    tolerance_mm : decimate as far as this root mean square distance allows; None: not at all

    Returns
    -------
    Surface, patient LPS mm

    Raises
    ------
    BoneprintError
        If nothing reaches the threshold.
    """
    field, outside_hu = _solid(volume, threshold_hu)
    # Beyond the picture is air, so that a bone that is cut off is closed there.
    padded = np.pad(field, 1, constant_values=AIR_HU)
    corners, faces, _, _ = marching_cubes(padded, level=threshold_hu)  # type: ignore[no-untyped-call]
    xyz = corners[:, ::-1].astype(np.float64) - 1
    faces = faces.astype(np.int64)
    if halfway:
        xyz = _at_half_height(field, xyz, faces, outside_hu)
    surface = Surface(volume.to_patient(xyz), faces, source)
    if surface.volume_mm3 < 0:
        surface = replace(surface, faces=surface.faces[:, ::-1])
    surface = mended(surface)
    return surface if tolerance_mm is None else decimated(surface, tolerance_mm=tolerance_mm)


def _solid(volume: Volume, threshold_hu: float) -> tuple[NDArray[np.float32], float]:
    """HU of the largest bone alone, its inside no less than usual bone; and what is usual around it."""
    hu = np.maximum(volume.hu.astype(np.float32), AIR_HU)
    labels, count = ndimage.label(hu >= threshold_hu)
    if not count:
        raise BoneprintError(
            f"CT: nothing reaches {threshold_hu:g} HU (brightest voxel {float(hu.max()):g}), expected a bone. "
            "Check that it is a CT in Hounsfield units, or lower the threshold."
        )
    sizes = np.bincount(labels.ravel())
    bone = labels == 1 + int(np.argmax(sizes[1:]))
    # Vessels' holes and cortex thinner than a voxel must not open the marrow to the outside.
    room = np.pad(bone, 3)
    closed = ndimage.binary_closing(room, iterations=2)
    inside = ndimage.binary_fill_holes(closed)
    for axis in range(3):
        inside |= np.stack([ndimage.binary_fill_holes(layer) for layer in np.moveaxis(inside, axis, 0)], axis=axis)
    core = ndimage.binary_erosion(inside)[3:-3, 3:-3, 3:-3]
    others = (labels > 0) & ~bone & ~core
    hu[ndimage.binary_dilation(others) & ~bone] = AIR_HU
    typical = float(np.median(hu[bone]))
    hu[core] = np.maximum(hu[core], typical)
    return hu, min(_around_hu(hu, bone | core), threshold_hu / 2)


def _around_hu(hu: NDArray[np.float32], bone: NDArray[np.bool_]) -> float:
    """What is usual around a bone: flesh, or the air around a dry one."""
    near = ndimage.binary_dilation(bone)
    for inner, outer, share in ((near, ndimage.binary_dilation(near), 0.5), (bone, near, 0.1)):
        around = hu[outer & ~inner]
        left = around[around > AIR_HU]
        # Where a bone was isolated its margin is narrow: what was cut away says nothing, and next to the bone only
        # the darkest voxels hold none of it.
        if len(left) > 0.2 * len(around):
            return float(np.quantile(left, share))
    return AIR_HU


def _at_half_height(
    hu: NDArray[np.float32], xyz: FloatArray, faces: NDArray[np.int64], outside_hu: float
) -> FloatArray:
    """Move each vertex along its normal to half the height of the edge it lies on."""
    crosses = np.cross(xyz[faces[:, 1]] - xyz[faces[:, 0]], xyz[faces[:, 2]] - xyz[faces[:, 0]])
    normals = np.zeros_like(xyz)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], crosses)
    inward = np.sign(np.einsum("ij,ij->", xyz[faces[:, 0]] - xyz.mean(axis=0), crosses))
    normals *= inward / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None]
    depths = np.arange(-_OUT, _IN + _STEP / 2, _STEP)  # from outside to inside
    profile = np.stack(
        [
            ndimage.map_coordinates(hu, (xyz - depth * normals)[:, ::-1].T, order=1, cval=AIR_HU, mode="constant")
            for depth in depths
        ],
        axis=1,
    )
    middle = round(_OUT / _STEP)
    # The first peak behind the edge is the cortex.
    inner = profile[:, middle:]
    rising = np.diff(inner, axis=1) > 0
    peak = np.where(rising.all(axis=1), inner.shape[1] - 1, np.argmin(rising, axis=1))
    cortex = np.take_along_axis(inner, peak[:, None], axis=1)[:, 0]
    level = 0.5 * (cortex + outside_hu)
    rows = np.arange(len(xyz))
    above = profile >= level[:, None]
    above[rows, middle + peak] = True
    first = np.argmax(above, axis=1)
    before = np.maximum(first - 1, 0)
    low, high = profile[rows, before], profile[rows, first]
    share = np.clip((level - low) / np.maximum(high - low, 1e-6), 0, 1)
    shift = depths[before] + share * (depths[first] - depths[before])
    for _ in range(_SMOOTH):
        shift = _averaged(shift, faces)
    return np.asarray(xyz - shift[:, None] * normals)


def _averaged(values: FloatArray, faces: NDArray[np.int64]) -> FloatArray:
    """Each vertex's value and its neighbours' in equal parts."""
    total, count = np.zeros_like(values), np.zeros_like(values)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        np.add.at(total, faces[:, a], values[faces[:, b]])
        np.add.at(count, faces[:, a], 1)
    return 0.5 * (values + total / np.maximum(count, 1))
