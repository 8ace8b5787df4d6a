"""Views of upright specimens, and what protocols make of them, against analytic bodies."""

import numpy as np
import pytest
import torch

from boneprint import bone, drr, views
from boneprint.drr import KeV, tensor
from boneprint.embed import load_embedder
from boneprint.errors import BoneprintError
from boneprint.nouns import Volume

STEP = 0.5
ONE = drr.Detector(1, 1, STEP)


def sphere(radius_mm, centre_mm, size=(80, 80, 80)):
    """Share of each voxel within a ball; (Z, Y, X), centre about the grid's centre in x, y, z."""
    zyx = [(np.arange(n) - (n - 1) / 2) * STEP for n in size]
    z, y, x = np.meshgrid(*zyx, indexing="ij")
    cx, cy, cz = centre_mm
    distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
    return np.clip((radius_mm - distance) / STEP + 0.5, 0, 1).astype(np.float32)


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133, 270])
def test_a_ray_through_a_sphere_reads_the_chord(angle):
    (view,) = drr.turntable(sphere(12.0, (0, 0, 0)), STEP, [angle])
    rows = (np.arange(view.shape[0]) - (view.shape[0] - 1) / 2) * STEP
    columns = (np.arange(view.shape[1]) - (view.shape[1] - 1) / 2) * STEP
    chord = 2 * np.sqrt(np.maximum(12.0**2 - rows[:, None] ** 2 - columns[None, :] ** 2, 0))
    inside = chord > 8
    assert np.abs(view - chord)[inside].max() < 0.02 * 24
    assert view.sum() == pytest.approx(chord.sum(), rel=5e-3)


