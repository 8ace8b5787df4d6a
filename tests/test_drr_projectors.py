"""Projectors against analytic bodies, against Siddon, and against each other."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from boneprint import drr
from boneprint.drr import Absorber, Detector, GeometryError, Pose, Rays, TensorAbsorber, siddon
from boneprint.errors import BoneprintError
from boneprint.nouns import Volume

SOURCE = {"source_detector_mm": 1000.0, "source_isocentre_mm": 850.0}
POSES = [Pose(), Pose(17), Pose(90), Pose(20, 10, 5), Pose(30, 0, 30), Pose(40, 35, 20), Pose(0, 80), Pose(45, 40, 45)]


def centred(shape, spacing_mm):
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * np.array(spacing_mm)
    return affine


def places(shape, spacing_mm):
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm[::-1])]
    return np.meshgrid(*axes, indexing="ij")


def ball(radius_mm=20.0, step=0.5, size=100):
    """Every voxel holds the share of it that lies in the ball, from 5 points a side."""
    z, y, x = places((size,) * 3, (step,) * 3)
    share = np.zeros((size,) * 3)
    offsets = (np.arange(5) - 2) * step / 5
    for oz in offsets:
        for oy in offsets:
            for ox in offsets:
                share += (x + ox) ** 2 + (y + oy) ** 2 + (z + oz) ** 2 <= radius_mm**2
    return Absorber.of_values((share / 125).astype(np.float32), centred(share.shape, (step,) * 3))


def bone_in_flesh(shape=(120, 96, 96), step=1.0):
    """An asymmetric limb: an ellipsoid with a hollow shaft and a knob; smooth on the scale of a voxel."""
    z, y, x = places(shape, (step,) * 3)
    flesh = (x / 40) ** 2 + (y / 33) ** 2 + (z / 70) ** 4 < 1
    axis = np.hypot(x - 8, y + 5)
    bone = ((axis < 14) & (axis > 8) & (np.abs(z) < 45)) | ((x - 18) ** 2 + (y + 5) ** 2 + (z - 30) ** 2 < 17**2)
    values = ndimage.gaussian_filter(0.02 * flesh + 0.03 * bone, 2.0)
    return Absorber.of_values(values.astype(np.float32), centred(shape, (step,) * 3))


@pytest.fixture(scope="module")
def limb():
    return bone_in_flesh()


@pytest.fixture(scope="module")
def sphere():
    return ball()


def difference(one, two):
    return np.linalg.norm(one - two) / np.linalg.norm(two)


def chords(detector, pose, radius_mm):
    """Length of every ray in a ball about the origin, from the distance of the ray to it."""
    rays = Rays.of(pose, detector)
    row, column = np.mgrid[: detector.rows, : detector.columns]
    pixels = rays.first_mm + column[..., None] * rays.column_step_mm + row[..., None] * rays.row_step_mm
    way = np.broadcast_to(rays.beam, pixels.shape) if rays.source_mm is None else pixels - rays.source_mm
    way = way / np.linalg.norm(way, axis=-1, keepdims=True)
    apart = np.linalg.norm(np.cross(pixels, way), axis=-1)
    return 2 * np.sqrt(np.maximum(radius_mm**2 - apart**2, 0))


@pytest.mark.parametrize("distances", [{}, SOURCE], ids=["parallel", "cone"])
@pytest.mark.parametrize("projector", ["fast", "siddon", "tensor"])
def test_a_sphere_casts_the_analytic_chord(sphere, projector, distances):
    detector = Detector(90, 90, 0.6, **distances)
    body = TensorAbsorber.of(sphere, "cpu") if projector == "tensor" else sphere
    method = {} if projector == "tensor" else {"method": projector}
    for pose in (Pose(), Pose(33, 12, 7)):
        view = np.asarray(drr.project(body, [pose], detector, **method)[0, 0])
        expected = chords(detector, pose, 20.0)
        # Two voxels from the rim on; closer no grid of voxels holds the sphere.
        inside = expected > chord_at(19.0)
        # Siddon's voxels have corners of their own.
        assert difference(view[inside], expected[inside]) < (1.3e-2 if projector == "siddon" else 5e-3)
        assert view.sum() == pytest.approx(expected.sum(), rel=5e-3)


def chord_at(distance_mm, radius_mm=20.0):
    return 2 * np.sqrt(radius_mm**2 - distance_mm**2)


@pytest.mark.parametrize("projector", ["fast", "siddon", "tensor"])
def test_a_slab_reads_its_thickness_over_the_cosine_of_the_ray(projector):
    slab = Absorber.of_values(np.ones((40, 16, 120), np.float32), centred((40, 16, 120), (1, 1, 1)))
    body = TensorAbsorber.of(slab, "cpu") if projector == "tensor" else slab
    method = {} if projector == "tensor" else {"method": projector}
    detector = Detector(9, 9, 1.0, **SOURCE)
    for pose in (Pose(), Pose(25), Pose(0, 20), Pose(15, 10, 30)):
        view = np.asarray(drr.project(body, [pose], detector, **method)[0, 0])
        rays = Rays.of(pose, detector)
        row, column = np.mgrid[:9, :9]
        way = rays.first_mm + column[..., None] * rays.column_step_mm + row[..., None] * rays.row_step_mm
        way = way - rays.source_mm
        cosine = np.abs(way[..., 1]) / np.linalg.norm(way, axis=-1)
        assert difference(view, 16 / cosine) < 5e-3


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 180), st.floats(-80, 80), st.tuples(*[st.floats(-6, 6)] * 3), st.booleans())
@example(0.0, 0.0, (1.9, 0.0, 0.0), False)  # a ray within a face of the box: both in it and beside it
def test_siddon_measures_the_way_through_a_box_of_ones(axis, tilt, centre, cone):
    shape, spacing = (7, 5, 6), (1.3, 0.9, 2.1)
    affine = centred(shape, spacing)
    rays = Rays.of(Pose(axis, tilt, 0.0, centre), Detector(3, 3, 2.0, **(SOURCE if cone else {})))
    grid = np.ones((*shape[::-1], 1))
    (view,) = siddon.integrate(grid, affine, rays)
    half = np.array(spacing) * shape[::-1] / 2
    for row in range(3):
        for column in range(3):
            end = rays.first_mm + column * rays.column_step_mm + row * rays.row_step_mm
            way = 4000 * rays.beam if rays.source_mm is None else end - rays.source_mm
            start = end - way / 2 if rays.source_mm is None else rays.source_mm
            least, most = (
                share_within(start, way, half * scale) * np.linalg.norm(way) for scale in (1 - 1e-9, 1 + 1e-9)
            )
            assert least - 1e-6 <= view[row, column] <= most + 1e-6


def share_within(start, way, half):
    """How much of a way lies in a box about the origin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.stack([(-half - start) / way, (half - start) / way]), axis=0)
    return max(0.0, min(1.0, np.nanmin(ends[1])) - max(0.0, np.nanmax(ends[0])))


