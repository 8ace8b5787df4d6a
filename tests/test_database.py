"""The main job through the library: enrol, search, verify."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import boneprint
from boneprint import BoneprintError, ReadError, StoreError, drr, explanation, views
from boneprint.bone import Pose
from boneprint.embed import load_embedder
from boneprint.evidence import BIPLANE
from boneprint.ingest import enrolled_view
from boneprint.lineup import lineup
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.probe import as_radiographs
from boneprint.read import read_radiograph, write_ct_series
from boneprint.simulate import Scanner, individual

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


def test_ap_and_lateral_are_compared_with_views_as_far_apart(database, probe_pngs):
    pair = [probe_pngs["ap"], probe_pngs["ml"]]  # drawn 88 degrees apart
    apart, known, turned = (database.search(pair, angles_deg=angles) for angles in (None, (0, 90), (0, 270)))
    assert known.candidates[0].reference.subject_id == turned.candidates[0].reference.subject_id == TRUTH
    assert known.candidates[0].distance == pytest.approx(apart.candidates[0].distance, abs=0.02)
    assert turned.candidates[0].distance > known.candidates[0].distance + 0.02
    assert known.candidates[0].threshold.kind == BIPLANE
    assert known.candidates[0].log10_lr is not None
    assert known.certified_exact
    assert all(a.distance <= k.distance for a, k in zip(apart.candidates, known.candidates))


def test_seen_in_a_mirror_a_lateral_faces_the_other_way(database, probe_pngs):
    pair = [read_radiograph(probe_pngs[name]) for name in ("ap", "ml")]
    flipped = [Radiograph(each.pixels[:, ::-1], each.spacing_mm) for each in pair]
    mirrored = database.search(pair, mirror=True, angles_deg=(0, 90))
    by_hand = database.search(flipped, angles_deg=(0, 270))
    assert [c.distance for c in mirrored.candidates] == pytest.approx([c.distance for c in by_hand.candidates])


@pytest.mark.parametrize("angles_deg", [(0,), (0, 90, 180)])
def test_as_many_angles_as_radiographs_are_wanted(database, probe_pngs, angles_deg):
    with pytest.raises(BoneprintError, match="one angle for each radiograph"):
        database.search([probe_pngs["ap"], probe_pngs["ml"]], angles_deg=angles_deg)


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
    others = database.search(probe_pngs["ap"], where=["bone=FEMUR", f"subject!={TRUTH}", "subject!=SIM-4711-0003"])
    assert sorted(c.reference.subject_id for c in others.candidates) == ["SIM-4711-0000", "SIM-4711-0001"]
    assert database.search(probe_pngs["ap"], where={"species": ""}).bones == 4


def test_all_scores_are_the_distances_of_every_bone(database, probe_pngs):
    result = database.search(probe_pngs["ap"], k=1, all_scores=True)
    everything = database.search(probe_pngs["ap"], k=4)
    assert len(result.candidates) == 1
    assert result.scores == {c.reference.bone_id: c.distance for c in everything.candidates}
    assert everything.scores is None


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
    same = boneprint.verify(probe_pngs["ap"], probe_pngs["ap-again"], bone="femur")
    different = boneprint.verify(probe_pngs["ap"], probe_pngs["stranger"], bone="femur")
    assert same.distance < different.distance
    assert same.log10_lr > 0 > different.log10_lr
    assert not different.within_margin
    low, high = same.log10_lr_bounds
    assert low <= different.log10_lr < same.log10_lr <= high


def test_two_radiographs_of_a_kind_nobody_said_have_the_strictest_margin_and_no_likelihood_ratio(database, probe_pngs):
    known = database.verify(probe_pngs["ap"], probe_pngs["ap-again"], bone="femur")
    for bone in (None, "skull"):
        unknown = database.verify(probe_pngs["ap"], probe_pngs["ap-again"], bone=bone)
        assert unknown.log10_lr is None
        assert "not" in unknown.uncalibrated
        assert unknown.threshold.value <= known.threshold.value
        assert unknown.within_margin == (unknown.distance <= unknown.threshold.value)
    assert known.uncalibrated is None


def test_each_candidate_is_judged_by_its_own_kind(cohort_dir, probe_pngs, tmp_path):
    kinds = {"SIM-4711-0000": "femur", "SIM-4711-0001": "skull", TRUTH: "tibia"}
    with boneprint.open(tmp_path / "b.h5", writable=True) as database:
        for subject, bone in kinds.items():
            database.ingest(cohort_dir / subject, bone=bone)
        found = {c.reference.bone: c for c in database.search(probe_pngs["ap"]).candidates}
        alone = database.search(probe_pngs["ap"], where={"bone": "femur"})
        template = database.fingerprint(probe_pngs["ap"])
        every, of_femora = database.threshold(template), database.threshold(template, where={"bone": "femur"})
    assert (found["femur"].threshold.bone, found["femur"].uncalibrated) == ("femur", None)
    assert found["femur"].log10_lr is not None
    assert alone.threshold == of_femora == found["femur"].threshold
    strictest = min((c.threshold for c in found.values()), key=lambda threshold: threshold.value)
    assert every == strictest == found["skull"].threshold
    assert found["skull"].log10_lr is None
    assert "'skull' were not calibrated" in found["skull"].uncalibrated
    assert all(c.within_margin == (c.distance <= c.threshold.value) for c in found.values())


def test_another_species_is_another_kind_of_bone(cohort_dir, probe_pngs, tmp_path):
    with boneprint.open(tmp_path / "b.h5", writable=True) as database:
        database.ingest(cohort_dir / TRUTH, species="horse")
        (best,) = database.search(probe_pngs["ap"]).candidates
    assert best.log10_lr is None
    assert "'horse femur' were not calibrated" in best.uncalibrated


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
    verification = boneprint.verify(small, small, bone="femur")
    assert verification.log10_lr is None
    assert "canvas of 140 mm" in verification.uncalibrated
    assert verification.distance < 1e-3
    three = database.search([probe_pngs["ap"]] * 3)
    assert all(candidate.log10_lr is None and candidate.uncalibrated for candidate in three.candidates)


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
        "assert not {'torch', 'scipy.optimize', 'scipy.ndimage'} & set(sys.modules)\n"
    )
    words = [sys.executable, "-c", program, str(bones_h5), str(tmp_path / "t.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == TRUTH, done.stderr


@pytest.fixture
def own(cohort_dir, tmp_path):
    """A database of two people that a test may change."""
    path = tmp_path / "bones.h5"
    with boneprint.open(path, writable=True, operator="examiner 7") as database:
        database.ingest([cohort_dir / "SIM-4711-0000", cohort_dir / "SIM-4711-0002"], species="Human")
    return path


def test_the_audit_trail_tells_who_ingested_searched_and_removed(own, probe_pngs):
    with boneprint.open(own, writable=True) as database:
        result = database.search(probe_pngs["ap"], k=2, where={"subject!": "SIM-4711-0009"})
        removal = database.remove(subject_id="SIM-4711-0000")
        entries, findings = database.audit()
    assert findings == []
    assert [entry.what for entry in entries] == ["ingest", "ingest", "search", "remove"]
    assert [entry.who for entry in entries[:2]] == ["examiner 7"] * 2
    assert entries[0].facts["generation"] == 1
    assert entries[0].about[0]["subject_id"] in {"SIM-4711-0000", TRUTH}
    condition, first, second = entries[2].about
    assert (condition["subject_id"], condition["asked"]) == ("SIM-4711-0009", "!=")
    assert [first["bone_id"], second["bone_id"]] == [c.reference.bone_id for c in result.candidates]
    assert (entries[3].about[0]["bone_id"], entries[3].facts["generation"]) == (removal.bone_ids[0], removal.generation)


def test_a_removed_person_is_found_no_longer_and_an_erased_one_leaves_no_byte(own, probe_pngs):
    with boneprint.open(own, writable=True) as database:
        template = database.fingerprint(probe_pngs["ap"])
        gallery = database.store.gallery()
        at = next(n for n, reference in enumerate(gallery.references) if reference.subject_id == TRUTH)
        reference = gallery.references[at]
        traces = [row.tobytes() for row in gallery.rows.of(at)]
        traces += [text.encode() for text in (TRUTH, reference.bone_id, reference.source, reference.source_hash)]
        assert database.search(template, k=1).candidates[0].reference.subject_id == TRUTH
        del gallery
        database.remove(subject_id=TRUTH)
        assert database.search(template).bones == 1
        raw = b"".join(path.read_bytes() for path in own.parent.rglob("*") if path.is_file())
        assert all(trace in raw for trace in traces), "removed only: everything is still there"
        assert database.remove(subject_id=TRUTH, erase=True).erased
        entries, findings = database.audit()
    raw = b"".join(path.read_bytes() for path in own.parent.rglob("*") if path.is_file())
    assert [trace for trace in traces if trace in raw] == []
    assert findings == []
    assert [entry.what for entry in entries].count("erase") == 1
    assert sum(each is None for entry in entries for each in entry.about) >= 3
    with boneprint.open(own) as database:
        assert [r.species for r in database.store.gallery().references] == ["human"]
    assert all(finding.ok for finding in boneprint.check(own))


def test_who_is_not_enrolled_cannot_be_removed(own):
    with boneprint.open(own, writable=True) as database:
        for erase in (False, True):
            with pytest.raises(BoneprintError, match="no bone of subject 'nobody'"):
                database.remove(subject_id="nobody", erase=erase)
        with pytest.raises(BoneprintError, match="not both"):
            database.remove()
        assert [entry.what for entry in database.audit()[0]] == ["ingest", "ingest"]


def test_a_search_that_cannot_be_recorded_is_answered_with_a_warning(own, probe_pngs):
    trail = own.with_name("bones.h5-audit")
    trail.unlink()
    trail.mkdir()
    with boneprint.open(own) as database, pytest.warns(UserWarning, match="not recorded"):
        assert database.search(probe_pngs["ap"]).candidates[0].reference.subject_id == TRUTH


def test_half_precision_finds_the_same_bones_at_almost_the_same_distance(own, cohort_dir, probe_pngs, tmp_path):
    with boneprint.open(tmp_path / "half.h5", writable=True, half=True) as half, boneprint.open(own) as single:
        half.ingest([cohort_dir / "SIM-4711-0000", cohort_dir / "SIM-4711-0002"])
        assert half.info()["precision"] == "half"
        assert half.store.gallery().rows.of(0).dtype == np.float16
        found = [database.search(probe_pngs["ap"]).candidates for database in (half, single)]
    assert [c.reference.bone_id for c in found[0]] == [c.reference.bone_id for c in found[1]]
    # Rounding to float16 moves a unit vector by at most 2**-11.
    assert [c.distance for c in found[0]] == pytest.approx([c.distance for c in found[1]], abs=2**-11)


def test_kept_views_show_the_candidate_when_its_ct_is_gone(cohort_dir, probe_pngs, tmp_path):
    """Oracle: the picture, embedded as a view, is what the view was enrolled as."""
    shutil.copytree(cohort_dir / TRUTH, tmp_path / "ct")
    with boneprint.open(tmp_path / "b.h5", writable=True) as database:
        database.ingest(tmp_path / "ct", keep_views=True)
        shutil.rmtree(tmp_path / "ct")
        result = database.search(probe_pngs["ap"])
        (best,) = result.candidates
        gallery = database.store.gallery()
        explained = explanation.of_pair(database, as_radiographs(probe_pngs["ap"])[0], best.reference.bone_id)
    view = enrolled_view(best)
    assert view.view == f"axis {best.angle_deg:03.0f}"
    vector = load_embedder().embed_views([view], canvas_of_height(best.reference.canvas_mm))[0]
    own = gallery.rows.of(0)[np.flatnonzero(gallery.angles_deg == best.angle_deg)[0]]
    # What 255 grey values leave of a float picture; two bones lie some ten times as far apart.
    assert np.linalg.norm(vector - own) < 0.05
    lineup(as_radiographs([probe_pngs["ap"]]), result, tmp_path / "lineup.png")
    _, tile = np.array_split(np.asarray(Image.open(tmp_path / "lineup.png").convert("L")), 2, axis=1)
    assert tile[20:500].std() > 10
    assert explained.view.maps.similarity == pytest.approx(explained.probe.maps.similarity, abs=0.02)


def test_what_is_not_long_is_enrolled_tilted_and_a_tilted_radiograph_finds_the_view_it_shows(tmp_path):
    """Oracles: how far the radiograph was tilted, and the view made again from the CT."""
    volume, _ = individual(5, 0, bone="vertebra").scan(Scanner((1.5, 1.5, 1.5), 0.0, 0.6, 10.0))
    write_ct_series(tmp_path / "ct", volume, subject_id="SIM-V", body_part="vertebra")
    with boneprint.open(tmp_path / "b.h5", writable=True) as database:
        database.ingest(tmp_path / "ct")
        gallery = database.store.gallery()
        assert gallery.views == 108
        for tilt_deg in (-8.0, 8.0):
            (best,) = database.search(views.natural(volume, tilt_deg=(tilt_deg, 0.0), seed=3)).candidates
            beam = Pose(np.eye(3), long=False).turned(tilt_deg, 0.0).axes[1]
            said = drr.Pose(best.angle_deg, best.tilt_deg).axes()[2]
            # From behind, a bone that is all but symmetric looks alike: it is the line of sight that is told.
            assert np.rad2deg(np.arccos(abs(beam @ said))) < 8
            again = enrolled_view(best)
            vector = load_embedder().embed_views([again], canvas_of_height(best.reference.canvas_mm))[0]
            at = [gallery.direction(view) for view in range(108)].index((best.angle_deg, best.tilt_deg))
            assert np.linalg.norm(vector - gallery.rows.of(0)[at]) < 0.01
            assert f"tilted {best.tilt_deg:+.0f}" in best.view


def test_a_damaged_picture_of_a_view_is_an_error_of_one_line(database, probe_pngs):
    best = database.search(probe_pngs["ap"]).candidates[0]
    assert best.picture is None
    with pytest.raises(ReadError, match="boneprint check"):
        enrolled_view(replace(best, picture=b"\x89PNG\r\n\x1a\n and nothing else"))
