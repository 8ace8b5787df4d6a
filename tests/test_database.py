"""The main job through the library: enrol, search, verify."""

import numpy as np
import pytest
import torch

import boneprint
from boneprint import BoneprintError, ReadError, StoreError
from boneprint.nouns import Radiograph
from boneprint.read import read_radiograph

TRUTH = "SIM-4711-0002"


@pytest.fixture(scope="module")
def database(bones_h5):
    with boneprint.open(bones_h5) as opened:
        yield opened


def test_the_bone_of_an_x_ray_is_candidate_one(database, probe_pngs):
    result = database.search(probe_pngs["ap"], k=3)
    assert [candidate.rank for candidate in result.candidates] == [1, 2, 3]
    assert result.candidates[0].reference.subject_id == TRUTH
    assert result.certified_exact
    assert (result.bones, result.views) == (4, 4 * 36)


def test_two_views_of_one_bone_are_fused(database, probe_pngs):
    both = database.search([probe_pngs["ap"], probe_pngs["ml"]], k=1).candidates[0]
    parts = [database.search(probe_pngs[name], k=4).candidates for name in ("ap", "ml")]
    distances = [next(c.distance for c in part if c.reference.subject_id == TRUTH) for part in parts]
    assert both.reference.subject_id == TRUTH
    assert both.distance == pytest.approx(np.sqrt(np.mean(np.square(distances))), abs=1e-4)


def test_path_radiograph_array_and_tensor_are_the_same_probe(database, probe_pngs):
    radiograph = read_radiograph(probe_pngs["ap"])
    asked = [
        database.search(probe_pngs["ap"]),
        database.search(str(probe_pngs["ap"])),
        database.search(radiograph),
        database.search(radiograph.pixels, pixel_spacing_mm=radiograph.spacing_mm),
        database.search(torch.from_numpy(radiograph.pixels), pixel_spacing_mm=radiograph.spacing_mm),
    ]
    distances = [[candidate.distance for candidate in result.candidates] for result in asked]
    assert all(each == pytest.approx(distances[0], abs=1e-6) for each in distances)


def test_a_stored_fingerprint_searches_like_its_radiograph(database, probe_pngs):
    template = database.fingerprint(probe_pngs["ap"])
    direct, stored = database.search(probe_pngs["ap"]), database.search(template)
    assert [c.distance for c in direct.candidates] == [c.distance for c in stored.candidates]


def test_where_leaves_only_what_was_asked_for(database, probe_pngs):
    result = database.search(probe_pngs["ap"], where={"subject": "SIM-4711-0001", "bone": "femur"})
    assert [candidate.reference.subject_id for candidate in result.candidates] == ["SIM-4711-0001"]
    with pytest.raises(BoneprintError, match="none of 4 enrolled bones fits bone=skull"):
        database.search(probe_pngs["ap"], where={"bone": "skull"})
    with pytest.raises(BoneprintError, match="unknown key"):
        database.search(probe_pngs["ap"], where={"colour": "white"})


def test_the_mirrored_search_is_the_search_with_the_mirrored_picture(database, probe_pngs):
    radiograph = read_radiograph(probe_pngs["ap"])
    flipped = Radiograph(radiograph.pixels[:, ::-1], radiograph.spacing_mm)
    mirrored, by_hand = database.search(radiograph, mirror=True), database.search(flipped)
    assert [c.distance for c in mirrored.candidates] == pytest.approx([c.distance for c in by_hand.candidates])


def test_a_picture_without_spacing_is_refused(database):
    with pytest.raises(ReadError, match="--pixel-spacing"):
        database.search(np.random.default_rng(0).random((60, 40)))


@pytest.mark.parametrize("nonsense", [np.zeros((3, 4, 5)), "no/such/file.png", []])
def test_what_is_no_picture_is_refused(database, nonsense):
    with pytest.raises(BoneprintError):
        database.search(nonsense)


