"""Many bodies looked at once each. Oracle: a ball, whose chords are known."""

import numpy as np
import pytest
import torch

from boneprint.drr import KeV, bone_mu_per_mm
from boneprint.drr.ensemble import Ensemble, Looks, Miniature
from boneprint.drr.geometry import turned_axes

RADIUS_MM, STEP_MM, SHELL_HU = 30.0, 1.5, 1200
TURNS = np.deg2rad([[0.0, 35.0, 200.0], [0.0, 4.0, -6.0], [0.0, 9.0, -20.0]])


def ball(centre_mm):
    """A ball of one HU within 1 mm steps from a centre, on a grid that is turned against its own axes."""
    size = 61
    affine = np.eye(4)
    affine[:3, :3] = STEP_MM * np.stack(turned_axes(0.3, 0.1, 0.2, np), axis=1)
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (size - 1) / 2)
    z, y, x = np.indices((size,) * 3)
    places = np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(places - centre_mm, axis=-1)
    # The share of a voxel within the ball, so that the ball is round.
    share = np.clip(0.5 - (distance - RADIUS_MM) / STEP_MM, 0, 1)
    return Miniature.of(-1000 + share * (SHELL_HU + 1000), affine, KeV(60), air_hu=-500)


@pytest.fixture(scope="module")
def bodies():
    return [ball(np.zeros(3)), ball(np.array([6.0, -4.0, 3.0]))]


def looks(nearness):
    axes = np.stack(turned_axes(*TURNS, np)).transpose(2, 0, 1)
    return Looks(axes, np.zeros((3, 3)), np.full(3, 2.0), np.full(3, nearness))


@pytest.mark.parametrize("nearness", [0.0, 1 / 800])
def test_paths_through_a_ball_are_its_chords(bodies, nearness):
    views = Ensemble(bodies).project(np.array([0, 0, 0]), looks(nearness), 61, 51).numpy()
    down, across = 2.0 * (np.arange(61) - 30)[:, None], 2.0 * (np.arange(51) - 25)[None, :]
    aside = np.hypot(down, across)
    # A ray that meets the plane of the centre at a distance passes the centre itself a little nearer.
    nearest = aside / np.sqrt(1 + (aside * nearness) ** 2)
    chord = 2 * np.sqrt(np.maximum(RADIUS_MM**2 - nearest**2, 0))
    mu = float(bone_mu_per_mm(np.array([SHELL_HU]), KeV(60))[0])
    inner = nearest < 0.9 * RADIUS_MM
    for view in views:
        # Whole voxels are in or out: a step at either end.
        for path in (view[1], view[0] / mu):
            assert np.abs(path - chord)[inner].max() < 2 * STEP_MM
            assert abs((path - chord)[inner].mean()) < STEP_MM
        assert view[0][nearest > RADIUS_MM + 3 * STEP_MM].max() < 1e-4


def test_each_view_is_of_its_own_body(bodies):
    views = Ensemble(bodies).project(np.array([1, 0, 1]), looks(0.0), 61, 51)
    alone = Ensemble(bodies[1:]).project(np.array([0, 0, 0]), looks(0.0), 61, 51)
    assert torch.equal(views[[0, 2]], alone[[0, 2]])
    assert not torch.equal(views[1], alone[1])


def test_marrow_is_inside_the_bone_but_no_bone():
    hu = np.full((20, 20, 20), -1000.0)
    hu[5:15, 5:15, 5:15] = -40.0
    box = Miniature.of(hu, np.eye(4), KeV(60), air_hu=-500)
    assert set(np.unique(box.levels)) == {0, 1}
    straight = Looks(np.array([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]]), np.full((1, 3), 9.5), np.ones(1), np.zeros(1))
    bone, inside = Ensemble([box]).project(np.array([0]), straight, 1, 1)[0, :, 0, 0].tolist()
    assert inside == pytest.approx(10.0)
    assert bone == pytest.approx(0.0, abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("nearness", [0.0, 1 / 800])
def test_a_gpu_sees_what_a_cpu_sees(bodies, nearness):
    here, there = (
        Ensemble(bodies, device).project(np.array([0, 1, 1]), looks(nearness), 61, 51).cpu()
        for device in ("cpu", "cuda")
    )
    scale = here.amax(dim=(0, 2, 3), keepdim=True)
    assert ((here - there).abs() / scale).mean() < 0.005
