"""Surfaces from CT, shape models of them, and models fitted to radiographs."""

import json
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import COARSE, COHORT_SEED

from boneprint import bone, drr, views
from boneprint.cli import main
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Radiograph, Volume
from boneprint.shape import (
    Distances,
    ShapeModel,
    Surface,
    Template,
    build_model,
    compare,
    decimated,
    fit_model,
    read_model,
    read_surface,
    registered,
    surface_of,
    write_model,
    write_surface,
)
from boneprint.shape.mesh import oddities
from boneprint.shape.starts import starts
from boneprint.shape.thickness import thickness
from boneprint.simulate import Scanner, individual

FEW = 500  # vertices of a template, so that a test takes seconds


def femur(index, seed=18):
    return Surface(*individual(seed, index, laterality="R").surface(step_mm=5.0), f"femur {index}")


@pytest.fixture(scope="module")
def femora():
    return [femur(index) for index in range(6)]


@pytest.fixture(scope="module")
def model(femora):
    return build_model(femora, bone="femur", vertices=FEW)


def sphere(radius_mm=20.0, voxel_mm=1.0):
    axis = np.arange(-30, 31) * voxel_mm
    away = np.sqrt((axis[:, None, None] ** 2) + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return axis, away - radius_mm * voxel_mm


def ct(signed, axis, cortex_mm=4.0):
    """A shell of cortex around marrow, in flesh, with partial volume at its faces."""
    step = axis[1] - axis[0]
    bony, marrow = np.clip(0.5 - signed / step, 0, 1), np.clip(0.5 - (signed + cortex_mm) / step, 0, 1)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = axis[0]
    return Volume((55 * (1 - bony) + 1400 * (bony - marrow) - 40 * marrow).astype(np.float32), affine)


def test_a_hollow_ball_has_one_closed_surface_at_its_radius():
    axis, signed = sphere()
    found = surface_of(ct(signed, axis))
    assert np.linalg.norm(found.vertices, axis=1) == pytest.approx(20.0, abs=0.25)
    assert oddities(found) == []
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)


def test_a_neighbouring_bone_is_left_out():
    axis, signed = sphere(radius_mm=12.0)
    both = ct(signed, axis)
    both.hu[:6, 25:36, 25:36] = 1200.0  # a block 12 mm from the ball, and smaller
    found = surface_of(both)
    assert np.abs(found.vertices[:, 2]).max() < 13.0
    assert oddities(found) == []


def test_the_surface_of_a_simulated_femur_is_within_a_quarter_of_a_voxel():
    body = individual(COHORT_SEED, 0, laterality="R")
    volume, to_patient = body.scan(Scanner((1.5, 1.5, 1.5), soft_tissue_mm=20.0, blur_mm=0.7, noise_hu=12.0))
    truth = Surface(*body.surface(to_patient))
    found = surface_of(bone.isolate(volume))
    assert oddities(found) == []
    assert max(Distances.between(found, truth).rms_mm, Distances.between(truth, found).rms_mm) <= 0.25 * 1.5


def test_nothing_bony_is_said_to_be_so():
    with pytest.raises(BoneprintError, match="nothing reaches 200 HU"):
        surface_of(Volume(np.full((20, 20, 20), 40, dtype=np.int16), np.eye(4)))


def test_decimation_keeps_to_its_tolerance(femora):
    fewer = decimated(femora[0], tolerance_mm=0.2)
    assert len(fewer.faces) < 0.6 * len(femora[0].faces)
    assert Distances.between(femora[0], fewer).rms_mm <= 0.2


def test_a_template_takes_the_shape_of_another_bone(femora):
    template = Template.of(femora[0], FEW)
    bent = registered(template, femora[1])
    assert np.array_equal(bent.faces, template.surface.faces)
    # Its edges are 12 mm long: between its corners it cuts off up to a millimetre.
    assert Distances.between(bent, femora[1]).rms_mm < 1.0
    assert Distances.between(femora[0], femora[1]).rms_mm > 2.0


def test_a_model_holds_what_it_was_learnt_from(model):
    for shape in model.shapes:
        again = model.surface(model.coefficients(shape)).vertices
        assert again == pytest.approx(shape, abs=1e-6)
    basis = model.modes.reshape(len(model.modes), -1)
    assert basis @ basis.T == pytest.approx(np.eye(len(basis)), abs=1e-9)


def test_more_modes_hold_more_and_miss_less(model):
    assert model.compactness[-1] == pytest.approx(1.0)
    assert (np.diff(model.compactness) >= 0).all()
    assert (np.diff(model.generalisation()) <= 1e-9).all()
    assert (model.specificity() > 0).all()


def test_what_a_model_misses_is_the_last_of_its_generalisation(model):
    assert model.missed_mm() == pytest.approx(model.generalisation()[-1], rel=1e-4)


