"""S1's joined images: each is what a renderer without any of the short cuts would make."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from boneprint import drr
from boneprint.drr import Absorber, Beam, Detector, Pose, TensorAbsorber, s1, tensor_s1
from boneprint.nouns import Canvas, Volume

CANVAS = Canvas(140.0, 70.0)


@pytest.fixture(scope="module")
def body():
    z, y, x = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in (120, 56, 60)], indexing="ij")
    shaft = np.hypot(x - 3, y + 2) < 9
    knob = (x - 9) ** 2 + (y + 3) ** 2 + (z - 35) ** 2 < 15**2
    flesh = (x / 26) ** 2 + (y / 24) ** 2 < 1
    hu = ndimage.gaussian_filter(np.where(shaft | knob, 1200.0, np.where(flesh, 40.0, -1000.0)), 1.0)
    return Absorber.of(drr.own_axes(Volume(hu.astype(np.float32), np.eye(4))))


def plain(body, axis, in_plane, energy):
    """Two views at 400 x 800 turned by the detector itself, one energy, blurred last, side by side."""
    detector = Detector(800, 400, s1.pitch_mm(CANVAS))
    halves = []
    for side in (0, 90):
        paths = drr.project(body, [Pose(axis + side, 0.0, in_plane)], detector)[0]
        absorbed = 1 - Beam.monochromatic(energy).transmission(paths)
        halves.append(ndimage.gaussian_filter(absorbed, 1.0, mode="constant"))
    return np.concatenate(halves, axis=1)


def test_there_are_900_images_each_that_of_its_pose_and_energy(body):
    looked_at = {0: 0, 7 * 15 + 7: 2, 224: 3}
    count = 0
    for number, joined in enumerate(s1.joined_images(body, CANVAS)):
        assert joined.pictures.shape == (4, 800, 800)
        brightest = joined.pictures[:, ::8].max(axis=(1, 2))
        assert brightest[-1] > 0
        assert brightest[0] < 1
        assert (np.diff(brightest) < 0).all(), "higher energies are absorbed less"
        count += len(joined.pictures)
        if number in looked_at:
            energy = looked_at[number]
            expected = plain(body, joined.axis_deg, joined.in_plane_deg, s1.ENERGIES[energy])
            assert np.linalg.norm(joined.pictures[energy] - expected) / np.linalg.norm(expected) < 0.01
    assert (joined.axis_deg, joined.in_plane_deg) == (21.0, 21.0)
    assert count == drr.S1_IMAGES == 900


def test_a_body_at_the_pictures_edge_is_cut_there_and_nowhere_else():
    block = Absorber.of(drr.own_axes(Volume(np.full((300, 100, 100), 50, np.int16), np.eye(4))))
    joined = next(s1.joined_images(block, CANVAS))
    assert (joined.pictures[0] > 0.1).all(), "the block covers the canvas, border and all"


def test_nothing_gives_background():
    air = Absorber.of(drr.own_axes(Volume(np.full((8, 8, 8), -1000, np.int16), np.eye(4))))
    assert not any(joined.pictures.any() for joined in itertools.islice(s1.joined_images(air, CANVAS), 3))


def test_the_device_makes_the_same_pictures(body):
    on_cpu = s1.joined_images(body, CANVAS)
    on_device = tensor_s1.joined_images(TensorAbsorber.of(body, "cpu"), CANVAS)
    batch = next(on_device)
    assert batch.pictures.shape == (15, 4, 800, 800)
    for number, joined in enumerate(itertools.islice(on_cpu, 15)):
        assert (joined.axis_deg, joined.in_plane_deg) == (batch.axis_deg, s1.ANGLES_DEG[number])
        # The device develops every energy by its own; the CPU blends the middle two.
        assert np.abs(joined.pictures - batch.pictures[number].numpy()).max() < 2e-4
