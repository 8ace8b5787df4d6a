"""Left stays left, front front and the head up, however a scanner has stored the grid; poses turn as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from boneprint import drr
from boneprint.drr import Absorber, Detector, GeometryError, Pose, Rays

# An L with a foot: bars along +x (left) 36 mm, +y (back) 24 mm, +z (head) 48 mm from one corner, each 12 mm thick.
BARS_MM = np.array([36.0, 24.0, 48.0])
THICK_MM = 12.0
# So soft that slices of 2.5 mm still hold them.
EDGE_MM = 5.0


def ell(points):
    """Share of 1 within the bars, for (..., 3) points in patient LPS mm; edges are soft."""
    inside = np.zeros(points.shape[:-1])
    for axis, long in enumerate(BARS_MM):
        upper = np.full(3, THICK_MM)
        upper[axis] = long
        depth = np.minimum(points + 10, upper - 10 - points).min(axis=-1)
        inside = np.maximum(inside, np.clip(depth / EDGE_MM + 0.5, 0, 1))
    return inside


def grid_of(directions, spacing_mm, flips=(1, 1, 1), shear=0.0):
    """The L on a grid with those axes (columns x, y, z in LPS)."""
    matrix = np.asarray(directions, float) * np.array(spacing_mm) * np.array(flips)
    matrix[:, 2] += shear * np.linalg.norm(matrix[:, 2]) * matrix[:, 1] / np.linalg.norm(matrix[:, 1])
    centre = np.array([4.0, 0.0, 10.0])
    size = np.ceil(np.abs(np.linalg.inv(matrix)) @ np.array([66.0, 66.0, 76.0])).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = centre - matrix @ ((size - 1) / 2)
    z, y, x = np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij")
    # The mean over each voxel, as a scanner would have it.
    share = np.zeros(x.shape)
    offsets = (np.arange(3) - 1) / 3
    for ox in offsets:
        for oy in offsets:
            for oz in offsets:
                points = np.stack([x + ox, y + oy, z + oz], axis=-1) @ matrix.T + affine[:3, 3]
                share += ell(points) / 27
    return Absorber.of_values(share.astype(np.float32), affine)


AXIAL = np.eye(3)
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)  # columns: x is back, y is feet, z is left
CORONAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
OBLIQUE = Rotation.from_euler("xyz", [25, -15, 40], degrees=True).as_matrix()

SERIES = {
    "axial, feet first": grid_of(AXIAL, (1, 1, 1), flips=(1, 1, -1)),
    "axial, prone: both in-plane axes turned round": grid_of(AXIAL, (1, 1, 1), flips=(-1, -1, 1)),
    "axial, a mirrored grid": grid_of(AXIAL, (1, 1, 1), flips=(-1, 1, 1)),
    "sagittal": grid_of(SAGITTAL, (1, 1, 1)),
    "coronal": grid_of(CORONAL, (1, 1, 1)),
    "oblique": grid_of(OBLIQUE, (1, 1, 1)),
    "gantry tilted by 18.5 degrees": grid_of(AXIAL, (1, 1, 1), shear=np.tan(np.deg2rad(18.5))),
    "pixels that are not square": grid_of(AXIAL, (0.7, 1.2, 1)),
    "thick slices": grid_of(AXIAL, (0.8, 0.8, 2.5)),
}
# Voxels of other sizes and places hold the edges otherwise.
LIMIT = {series: 0.06 if series == "thick slices" else 0.03 for series in SERIES}
POSES = [Pose(0), Pose(90), Pose(37, 20, 10), Pose(0, 85)]
BEAMS = [Detector(90, 90, 1.0), Detector(90, 90, 1.25, 1000.0, 800.0)]


@pytest.fixture(scope="module")
def upright_views():
    body = grid_of(AXIAL, (0.6, 0.6, 0.6))
    return [drr.project(body, POSES, detector)[:, 0] for detector in BEAMS]


def difference(one, two):
    return np.linalg.norm(one - two) / np.linalg.norm(two)


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("method", ["fast", "siddon"])
def test_however_the_grid_is_stored_the_picture_is_the_same_and_not_its_mirror(series, method, upright_views):
    body = SERIES[series]
    for detector, expected in zip(BEAMS, upright_views):
        for view, right in zip(drr.project(body, POSES, detector, method=method)[:, 0], expected):
            # Siddon's voxels have corners, which show.
            assert difference(view, right) < LIMIT[series] * (2 if method == "siddon" else 1)
            assert difference(view[:, ::-1], right) > 0.5
            assert difference(view[::-1], right) > 0.5


@pytest.mark.parametrize("series", SERIES)
def test_the_tensor_projector_agrees_on_every_grid(series, upright_views):
    body = drr.TensorAbsorber.of(SERIES[series], "cpu")
    for detector, expected in zip(BEAMS, upright_views):
        for view, right in zip(drr.project(body, POSES, detector)[:, 0].numpy(), expected):
            assert difference(view, right) < LIMIT[series]


def test_bars_point_where_the_patient_has_them():
    body = grid_of(AXIAL, (1, 1, 1))
    frontal, lateral = drr.project(body, [Pose(0), Pose(90)], Detector(101, 101, 1.0))[:, 0]

    def reach(view):
        rows, columns = np.nonzero(view > 1)
        return 50 - rows.min(), rows.max() - 50, 50 - columns.min(), columns.max() - 50

    up, down, left, right = reach(frontal)
    assert (up, right) == pytest.approx((38, 26), abs=2)  # to the head; to the patient's left on the viewer's right
    assert (down, left) == pytest.approx((10, 10), abs=2)
    up, _, left, right = reach(lateral)
    assert (up, right, left) == pytest.approx((38, 14, 10), abs=2)  # the back on the viewer's right


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-180, 180), st.floats(-60, 60), st.floats(-180, 180),
    st.tuples(*[st.floats(-20, 20)] * 3), st.booleans(),
)  # fmt: skip
def test_a_point_is_seen_where_rotations_put_it(axis, tilt, in_plane, point, cone):
    detector = Detector(65, 65, 2.0, 1000.0, 700.0) if cone else Detector(65, 65, 2.0)
    pose = Pose(axis, tilt, in_plane, (3.0, -2.0, 5.0))
    # The body turns the other way before a camera that stands still, AP.
    turned = Rotation.from_euler("z", -axis, degrees=True).apply(np.array(point))
    turned = Rotation.from_euler("x", tilt, degrees=True).apply(turned)
    turned = Rotation.from_euler("y", -in_plane, degrees=True).apply(turned)
    zoom = 1000.0 / (700.0 + turned[1]) if cone else 1.0
    column, row = zoom * turned[0] / 2 + 32, -zoom * turned[2] / 2 + 32

    rays = Rays.of(pose, detector)
    seen = rays.first_mm + column * rays.column_step_mm + row * rays.row_step_mm
    place = np.array(point) + pose.centre_mm
    way = rays.beam if rays.source_mm is None else seen - rays.source_mm
    apart = np.cross(place - seen, way / np.linalg.norm(way))
    assert np.linalg.norm(apart) < 1e-6


def test_turning_the_detector_turns_the_picture():
    body = grid_of(AXIAL, (1, 1, 1))
    for detector in (Detector(81, 81, 1.0), Detector(81, 81, 1.2, 1000.0, 800.0)):
        straight, quarter = drr.project(body, [Pose(20), Pose(20, 0, 90)], detector)[:, 0]
        assert difference(np.rot90(straight), quarter) < 1e-2


def test_a_detector_that_holds_points_shows_all_of_them():
    body = grid_of(AXIAL, (1, 1, 1))
    solid = np.argwhere(body.levels[0])
    corners = solid @ body.affine[:3, :3].T + body.affine[:3, 3]
    for distances in ({}, {"source_detector_mm": 600.0, "source_isocentre_mm": 400.0}):
        detector = Detector.holding(corners, Pose(30, 10, 5), 1.0, **distances)
        assert detector.spacing_mm == pytest.approx(1.0)
        (view,) = drr.project(body, [Pose(30, 10, 5)], detector)[:, 0]
        border = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
        assert border.max() < 0.1 * view.max()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Pose(float("nan")), "finite angles"),
        (lambda: Detector(0, 5, 1.0), "expected some, larger than 0"),
        (lambda: Detector(5, 5, 0.0), "0.0 mm"),
        (lambda: Detector(5, 5, 1.0, 1000.0), "or neither"),
        (lambda: Detector(5, 5, 1.0, 800.0, 1000.0), "source_isocentre_mm < source_detector_mm"),
        (lambda: Detector(5, 5, 1.0, offset_mm=(float("nan"), 0.0)), "two finite numbers"),
    ],
)
def test_what_cannot_stand_is_refused(make, words):
    with pytest.raises(GeometryError, match=words):
        make()