@pytest.fixture(scope="module")
def fine_limb():
    return bone_in_flesh((240, 192, 192), 0.5)


@pytest.mark.parametrize("pose", POSES, ids=str)
def test_the_fast_projector_agrees_with_siddon(fine_limb, pose):
    # The bars: cone 0.6 %, parallel 1 %. Parallel rays that stay in one layer of voxels, but not at its middle, meet
    # Siddon's steps between layers, where Joseph's method interpolates: only there the oracle is the coarser one.
    in_a_layer = pose in (Pose(30, 0, 30), Pose(0, 80))
    for detector, limit in (
        (Detector(280, 220, 0.55, **SOURCE), 0.006),
        (Detector(240, 200, 0.5), 0.016 if in_a_layer else 0.010),
    ):
        fast = drr.project(fine_limb, [pose], detector)[0, 0]
        assert difference(fast, drr.project(fine_limb, [pose], detector, method="siddon")[0, 0]) < limit


@pytest.mark.parametrize("pose", POSES, ids=str)
def test_the_tensor_projector_agrees_with_the_fast_one(limb, pose):
    body = TensorAbsorber.of(limb, "cpu")
    for detector in (Detector(140, 110, 1.1, **SOURCE), Detector(120, 100, 1.0)):
        fast = drr.project(limb, [pose], detector)[0, 0]
        assert difference(fast, drr.project(body, [pose], detector)[0, 0].numpy()) < 0.005


def test_a_dense_body_without_air_is_as_exact():
    shape = (60, 50, 56)
    values = ndimage.gaussian_filter(np.random.default_rng(3).random(shape), 2.0)
    body = Absorber.of_values(values.astype(np.float32), centred(shape, (1.0, 1.0, 1.0)))
    detector = Detector(40, 40, 1.0, **SOURCE)  # within the body's shadow: no edge
    for pose in POSES[:6]:
        fast, exact = (drr.project(body, [pose], detector, method=method) for method in ("fast", "siddon"))
        assert difference(fast, exact) < 0.006