def test_a_loosened_model_bends_as_its_own_does_not_but_moves_no_bone_as_a_whole(model, femora):
    loose = model.loosened(2.0)
    basis = loose.modes.reshape(len(loose.modes), -1)
    assert basis @ basis.T == pytest.approx(np.eye(len(basis)), abs=1e-9)
    # All that it knew is still there, as strong as it was.
    for mode, deviation in zip(model.modes, model.deviations_mm):
        share = loose.deviations_mm * (basis @ mode.ravel())
        assert np.linalg.norm(share) >= 0.999 * deviation
    added = (loose.deviations_mm**2).sum() - (model.deviations_mm**2).sum()
    assert 1.2 < np.sqrt(added / len(model.mean)) < 2.0  # less what would move it as a whole
    stranger = registered(Template(Surface(model.mean, model.faces)), femur(0, seed=77)).vertices

    def missed(by):
        own = by.surface(by.coefficients(by.laid(stranger)))
        return np.sqrt(((own.vertices - by.laid(stranger)) ** 2).sum(axis=1).mean())

    assert missed(loose) < 0.7 * missed(model)
    shift = np.broadcast_to([1.0, 0.0, 0.0], model.mean.shape).ravel() / np.sqrt(len(model.mean))
    assert np.linalg.norm(basis @ shift) < 1e-6


def test_a_model_without_its_shapes_cannot_say_what_it_misses(model):
    with pytest.raises(BoneprintError, match="not known"):
        replace(model, shapes=model.shapes[:0]).loosened()


def test_a_bone_is_found_in_the_whole_picture_and_not_only_where_its_shaft_fits(model):
    """The limb's own ends, and a shaft that fits anywhere along itself, led poses half a bone away."""
    body = individual(18, 2, laterality="R")
    volume, _ = body.scan(COARSE)
    picture = views.natural(volume, angle_deg=8.0, in_plane_deg=-9.0, seed=4)
    airy = replace(picture, pixels=np.pad(picture.pixels, ((0, 90), (0, 60)), constant_values=picture.pixels.min()))
    mean = [np.zeros(len(model.modes))]
    (middle,), (higher,) = (starts(model, [each], [0.0], mean, 1, within_deg=24.0)[0].views for each in (picture, airy))
    assert middle.in_plane_deg == pytest.approx(-9.0, abs=4.5)
    assert np.hypot(middle.right_mm, middle.down_mm) < 20.0
    assert higher.in_plane_deg == pytest.approx(middle.in_plane_deg)
    # Nearly half of the picture is air, and the bone is not in its middle.
    assert higher.down_mm - middle.down_mm == pytest.approx(-45 * picture.known_spacing_mm(), abs=7.0)
    assert higher.right_mm - middle.right_mm == pytest.approx(-30 * picture.known_spacing_mm(), abs=7.0)


def test_the_modes_of_a_known_family_are_found():
    ball = Surface(*_icosphere(200))
    long, wide = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    rng = np.random.default_rng(1)
    amounts = rng.normal(0, [3.0, 1.0], (40, 2))
    stretch = ball.vertices / 20
    shapes = np.stack([ball.vertices + a * stretch * long + b * stretch * wide for a, b in amounts])
    found = ShapeModel.learnt(shapes, ball.faces)
    assert found.compactness[1] > 0.999
    first = found.modes[0] / np.linalg.norm(found.modes[0])
    expected = stretch * long / np.linalg.norm(stretch * long)
    assert abs((first * expected).sum()) > 0.99


def _icosphere(count):
    from scipy.spatial import ConvexHull

    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    z = 1 - 2 * (np.arange(count) + 0.5) / count
    points = 20 * np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    faces = ConvexHull(points).simplices
    a, b, c = points[faces].transpose(1, 0, 2)
    inward = np.einsum("ij,ij->i", a, np.cross(b - a, c - a)) < 0
    faces[inward] = faces[inward, ::-1]
    return points, faces


def test_a_model_survives_its_file_in_the_layout_of_statismo(tmp_path, model):
    write_model(tmp_path / "femur.h5", model)
    again = read_model(tmp_path / "femur.h5")
    assert again.bone == "femur"
    assert again.surface(np.ones(2)).vertices == pytest.approx(model.surface(np.ones(2)).vertices, abs=1e-3)
    with h5py.File(tmp_path / "femur.h5") as file:
        assert file["model/pcaBasis"].shape == (model.mean.size, len(model.modes))
        assert file["representer/cells"].shape == (3, len(model.faces))


def test_what_is_no_model_is_refused(tmp_path, femora):
    (tmp_path / "no.h5").write_text("nothing")
    with pytest.raises(ReadError, match="not a shape model"):
        read_model(tmp_path / "no.h5")
    with pytest.raises(BoneprintError, match="at least 3"):
        build_model(femora[:2])