def test_a_slab_reads_thickness_over_cosine():
    slab = np.zeros((3, 40, 200), dtype=np.float32)
    slab[:, 10:30] = 1.0
    for angle in (0, 20, 40):
        (view,) = drr.turntable(slab, STEP, [angle])
        middle = view[1, view.shape[1] // 2]
        assert middle == pytest.approx(20 * STEP / np.cos(np.deg2rad(angle)), rel=5e-3)


def test_directions_and_sides_are_as_documented():
    # A marker to the patient's left (+x), at the back (+y) and near the head (+z).
    body = sphere(2.0, (10, 6, 14))
    frontal, lateral, behind = drr.turntable(body, STEP, [0, 90, 180])

    def centre(view):
        rows, columns = np.nonzero(view > view.max() / 2)
        middle = (view.shape[1] - 1) / 2
        return (rows.mean() - (view.shape[0] - 1) / 2) * STEP, (columns.mean() - middle) * STEP

    assert centre(frontal) == pytest.approx((-14, 10), abs=0.3)  # head up; the patient's left on the viewer's right
    assert centre(lateral) == pytest.approx((-14, 6), abs=0.3)  # the back on the viewer's right
    assert centre(behind) == pytest.approx((-14, -10), abs=0.3)


def test_opposite_views_are_mirror_images():
    rng = np.random.default_rng(1)
    body = rng.random((4, 21, 17)).astype(np.float32)
    front, back = drr.turntable(body, STEP, [25, 205])
    assert np.allclose(front, back[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("tilt_deg", [-20.0, 0.0, 6.0])
def test_a_source_nearer_the_head_sees_what_is_at_the_back_higher(tilt_deg):
    """Oracle: the middle of a ball, turned by hand; the picture holds all of a body that is deeper than tall."""
    x, y, z = 10.0, -14.0, 8.0
    body = sphere(2.0, (x, y, z))
    frontal, lateral = drr.turntable(body, STEP, [0, 90], tilts_deg=[tilt_deg])
    tilt = np.deg2rad(tilt_deg)
    for view, deep in ((frontal, y), (lateral, -x)):
        rows, _ = np.nonzero(view > view.max() / 2)
        down = (rows.mean() - (view.shape[0] - 1) / 2) * STEP
        assert down == pytest.approx(-z * np.cos(tilt) - deep * np.sin(tilt), abs=0.3)
    whole = np.ones((4, 40, 40), dtype=np.float32)
    (flat,) = drr.turntable(whole, STEP, [0], tilts_deg=[tilt_deg])
    assert flat.sum() * STEP**2 == pytest.approx(whole.sum() * STEP**3, rel=0.01)


def test_half_a_turn_of_tilted_views_is_a_whole_one_and_a_long_bone_has_none():
    """Oracle: every view projected by itself."""
    body = sphere(5, (3, 4, 2), (40, 41, 37))
    specimen = Volume(1000 * body, np.diag([STEP, STEP, STEP, 1.0]))
    for long, views_each in ((False, 108), (True, 36)):
        views = drr.views_of_grid(body, STEP, "ball", long=long)
        angles, tilts = drr.enrolment_directions(long=long)
        assert len(views) == len(angles) == views_each
        assert sorted(set(tilts.tolist())) == ([0.0] if long else [-6.0, 0.0, 6.0])
        for view, angle, tilt in zip(views, angles, tilts):
            (alone,) = drr.turntable(body, STEP, [angle], tilts_deg=[tilt])
            # Mirrored, slices are followed from their other end.
            np.testing.assert_allclose(view.pixels, alone, atol=0.4 if tilt else 1e-5)
        enrolled = drr.enrolment_views(specimen, "ball", long=long)
        for place in (0, 35, *([50, 107] if not long else [])):
            again = drr.enrolment_view(specimen, angles[place], tilts[place], "ball")
            np.testing.assert_array_equal(again.pixels, enrolled[place].pixels)
            assert again.view == enrolled[place].view
    assert (views[1].view, drr.views_of_grid(body, STEP, "", long=False)[37].view) == ("axis 010", "axis 010 tilt -06")


def test_projection_is_linear_and_air_is_free():
    rng = np.random.default_rng(2)
    body = rng.random((3, 20, 30)).astype(np.float32)
    padded = np.pad(body, [(0, 0), (15, 15), (15, 15)])
    width = drr.view_width(padded.shape)
    (alone,) = drr.turntable(body, STEP, [30], width=width)
    (in_air,) = drr.turntable(padded, STEP, [30], width=width)
    (double,) = drr.turntable(2 * body, STEP, [30], width=width)
    assert np.allclose(alone, in_air, atol=1e-4)
    assert np.allclose(double, 2 * alone, rtol=1e-5)


@pytest.mark.parametrize(("energy", "water", "bone"), [(KeV(60), 0.2059, 0.3148), (KeV(150), 0.1505, 0.1480)])
def test_forty_mm_of_water_and_ten_of_cortical_bone_obey_beer_and_lambert(energy, water, bone):
    hu = np.full((1, 140, 1), -1000.0, dtype=np.float32)
    hu[0, 20:100] = 0.0  # 40 mm
    hu[0, 100:120] = (1.92 - 1.03) / 0.0005886  # 10 mm of ICRU-44 cortical bone, 1.92 g/cm3
    (view,) = drr.turntable(drr.mu_per_mm(hu, energy), STEP, [0], width=1)
    nist = 40 * water * 1.0 / 10 + 10 * bone * 1.92 / 10
    assert np.exp(-view[0, 0]) == pytest.approx(np.exp(-nist), rel=5e-3)
    paths = drr.project(drr.Absorber.of(drr.own_axes(Volume(hu, np.diag([STEP, STEP, STEP, 1])))), [drr.Pose()], ONE)
    assert drr.Beam.monochromatic(energy).transmission(paths)[0, 0, 0] == pytest.approx(np.exp(-nist), rel=5e-3)


def test_an_empty_grid_and_no_angle_are_refused():
    with pytest.raises(BoneprintError, match="expected a non-empty"):
        drr.turntable(np.zeros((0, 4, 4), np.float32), STEP, [0])
    with pytest.raises(BoneprintError, match="at least one angle"):
        drr.turntable(np.zeros((2, 4, 4), np.float32), STEP, [])


def test_s1_joins_ap_and_ml_at_one_scale(coarse_scan):
    images = views.s1(coarse_scan, "test")
    first = next(images)
    assert first.pixels.shape == (800, 800)
    assert first.view == "axis-21_plane-21_kev140"
    assert first.spacing_mm == pytest.approx(560 / 800)
    assert 0 <= first.pixels.min() < first.pixels.max() <= 1
    for half in (first.pixels[:, :400], first.pixels[:, 400:]):
        tall = np.flatnonzero(half.max(axis=1) > 0.1)
        assert 380 < np.ptp(tall) * first.spacing_mm < 520


def test_enrolled_views_show_the_bone_alone_all_the_way_round(coarse_scan):
    pictures = views.enrolment(coarse_scan, "test")
    assert [picture.view for picture in pictures[:3]] == ["axis 000", "axis 010", "axis 020"]
    assert len(pictures) == 36
    for picture in pictures:
        assert (picture.pixels[:, :2] == 0).all(), "soft tissue would reach the border"


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_specimen_is_rendered_and_fingerprinted_without_leaving_the_device(coarse_scan, device):
    upright, pose = bone.stand_up(bone.isolate(coarse_scan))
    step = float(upright.spacing_mm[0])
    canvas = drr.canvas_of(upright, long=pose.long)
    embedder = load_embedder()
    expected = embedder.embed_views(drr.enrolment_views(upright, "test", long=pose.long), canvas)

    values = drr.bone_mu_per_mm(upright.hu, drr.ENROLMENT_ENERGY)
    body = drr.TensorAbsorber.of(drr.Absorber.of_values(values, drr.own_axes(upright).affine), device)
    detector = drr.Detector(upright.hu.shape[0], drr.view_width(upright.hu.shape), step)
    views = tensor.turntable(body, drr.ENROLMENT_ANGLES, detector)[:, 0]
    assert views.device.type == device
    vectors = embedder.embed_tensors(views, step, canvas)
    assert np.linalg.norm(vectors.cpu().numpy() - expected, axis=1).max() < 0.02


def test_a_volume_refuses_a_singular_affine_and_nan():
    with pytest.raises(BoneprintError, match="singular"):
        Volume(np.zeros((2, 2, 2), np.int16), np.zeros((4, 4)))
    with pytest.raises(BoneprintError, match="NaN"):
        Volume(np.full((2, 2, 2), np.nan, np.float32), np.eye(4))