def test_verification_tells_one_bone_from_two(probe_pngs):
    same = boneprint.verify(probe_pngs["ap"], probe_pngs["ap-again"])
    different = boneprint.verify(probe_pngs["ap"], probe_pngs["stranger"])
    assert same.distance < different.distance
    assert same.log10_lr > 0 > different.log10_lr
    assert not different.within_margin
    low, high = same.log10_lr_bounds
    assert low <= different.log10_lr < same.log10_lr <= high


def test_a_threshold_says_where_it_comes_from(database, probe_pngs):
    threshold = database.search(probe_pngs["ap"]).threshold
    assert threshold.false_match_rate <= 1e-3
    assert threshold.bones >= 100
    assert "calibration" in threshold.data
    assert threshold.embedder == database.store.embedder


def test_a_second_ingestion_skips_everything(cohort_dir, tmp_path):
    with boneprint.open(tmp_path / "bones.h5", writable=True) as database:
        first = database.ingest(cohort_dir / "SIM-4711-0000")
        second = database.ingest(cohort_dir / "SIM-4711-0000")
        third = database.ingest(cohort_dir)
    assert len(first.enrolled) == 1
    assert (len(second.enrolled), len(second.skipped)) == (0, 1)
    assert (len(third.enrolled), len(third.skipped)) == (3, 1)


def test_what_the_user_says_goes_before_what_the_file_says(cohort_dir, tmp_path):
    with boneprint.open(tmp_path / "bones.h5", writable=True) as database:
        report = database.ingest(cohort_dir / "SIM-4711-0000", bone="tibia", subject="case 7", side="L")
    (reference, views) = report.enrolled[0]
    assert (reference.bone, reference.subject_id, reference.laterality) == ("tibia", "case 7", "L")
    assert views == 36


def test_another_embedders_database_is_refused(bones_h5, tmp_path):
    from boneprint.index import Store

    with Store.open(tmp_path / "other.h5", writable=True, embedder="other-1:abcdefabcdef"):
        pass
    with pytest.raises(StoreError, match="other-1:abcdefabcdef"):
        boneprint.open(tmp_path / "other.h5")


def test_a_size_that_was_not_calibrated_has_no_likelihood_ratio(database, probe_pngs):
    radiograph = read_radiograph(probe_pngs["ap"])
    small = Radiograph(radiograph.pixels, radiograph.spacing_mm / 4)
    verification = boneprint.verify(small, small)
    assert verification.log10_lr is None
    assert verification.distance < 1e-3
    three = database.search([probe_pngs["ap"]] * 3)
    assert all(candidate.log10_lr is None for candidate in three.candidates)


def test_a_spacing_that_makes_the_bone_a_giant_is_refused(database, probe_pngs):
    with pytest.raises(ReadError, match="Check the pixel spacing"):
        database.search(probe_pngs["ap"], pixel_spacing_mm=6.0)


def test_an_empty_database_says_what_to_do(tmp_path):
    with boneprint.open(tmp_path / "bones.h5", writable=True) as database:
        with pytest.raises(BoneprintError, match="boneprint ingest"):
            database.search(np.random.default_rng(0).random((60, 40)), pixel_spacing_mm=1.0)
        assert database.info()["bones"] == 0


def test_a_search_with_a_stored_fingerprint_needs_no_torch(bones_h5, probe_pngs, tmp_path):
    import subprocess
    import sys

    with boneprint.open(bones_h5) as database:
        template = database.fingerprint(probe_pngs["ap"])
    np.savez(tmp_path / "t.npz", **{str(height): rows for height, rows in template.vectors.items()})
    program = (
        "import sys, numpy, boneprint\n"
        "stored = numpy.load(sys.argv[2])\n"
        "vectors = {float(name): stored[name] for name in stored}\n"
        "with boneprint.open(sys.argv[1]) as database:\n"
        "    template = boneprint.Fingerprint(vectors, database.store.embedder)\n"
        "    print(database.search(template).candidates[0].reference.subject_id)\n"
        "assert 'torch' not in sys.modules\n"
    )
    words = [sys.executable, "-c", program, str(bones_h5), str(tmp_path / "t.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == TRUTH, done.stderr