def test_the_thickness_of_a_ball_is_its_chords():
    points, faces = _icosphere(4000)
    picture = thickness(points + np.array([0, 0, 300]), faces, (61, 61))
    rows, columns = np.mgrid[-30:31, -30:31]
    chords = 2 * np.sqrt(np.maximum(20.0**2 - rows**2 - columns**2, 0))
    assert picture.sum() == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    middle = np.hypot(rows, columns) < 15
    assert np.abs(picture - chords)[middle].mean() < 0.05 * 40


def test_a_fit_to_two_radiographs_comes_nearer_than_the_mean(model, femora):
    body = individual(18, 2, laterality="R")
    volume, _ = body.scan(COARSE)
    pictures = [views.natural(volume, angle_deg=angle, in_plane_deg=4.0, seed=3) for angle in (6.0, 94.0)]
    fitted = fit_model(model, pictures, [0.0, 90.0])
    error = compare(fitted.surface, femora[2], samples=4000).rms_mm
    mean = compare(model.surface(np.zeros(0)), femora[2], samples=4000).rms_mm
    assert error < 0.6 * mean
    assert fitted.views[0].in_plane_deg == pytest.approx(4.0, abs=3.0)


def test_a_fit_to_a_single_radiograph_comes_nearer_than_the_mean(model, femora):
    volume, _ = individual(18, 2, laterality="R").scan(COARSE)
    picture = views.natural(volume, angle_deg=3.0, in_plane_deg=-5.0, seed=6)
    fitted = fit_model(model, [picture], [0.0])
    error = compare(fitted.surface, femora[2], samples=4000).rms_mm
    assert error < 0.7 * compare(model.surface(np.zeros(0)), femora[2], samples=4000).rms_mm


def test_a_picture_of_a_left_bone_is_the_mirrored_one_of_a_right_bone(model):
    surface = model.surface(np.zeros(0))
    angle = 20.0

    def shown(points, degrees):
        turned = points @ drr.Pose(degrees).axes().T
        return turned[:, :2]

    left = surface.mirrored()
    assert shown(left.vertices, angle) * [-1, 1] == pytest.approx(shown(surface.vertices, -angle), abs=1e-9)


def test_a_fit_needs_an_angle_for_each_picture(model):
    picture = Radiograph(np.eye(40, dtype=np.float32), 1.0)
    with pytest.raises(BoneprintError, match="one for each"):
        fit_model(model, [picture], [0.0, 90.0])


def truth_of_person_2():
    """The true surface of the person whose radiographs are probed with; a bone's own frame is that of a right one."""
    body = individual(COHORT_SEED, 2)
    surface = Surface(*body.surface(step_mm=4.0))
    return surface.mirrored() if body.laterality == "L" else surface


def test_shape_writes_the_nearest_bones_surface_and_ranks_it(tmp_path, bones_h5, probe_pngs):
    out, truth = tmp_path / "bone.stl", tmp_path / "truth.stl"
    write_surface(truth, truth_of_person_2())
    asked = ["shape", str(probe_pngs["ap"]), str(probe_pngs["ml"]), "--db", str(bones_h5), "-o", str(out), "--json"]
    done = CliRunner().invoke(main, [*asked, "--truth", str(truth)])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["nearest"]["subject_id"] == f"SIM-{COHORT_SEED}-0002"
    # The bone itself is in the gallery: what is left is the coarse CT, and no other bone is better.
    assert said["truth"]["rms_mm"] < 0.8
    assert said["better_in_gallery"] == 0
    assert said["gallery"] == 4
    assert read_surface(out).notes == ()


def test_shape_fits_a_model_of_the_gallery_keeps_it_and_answers_with_the_nearest_bone(
    tmp_path, bones_h5, probe_pngs, monkeypatch
):
    monkeypatch.setattr("boneprint.shape_estimation.build_model", partial(build_model, vertices=FEW))
    fitted, nearest, truth, kept = (tmp_path / name for name in ("fit.ply", "bone.stl", "truth.stl", "femur.h5"))
    asked = ["shape", str(probe_pngs["ap"]), str(probe_pngs["ml"]), "--db", str(bones_h5), "--model", str(kept)]
    done = CliRunner().invoke(
        main, [*asked, "-o", str(fitted), "--json", "--method", "ssm", "--angle", "0", "--angle", "90"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["modes"] == 3
    assert compare(read_surface(fitted), truth_of_person_2()).rms_mm < 3.0
    assert len(read_model(kept).shapes) == 4
    write_surface(truth, truth_of_person_2())
    # By the model that was kept; and nobody says where the pictures were taken from.
    done = CliRunner().invoke(
        main, [*asked, "-o", str(nearest), "--json", "--method", "nearest-ssm", "--truth", str(truth)]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["nearest"]["subject_id"] == f"SIM-{COHORT_SEED}-0002"
    assert said["better_in_gallery"] == 0
    assert said["truth"]["rms_mm"] < 0.8
    assert len(said["likeness"]) == 2
