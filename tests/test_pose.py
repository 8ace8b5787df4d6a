"""Canonical pose: the same bone comes out the same way up, however it lay in the scanner."""

import numpy as np
import pytest

from boneprint import bone
from boneprint.errors import ReadError
from boneprint.nouns import Volume


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
