"""Canonical pose: the same bone comes out the same way up, however it lay in the scanner."""

import numpy as np
import pytest
from scipy import ndimage

from boneprint import bone, drr
from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.simulate import Scanner, individual


def l_shaped_bar(rotation=None):
    """A bar of 100 mm along z with a foot to the patient's left at its lower end, turned about its middle."""
    hu = np.full((110, 40, 60), -1000, dtype=np.int16)
    hu[5:105, 17:23, 20:26] = 1000
    hu[5:11, 17:23, 26:44] = 1000
    affine = np.eye(4)
    affine[:3, 3] = [-30, -20, -55]
    if rotation is not None:
        affine[:3] = rotation @ affine[:3]
    return Volume(hu, affine)


def turn(axis, degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


@pytest.mark.parametrize("rotation", [np.eye(3), turn(0, 25), turn(1, 35), turn(0, -20) @ turn(1, 30)])
def test_a_leaning_bar_is_set_upright_with_its_foot_to_the_left(rotation):
    volume = l_shaped_bar(rotation)
    pose = bone.find_pose(volume)
    assert pose.long
    upright = bone.upright(volume, pose, 1.0)
    solid = upright.hu > 200
    foot = np.argwhere(solid[: solid.shape[0] // 5])
    rest = np.argwhere(solid[solid.shape[0] // 2 :])
    # The foot pulls the principal axis over by a few degrees.
    assert 98 < solid.any(axis=(1, 2)).sum() < 112
    assert foot[:, 2].max() > rest[:, 2].max() + 8, "the foot must lie at larger x: the patient's left"


def test_the_new_affine_keeps_patient_coordinates():
    volume = l_shaped_bar(turn(1, 20))
    upright = bone.upright(volume, bone.find_pose(volume), 0.8)
    before = volume.to_patient(np.argwhere(volume.hu > 200)[:, ::-1].astype(float)).mean(axis=0)
    after = upright.to_patient(np.argwhere(upright.hu > 200)[:, ::-1].astype(float)).mean(axis=0)
    assert after == pytest.approx(before, abs=0.3)
    assert np.linalg.det(upright.affine[:3, :3]) > 0


def test_a_ball_keeps_the_patients_axes():
    z, y, x = np.mgrid[-20:21, -20:21, -20:21]
    ball = Volume(np.where(x**2 + y**2 + z**2 < 225, 800, -1000).astype(np.int16), np.eye(4))
    pose = bone.find_pose(ball)
    assert not pose.long
    assert np.array_equal(pose.axes, np.eye(3))


def test_a_bone_that_points_to_the_front_is_still_set_upright():
    upright = bone.upright(l_shaped_bar(turn(0, 90)), bone.find_pose(l_shaped_bar(turn(0, 90))), 1.0)
    assert (upright.hu > 200).any(axis=(1, 2)).sum() > 95


def test_nothing_bony_is_refused():
    with pytest.raises(ReadError, match="expected a bone"):
        bone.find_pose(Volume(np.full((20, 20, 20), 40, np.int16), np.eye(4)))


def thick(volume, slices):
    """The same scan in slices that average so many of its own."""
    count = volume.hu.shape[0] // slices
    hu = volume.hu[: count * slices].astype(np.float32).reshape(count, slices, *volume.hu.shape[1:]).mean(axis=1)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (slices - 1) / 2
    affine[:3, 2] *= slices
    return Volume(np.rint(hu).astype(np.int16), affine)


def frontal(isolated, pose, step_mm, rows_mm, columns_mm):
    """The frontal view of a specimen at places (z, x) in the axes of a pose, mm."""
    upright = bone.upright(isolated, pose, step_mm)
    view = drr.bone_mu_per_mm(upright.hu, drr.ENROLMENT_ENERGY).sum(axis=1) * step_mm
    x, _, z = pose.axes @ upright.affine[:3, 3]
    places = np.meshgrid((rows_mm - z) / step_mm, (columns_mm - x) / step_mm, indexing="ij")
    return ndimage.map_coordinates(view, places, order=1)


@pytest.fixture(scope="module", params=["dry", "wet"])
def hip(request):
    """A hip bone, thin and leaning throughout, in slices of 1 mm; where its frontal view is taken, and that view."""
    flesh_mm = {"dry": 0.0, "wet": 26.0}[request.param]
    scan, _ = individual(77, 0, bone="hip").scan(Scanner((1.0, 1.0, 1.0), flesh_mm, blur_mm=0.6, noise_hu=18.0))
    isolated = bone.isolate(scan)
    pose = bone.find_pose(isolated)
    along = bone.extremes_mm(isolated, bone.BONY_HU) @ pose.axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    at = pose, 1.0, np.arange(low[2] + 10, high[2] - 10), np.arange(low[0] - 3, high[0] + 3)
    return request.param, scan, at, frontal(isolated, *at)


@pytest.mark.parametrize("slices", [3, 5])
def test_there_is_as_much_bone_between_thick_slices_as_in_them(hip, slices):
    """Rows of the view do not swing with the distance of the slices; by 10 to 15 % where air is taken for flesh."""
    _, scan, at, _ = hip
    rows_mm = at[2]
    amount = frontal(bone.isolate(thick(scan, slices)), *at).sum(axis=1)
    swing = amount - np.polyval(np.polyfit(rows_mm, amount, 6), rows_mm)
    window = np.hanning(len(rows_mm))
    swing = 2 * abs((window * swing * np.exp(2j * np.pi * rows_mm / slices)).sum()) / window.sum()
    assert swing < 0.02 * amount.mean()


@pytest.mark.parametrize(("slices", "most"), [(3, {"dry": 0.10, "wet": 0.04}), (5, {"dry": 0.20, "wet": 0.07})])
def test_a_view_of_thick_slices_agrees_with_that_of_thin_ones(hip, slices, most):
    """Both seen through one thick slice. Dry bone loses what it shares with air in a voxel."""
    state, scan, at, thin = hip
    view = frontal(bone.isolate(thick(scan, slices)), *at)
    difference = np.abs(ndimage.gaussian_filter1d(view - thin, slices / 2, axis=0)).sum() / thin.sum()
    assert difference < most[state]