def test_gradients_in_the_pose_are_those_of_finite_differences(limb):
    body = TensorAbsorber.of(limb, "cpu")
    detector = Detector(60, 48, 2.4, **SOURCE)
    rng = np.random.default_rng(5)
    weights = torch.from_numpy(ndimage.gaussian_filter(rng.standard_normal((60, 48)), 3)).float()

    def score(parameters):
        return (drr.project(body, parameters, detector)[0, 0] * weights).sum()

    start = torch.tensor([[17.0, 5.0, 8.0, 1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    score(start).backward()
    for number, step in enumerate([0.2, 0.2, 0.2, 0.1, 0.1, 0.1]):
        move = torch.zeros(1, 6, dtype=torch.float64)
        move[0, number] = step
        with torch.no_grad():
            slope = (score(start + move) - score(start - move)) / (2 * step)
        assert float(start.grad[0, number]) == pytest.approx(float(slope), rel=0.05, abs=0.02)


def test_a_pose_is_found_again_by_its_gradient(limb):
    body = TensorAbsorber.of(limb, "cpu")
    detector = Detector(48, 40, 3.0, **SOURCE)
    with torch.no_grad():
        target = drr.project(body, [Pose(12.0, 4.0, -3.0)], detector)
    guess = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([guess], lr=1, max_iter=30, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        apart = ((drr.project(body, guess, detector) - target) ** 2).mean() + 1e-6 * (guess[0, 3:] ** 2).sum()
        apart.backward()
        return apart

    optimiser.step(loss)
    assert guess[0, :3].tolist() == pytest.approx([12.0, 4.0, -3.0], abs=0.3)


def test_materials_are_path_lengths_in_mm_and_metal_is_one_of_them():
    hu = np.full((20, 40, 20), -1000, dtype=np.int16)
    hu[:, 5:15] = 55  # 10 mm of muscle
    hu[:, 20:23] = 1512  # 3 mm of cortical bone, 1.92 g/cm3
    hu[:, 30:34] = 3071  # 4 mm of an implant
    body = Absorber.of(Volume(hu, centred(hu.shape, (1, 1, 1))), metal_hu=2800)
    (paths,) = drr.project(body, [Pose()], Detector(3, 3, 1.0))
    assert paths[:, 1, 1] == pytest.approx([10.0, 3.0, 4.0], rel=0.02)
    as_floats = Absorber.of(Volume(hu.astype(np.float32), centred(hu.shape, (1, 1, 1))), metal_hu=2800)
    assert np.allclose(paths, drr.project(as_floats, [Pose()], Detector(3, 3, 1.0))[0], atol=2e-3)


@pytest.mark.parametrize("padding", [-1000, -1024, -2000, -3024, -32768])
def test_air_and_padding_are_nothing(padding):
    hu = np.full((4, 4, 4), padding, dtype=np.int16)
    assert not drr.project(Absorber.of(Volume(hu, np.eye(4))), [Pose(30)], Detector(8, 8, 1.0)).any()


def test_a_detector_that_misses_the_body_sees_nothing(limb):
    aside = Detector(20, 20, 1.0, **SOURCE, offset_mm=(500.0, 0.0))
    assert not drr.project(limb, POSES, aside).any()
    assert not drr.project(limb, POSES[:3], aside, method="siddon").any()
    assert not drr.project(TensorAbsorber.of(limb, "cpu"), POSES[:3], aside).any()


@pytest.mark.parametrize("projector", ["fast", "siddon", "tensor"])
@pytest.mark.parametrize(
    ("detector", "words"),
    [
        (Detector(9, 9, 1.0, 1000.0, 20.0), "inside or beside"),
        (Detector(9, 9, 1.0, 1000.0, 980.0), "behind the detector"),
    ],
)
def test_a_source_in_the_body_and_a_body_behind_the_detector_are_refused(limb, projector, detector, words):
    body = TensorAbsorber.of(limb, "cpu") if projector == "tensor" else limb
    method = {} if projector == "tensor" else {"method": projector}
    with pytest.raises(GeometryError, match=words):
        drr.project(body, [Pose()], detector, **method)


def test_a_beam_that_opens_along_the_slices_is_refused(limb):
    wide = Detector(101, 801, 20.0, 1000.0, 900.0)
    for body in (limb, TensorAbsorber.of(limb, "cpu")):
        with pytest.raises(GeometryError, match="opens so wide"):
            drr.project(body, [Pose()], wide)


def test_nan_an_empty_grid_and_a_singular_affine_are_refused():
    with pytest.raises(BoneprintError, match="all finite"):
        Absorber.of_values(np.full((2, 2, 2), np.nan), np.eye(4))
    with pytest.raises(BoneprintError, match="non-empty"):
        Absorber.of_values(np.zeros((0, 2, 2)), np.eye(4))
    with pytest.raises(BoneprintError, match="singular"):
        Absorber.of_values(np.ones((2, 2, 2)), np.diag([1.0, 1.0, 0.0, 1.0]))


def test_a_single_voxel_and_a_single_slice_can_be_projected():
    for shape in ((1, 1, 1), (1, 5, 5), (5, 1, 5), (5, 5, 1)):
        body = Absorber.of_values(np.ones(shape), centred(shape, (2.0, 2.0, 2.0)))
        for pose in (Pose(), Pose(90), Pose(0, 90)):
            fast = drr.project(body, [pose], Detector(21, 21, 1.0))
            exact = drr.project(body, [pose], Detector(21, 21, 1.0), method="siddon")
            assert fast.sum() == pytest.approx(exact.sum(), rel=0.12)


def test_many_threads_may_render_at_once_and_get_what_one_gets(limb):
    detector = Detector(60, 50, 2.0, **SOURCE)
    alone = [drr.project(limb, [pose], detector) for pose in POSES]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda pose: drr.project(limb, [pose], detector), POSES * 3))
    for view, expected in zip(together, alone * 3):
        assert np.array_equal(view, expected)
