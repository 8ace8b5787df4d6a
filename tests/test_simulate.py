"""Simulated people: individual, reproducible, and a CT like any other."""

import json

import numpy as np
import pydicom
import pytest
import trimesh
from conftest import COARSE
from scipy.spatial import cKDTree

from boneprint import bone
from boneprint.cohort import simulate_cohort
from boneprint.errors import BoneprintError
from boneprint.simulate import CALIBRATION, TRAINING, Scanner, family, individual

DRY = Scanner((2.0, 2.0, 2.0), soft_tissue_mm=0.0, blur_mm=0.5, noise_hu=5.0)


def test_one_seed_always_gives_the_same_voxels():
    first, _ = individual(3, 5).scan(DRY)
    second, _ = individual(3, 5).scan(DRY)
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.affine, second.affine)


def test_two_seeds_two_indices_and_two_streams_give_different_individuals():
    shapes = [
        individual(1, 0).shape,
        individual(2, 0).shape,
        individual(1, 1).shape,
        individual(1, 0, stream=TRAINING).shape,
        individual(1, 0, stream=CALIBRATION).shape,
    ]
    assert len({shape.values for shape in shapes}) == len(shapes)


@pytest.mark.parametrize(("species", "low", "high"), [("human", 370, 520), ("cat", 90, 132)])
def test_length_is_that_of_the_species(species, low, high):
    body = individual(1, 0, species=species)
    vertices, _ = body.surface()
    assert low < np.ptp(vertices[:, 2]) < high
    assert np.ptp(vertices[:, 2]) == pytest.approx(body.shape["length_mm"], rel=0.05)


def test_the_surface_is_closed_and_faces_outwards_on_either_side():
    for side in ("L", "R"):
        body = individual(1, 0, laterality=side)
        _, to_patient = body.scan(DRY)
        mesh = trimesh.Trimesh(*body.surface(to_patient, step_mm=4.0), process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0


def test_the_true_surface_lies_where_the_ct_shows_the_bone():
    body = individual(1, 2, laterality="L")
    volume, to_patient = body.scan(DRY)
    vertices, _ = body.surface(to_patient)
    solid = volume.hu > -500
    inner = solid & np.roll(solid, 1, 0) & np.roll(solid, -1, 0) & np.roll(solid, 1, 2) & np.roll(solid, -1, 2)
    rim = volume.to_patient(np.argwhere(solid & ~inner)[:, ::-1].astype(float))
    distance, _ = cKDTree(vertices).query(rim)
    # A rim voxel's centre lies up to a voxel (2 mm) inside the surface.
    assert np.median(distance) < 1.0


def test_hu_are_in_the_usual_range_and_the_shaft_has_a_marrow_cavity(coarse_scan):
    hu = coarse_scan.hu
    assert hu.min() >= -1024
    assert 1000 < np.quantile(hu[hu > 600], 0.9) < 2200
    middle = hu[hu.shape[0] // 2]
    bony = np.argwhere(middle > 600)
    y, x = bony.mean(axis=0).round().astype(int)
    assert middle[y, x] < 300


def test_a_head_points_to_the_middle_of_the_body():
    # Patient left is +x: the head of a right femur lies to the left of its shaft, that of a left femur to the right.
    for side, sign in (("R", 1), ("L", -1)):
        volume, _ = individual(1, 4, laterality=side).scan(DRY)
        upright = bone.upright(volume, bone.find_pose(volume))
        solid = upright.hu > -500
        depth = solid.shape[0]
        top = np.argwhere(solid[int(0.93 * depth) :])[:, 2].mean()
        shaft = np.argwhere(solid[int(0.4 * depth) : int(0.6 * depth)])[:, 2].mean()
        assert sign * (top - shaft) > 0


def test_siblings_are_more_alike_than_strangers():
    def shape_vector(body):
        return np.array(body.shape.values) / np.abs(np.array(individual(1, 0).shape.values)).clip(1e-3)

    siblings = [shape_vector(body) for body in family(1, 0, 3)]
    strangers = [shape_vector(family(1, number, 1)[0]) for number in range(3)]
    within = np.linalg.norm(siblings[0] - siblings[1])
    between = np.linalg.norm(strangers[0] - strangers[1])
    assert within < between


def test_a_cohort_on_disk_is_dicom_that_any_reader_takes_for_ct(tmp_path, monkeypatch):
    monkeypatch.setattr(Scanner, "usual", classmethod(lambda cls, species: COARSE))
    (member,) = simulate_cohort(tmp_path, 1, seed=9, side="L")
    files = sorted((tmp_path / member.ct).iterdir())
    header = pydicom.dcmread(files[0])
    assert header.Modality == "CT"
    assert header.BodyPartExamined == "FEMUR"
    assert header.Laterality == "L"
    assert list(map(float, header.PixelSpacing)) == [2.5, 2.5]
    assert header.PatientID == member.subject_id == "SIM-9-0000"
    assert trimesh.load(tmp_path / member.surface).is_watertight


@pytest.mark.parametrize("wrong", [{"bone": "tail"}, {"species": "dragon"}, {"species": "cat", "bone": "hip"}])
def test_what_cannot_be_simulated_is_refused_with_the_choices(wrong):
    with pytest.raises(BoneprintError, match="choose one of"):
        individual(1, 0, **wrong)


def test_numbers_of_individuals_end_where_those_of_families_begin():
    with pytest.raises(BoneprintError, match="999999"):
        individual(1, 1_000_000, stream=TRAINING)


@pytest.mark.parametrize("seed", [-1, 2**32, 1 + 2**32])
def test_a_seed_that_could_reach_another_stream_is_refused(seed):
    with pytest.raises(BoneprintError, match="seed"):
        individual(seed, 0)


def test_man_and_cat_of_one_seed_have_names_of_their_own():
    assert individual(1, 0).subject_id != individual(1, 0, species="cat").subject_id


def test_simulating_again_leaves_nothing_of_the_earlier_series(tmp_path, monkeypatch):
    monkeypatch.setattr(Scanner, "usual", classmethod(lambda cls, species: COARSE))
    (member,) = simulate_cohort(tmp_path, 1, seed=9, side="L")
    (tmp_path / member.ct / "CT9999.dcm").write_bytes(b"a slice of a longer series")
    (tibia,) = simulate_cohort(tmp_path, 1, seed=9, side="L", bone="tibia")
    (again,) = simulate_cohort(tmp_path, 1, seed=9, side="L")
    assert again == member
    assert not (tmp_path / member.ct / "CT9999.dcm").exists()
    (other,) = simulate_cohort(tmp_path, 1, seed=9, first=1)
    listed = json.loads((tmp_path / "cohort.json").read_text())["members"]
    assert [(each["subject_id"], each["bone"]) for each in listed] == [
        (member.subject_id, "tibia"),
        (member.subject_id, "femur"),
        (other.subject_id, "femur"),
    ]
    assert any((tmp_path / tibia.ct).iterdir())


def test_an_empty_cohort_is_refused(tmp_path):
    with pytest.raises(BoneprintError, match="at least one"):
        list(simulate_cohort(tmp_path, 0))
