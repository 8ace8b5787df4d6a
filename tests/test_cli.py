"""The command line's contract: exit codes, JSON, one-line errors, and nothing heavy before it is needed."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import REAL_DATA
from PIL import Image

import boneprint
from boneprint.cli import main
from boneprint.nouns import Radiograph
from boneprint.read import read_radiograph, write_ct_series, write_png

TRUTH = "SIM-4711-0002"


def run(*words):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result, *said):
    """Exit 2, one line on stderr that says all of this, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for text in said:
        assert text in lines[0]
    return True


def test_help_loads_neither_torch_nor_scipy_nor_pydicom():
    program = (
        "import sys\nfrom boneprint.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'scipy', 'pydicom', 'numpy', 'h5py', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ingest" in done.stdout


@pytest.mark.parametrize("command", ["check", "audit", "info"])
def test_looking_at_a_database_loads_neither_torch_nor_scipy(bones_h5, command):
    program = (
        "import sys\nfrom boneprint.cli import main\n"
        f"try: main(['{command}', '--db', r'{bones_h5}'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'scipy.optimize', 'scipy.ndimage', 'pydicom', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_what_a_scan_cut_off_is_told_with_the_bone_ever_after(coarse_scan, tmp_path):
    lower_half = replace(coarse_scan, hu=coarse_scan.hu[: coarse_scan.hu.shape[0] // 2])
    write_ct_series(tmp_path / "ct", lower_half, subject_id="S-1", body_part="FEMUR", laterality="R")
    db = tmp_path / "b.h5"
    (enrolled,) = json.loads(run("ingest", tmp_path / "ct", "--db", db, "--json").stdout)["enrolled"]
    assert enrolled["quality"]["cut_off"] == ["head"]
    assert not enrolled["quality"]["complete"]
    assert json.loads(run("info", "--db", db, "--bones", "--json").stdout)["enrolled"] == [enrolled]
    said = "cut off by the border of the scan (head)"
    assert enrolled["notes"] == f"{said}; SIDE NOT CHECKED: R as said; the scan holds only a part of the femur"
    assert said in run("info", "--db", db, "--bones").stdout
    assert f"1: {said}" in run("search", tmp_path / "ct", "--db", db).stdout


def test_search_prints_the_contracts_json_and_nothing_else(bones_h5, probe_pngs):
    result = run("search", probe_pngs["ap"], probe_pngs["ml"], "--db", bones_h5, "-k", 2, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) >= {"gallery", "candidates", "threshold", "certified_exact", "seconds"}
    assert set(found["gallery"]) == {"bones", "views", "generation"}
    assert set(found["candidates"][0]) >= {
        "rank",
        "bone_id",
        "subject_id",
        "bone",
        "laterality",
        "distance",
        "within_margin",
        "log10_lr",
        "uncalibrated",
        "threshold",
    }
    assert [candidate["rank"] for candidate in found["candidates"]] == [1, 2]
    assert found["candidates"][0]["subject_id"] == TRUTH


def test_search_for_people_says_that_a_candidate_is_a_lead(bones_h5, probe_pngs):
    result = run("search", probe_pngs["ap"], "--db", bones_h5)
    assert result.exit_code == 0, result.stderr
    assert TRUTH in result.stdout
    assert "not an identification" in result.stdout
    assert "confidence" not in result.stdout.lower()


def test_a_picture_of_the_candidates_is_drawn(bones_h5, probe_pngs, tmp_path):
    picture = tmp_path / "lineup.png"
    result = run("search", probe_pngs["ap"], "--db", bones_h5, "-k", 3, "--picture", picture)
    assert result.exit_code == 0, result.stderr
    drawn = np.asarray(Image.open(picture).convert("L"))
    tiles = np.array_split(drawn, 4, axis=1)
    assert all(tile[20:500].std() > 10 for tile in tiles), "probe and three candidates, none of them empty"


def test_verify_answers_by_exit_code(probe_pngs, tmp_path):
    same = run("verify", probe_pngs["ap"], probe_pngs["ap"], "--json")
    assert same.exit_code == 0, same.stderr
    found = json.loads(same.stdout)
    assert set(found) >= {"distance", "margin", "within_margin", "log10_lr", "lr_bounds", "uncalibrated"}
    assert (found["log10_lr"], found["lr_bounds"]) == (None, [1, 1])
    known = json.loads(run("verify", probe_pngs["ap"], probe_pngs["ap"], "--bone", "femur", "--json").stdout)
    assert known["log10_lr"] > 0
    assert known["uncalibrated"] is None
    assert "--bone" in run("verify", probe_pngs["ap"], probe_pngs["ap"]).stdout
    assert run("verify", probe_pngs["ap"], probe_pngs["stranger"]).exit_code == 1
    (tmp_path / "text.png").write_text("no picture")
    assert refused(run("verify", probe_pngs["ap"], tmp_path / "text.png"), "text.png")


def test_ingest_reports_a_bad_series_enrols_the_rest_and_exits_1(cohort_dir, tmp_path):
    folder = tmp_path / "mixed" / "deep" / "deeper"
    shutil.copytree(cohort_dir / "SIM-4711-0000", folder / "good")
    shutil.copytree(cohort_dir / "SIM-4711-0001", folder / "cut")
    (folder / "notes.txt").write_text("not a CT")
    victim = sorted((folder / "cut").iterdir())[9]
    victim.write_bytes(victim.read_bytes()[:3000])
    result = run("ingest", tmp_path / "mixed", "--db", tmp_path / "bones.h5", "--json")
    assert result.exit_code == 1, result.stderr
    report = json.loads(result.stdout)
    assert [bone["subject_id"] for bone in report["enrolled"]] == ["SIM-4711-0000"]
    assert any("notes.txt" in skipped["path"] for skipped in report["skipped"])
    assert any(victim.name in failed["error"] for failed in report["failed"])
    assert set(report["enrolled"][0]) == {
        "bone_id",
        "subject_id",
        "bone",
        "laterality",
        "views",
        "source",
        "quality",
        "notes",
    }
    assert report["failure_to_enrol"] == {"attempts": 2, "failed": 1}


def test_damaged_dicom_alone_is_unusable_input(cohort_dir, tmp_path):
    (tmp_path / "ct").mkdir()
    for file in sorted((cohort_dir / "SIM-4711-0000").iterdir())[:12]:
        (tmp_path / "ct" / file.name).write_bytes(file.read_bytes()[:2000])
    result = run("ingest", tmp_path / "ct", "--db", tmp_path / "bones.h5")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_an_empty_folder_is_refused_and_no_database_is_made_for_it(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(run("ingest", tmp_path / "empty", "--db", tmp_path / "b.h5"), "empty", "no file")
    assert not (tmp_path / "b.h5").exists()


def test_a_folder_without_a_ct_is_refused(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("hello")
    result = run("ingest", tmp_path / "letters", "--db", tmp_path / "b.h5")
    assert result.exit_code == 2
    assert "no CT" in result.stderr


def test_a_text_file_named_png_is_refused(bones_h5, tmp_path):
    (tmp_path / "xray.png").write_text("I am no picture")
    assert refused(run("search", tmp_path / "xray.png", "--db", bones_h5), "xray.png")


def test_a_radiograph_without_spacing_is_refused_and_the_way_out_works(bones_h5, probe_pngs, tmp_path):
    stripped = tmp_path / "stripped.png"
    Image.fromarray(np.asarray(Image.open(probe_pngs["ap"]))).save(stripped)
    assert refused(run("search", stripped, "--db", bones_h5), "stripped.png", "--pixel-spacing")
    with Image.open(probe_pngs["ap"]) as picture:
        spacing = 25.4 / picture.info["dpi"][0]
    result = run("search", stripped, "--db", bones_h5, "--pixel-spacing", spacing, "--json")
    assert json.loads(result.stdout)["candidates"][0]["subject_id"] == TRUTH


def test_a_store_of_another_embedder_is_refused(probe_pngs, tmp_path):
    from boneprint.index import Store

    with Store.open(tmp_path / "other.h5", writable=True, embedder="other-1:abcdefabcdef"):
        pass
    said = ("other.h5", "other-1:abcdefabcdef", "boneprint reindex")
    assert refused(run("search", probe_pngs["ap"], "--db", tmp_path / "other.h5"), *said)


@pytest.mark.parametrize("content", [b"", b"hello, I am no store\n", b"\x89HDF\r\n\x1a\n" + bytes(900)])
def test_a_store_that_is_no_store_is_refused(content, probe_pngs, tmp_path):
    (tmp_path / "no.h5").write_bytes(content)
    assert refused(run("search", probe_pngs["ap"], "--db", tmp_path / "no.h5"), "no.h5")
    assert (tmp_path / "no.h5").read_bytes() == content


def test_a_missing_store_is_refused(probe_pngs, tmp_path):
    assert refused(run("search", probe_pngs["ap"], "--db", tmp_path / "missing.h5"), "missing.h5")
    assert refused(run("checkpoint", "--db", tmp_path / "missing.h5"), "missing.h5")


def test_a_malformed_condition_is_refused(bones_h5, probe_pngs):
    words = ("search", probe_pngs["ap"], "--db", bones_h5, "--where")
    assert refused(run(*words, "femur"), "KEY=VALUE")
    assert refused(run(*words, "side=L", "--where", "side=R"), "given before")


def test_conditions_may_follow_each_other(bones_h5, probe_pngs):
    words = ("search", probe_pngs["ap"], "--db", bones_h5, "--json", "--where", "bone=femur", f"subject!={TRUTH}")
    found = json.loads(run(*words).stdout)
    assert found["gallery"]["bones"] == 3
    assert TRUTH not in {candidate["subject_id"] for candidate in found["candidates"]}
    assert json.loads(run(*words, "side=L", "side=R").stdout or "{}") == {}
    scores = json.loads(run(*words[:5], "--exact", "--all-scores", "-k", 1).stdout)["scores"]
    assert len(scores) == 4


def test_remove_erase_and_audit(cohort_dir, tmp_path):
    db = tmp_path / "b.h5"
    run("ingest", cohort_dir / "SIM-4711-0000", cohort_dir / "SIM-4711-0001", "--db", db, "--operator", "examiner 7")
    removed = run("remove", "--subject", "SIM-4711-0000", "--db", db, "--json")
    assert removed.exit_code == 0, removed.stderr
    assert set(json.loads(removed.stdout)) == {"removed", "erased", "generation"}
    assert json.loads(run("info", "--db", db, "--json").stdout)["bones"] == 1
    assert refused(run("remove", "--subject", "SIM-4711-0000", "--db", db), "SIM-4711-0000")
    assert run("remove", "--subject", "SIM-4711-0000", "--erase", "--db", db).exit_code == 0
    assert refused(run("remove", "--db", db), "subject")
    listed = run("audit", "--db", db)
    assert listed.exit_code == 0, listed.stderr
    assert "examiner 7" in listed.stdout
    assert "SIM-4711-0000" not in listed.stdout
    trail = tmp_path / "b.h5-audit"
    trail.write_bytes(trail.read_bytes().replace(b"examiner 7", b"examiner 8", 1))
    told = run("audit", "--db", db, "--last", 1, "--json")
    assert told.exit_code == 1
    assert [event["what"] for event in json.loads(told.stdout)["events"]] == ["erase"]
    assert "line 1" in json.loads(told.stdout)["findings"][0]
    assert run("check", "--db", db).exit_code == 1
    for command in ("audit", "remove"):
        assert refused(run(command, "--db", tmp_path / "missing.h5"), "missing.h5")


def test_a_subject_that_looks_like_markup_is_shown_as_it_is(cohort_dir, probe_pngs, tmp_path):
    name = "[anon]-1 [/b]"
    run("ingest", cohort_dir / "SIM-4711-0000", "--db", tmp_path / "b.h5", "--subject", name)
    shown = run("search", probe_pngs["ap"], "--db", tmp_path / "b.h5")
    assert shown.exit_code == 0, shown.stderr
    assert name in shown.stdout


def test_a_picture_in_a_folder_that_does_not_exist_is_one_clear_line(bones_h5, probe_pngs, tmp_path):
    result = run("search", probe_pngs["ap"], "--db", bones_h5, "--picture", tmp_path / "no" / "x.png")
    assert result.exit_code == 2
    assert "x.png" in result.stderr
    assert "Traceback" not in result.stderr


def test_info_and_check_describe_the_database(bones_h5):
    said = json.loads(run("info", "--db", bones_h5, "--json").stdout)
    assert (said["bones"], said["views"], said["kinds"]) == (4, 144, {"femur": 4})
    checked = run("check", "--db", bones_h5)
    assert checked.exit_code == 0
    assert "ok" in checked.stdout


def test_check_finds_a_flipped_bit(bones_h5, tmp_path):
    copy = tmp_path / "copy.h5"
    data = bytearray(bones_h5.read_bytes())
    data[len(data) // 2] ^= 4
    copy.write_bytes(data)
    result = run("check", "--db", copy)
    assert result.exit_code == 1
    assert "DAMAGED" in result.stdout


def test_drr_writes_views_with_their_spacing(cohort_dir, tmp_path):
    out = tmp_path / "views"
    result = run("drr", cohort_dir / "SIM-4711-0000", "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    written = [Path(path) for path in json.loads(result.stdout)["images"]]
    assert len(written) == 36
    picture = Image.open(written[0])
    # pHYs holds pixels per metre; the femur fills the picture but for a small margin.
    assert 370 < picture.height * 25.4 / picture.info["dpi"][1] < 540


def test_drr_takes_a_natural_radiograph_with_tube_and_room(cohort_dir, tmp_path):
    ct, out = cohort_dir / "SIM-4711-0000", tmp_path / "views"
    natural = ("drr", ct, "-o", out, "--protocol", "natural", "--json")
    parallel = read_radiograph(json.loads(run(*natural).stdout)["images"][0])
    room = ("--kvp", 70, "--source-detector", 1300, "--source-bone", 1000)
    cone = read_radiograph(json.loads(run(*natural, *room).stdout)["images"][0])
    # The spacing is that at the bone: it does not change with the room.
    assert cone.spacing_mm == pytest.approx(parallel.spacing_mm, rel=1e-3)
    assert cone.pixels.shape[0] > parallel.pixels.shape[0], "what is nearer to the source is shown larger"
    assert refused(run(*natural, "--kvp", 500), "expected 40 to 150 kVp")
    assert refused(run(*natural, "--source-detector", 1300), "source_isocentre_mm, or neither")


def test_drr_of_a_folder_with_several_cts_asks_which(cohort_dir, tmp_path):
    assert refused(run("drr", cohort_dir, "-o", tmp_path / "views"), "4 CT series", "expected one")


def test_simulate_says_what_cannot_be_simulated(tmp_path):
    assert refused(run("simulate", tmp_path, "--bone", "tail"), "tail", "femur")


def test_labels_make_several_bones_of_one_ct(cohort_dir, tmp_path):
    """Two bones cut out of one CT by a label map, in one go and once only."""
    import nibabel

    from boneprint import views

    volume = views.single_ct(cohort_dir / "SIM-4711-0000").load().volume
    labels = np.zeros(volume.hu.shape, np.uint8)
    half = len(labels) // 2
    labels[:half][volume.hu[:half] > 250] = 3
    labels[half:][volume.hu[half:] > 250] = 7
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), to_ras @ volume.affine)
    nibabel.save(image, tmp_path / "labels.nii.gz")
    words = ("ingest", cohort_dir / "SIM-4711-0000", "--db", tmp_path / "b.h5", "--labels", tmp_path / "labels.nii.gz")
    first, second = run(*words, "--json"), run(*words, "--json")
    assert first.exit_code == 0, first.stderr
    assert len(json.loads(first.stdout)["enrolled"]) == 2
    assert json.loads(second.stdout)["enrolled"] == []
    # Another label map cuts other bones out of the same CT; a label that holds hardly any bone stops nobody else.
    labels[labels == 7] = 0
    labels[tuple(np.argwhere(labels == 3)[0])] = 5
    other = nibabel.Nifti1Image(labels.transpose(2, 1, 0), to_ras @ volume.affine)
    nibabel.save(other, tmp_path / "other.nii.gz")
    third = run(*words[:-1], tmp_path / "other.nii.gz", "--json")
    assert third.exit_code == 1
    assert len(json.loads(third.stdout)["enrolled"]) == 1
    assert "label-5" in json.loads(third.stdout)["failed"][0]["path"]


def test_labels_and_split_exclude_each_other(cohort_dir, tmp_path):
    words = ("ingest", cohort_dir, "--db", tmp_path / "b.h5", "--split", "--labels", tmp_path / "x.nii")
    assert refused(run(*words), "--labels", "--split")


def ingest_and_kill(folder, store, delay):
    """Start an ingestion, kill it after some seconds, and return the bone ids of its finished lines."""
    words = [sys.executable, "-m", "boneprint.cli", "ingest", str(folder), "--db", str(store)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    time.sleep(delay)
    process.kill()
    lines = process.stderr.read().splitlines(keepends=True)
    process.wait()
    return {line.split()[1] for line in lines if line.startswith("enrolled") and line.endswith("\n")}


def kill_until_done(cohort_dir, store, delays):
    promised = set()
    for delay in delays:
        promised |= ingest_and_kill(cohort_dir, store, delay)
        if store.exists():
            with boneprint.open(store) as database:
                kept = {reference.bone_id for reference in database.store.gallery().references}
            assert promised <= kept, "a finished line was not kept"
        else:
            assert not promised
    result = run("ingest", cohort_dir, "--db", store, "--json")
    assert result.exit_code == 0, result.stderr
    with boneprint.open(store) as database:
        references = database.store.gallery().references
    assert len(references) == 4
    assert promised <= {reference.bone_id for reference in references}
    assert run("check", "--db", store).exit_code == 0


def test_a_killed_ingestion_keeps_its_promises_and_goes_on(cohort_dir, tmp_path):
    kill_until_done(cohort_dir, tmp_path / "bones.h5", [3.5, 5.0])


@pytest.mark.slow
def test_an_ingestion_killed_at_twenty_moments_keeps_its_promises(cohort_dir, tmp_path):
    seeded = random.Random(1)
    for round_number in range(5):
        delays = [seeded.uniform(1.0, 7.0) for _ in range(4)]
        kill_until_done(cohort_dir, tmp_path / f"{round_number}.h5", delays)


def test_a_real_chest_is_enrolled_and_shown_the_right_way_up(tmp_path):
    import zipfile

    packed = REAL_DATA / "ct" / "chest_acrin013" / "chest_acrin013_dicom.zip"
    if not packed.exists():
        pytest.skip(f"the real chest CT is not here ({packed.name} in ../shared/data)")
    zipfile.ZipFile(packed).extractall(tmp_path / "chest")
    result = run("ingest", tmp_path / "chest", "--db", tmp_path / "b.h5", "--json")
    assert result.exit_code == 0, result.stderr
    (enrolled,) = json.loads(result.stdout)["enrolled"]
    assert enrolled["bone"] == "chest"
    assert run("drr", tmp_path / "chest", "-o", tmp_path / "views").exit_code == 0
    frontal = np.asarray(Image.open(tmp_path / "views" / "axis_000.png").convert("F"))
    lateral = np.asarray(Image.open(tmp_path / "views" / "axis_090.png").convert("F"))
    # The spine is the densest column: in the middle from the front, and on the viewer's right (the back) from the side.
    assert abs(frontal.sum(axis=0).argmax() / frontal.shape[1] - 0.5) < 0.12
    assert lateral.sum(axis=0).argmax() / lateral.shape[1] > 0.55
    # Shoulders are wide and at the top.
    wide = (frontal > frontal.max() * 0.08).sum(axis=1)
    assert wide[: len(wide) // 4].max() > 0.7 * wide.max()


def test_every_format_of_radiograph_finds_its_bone(bones_h5, probe_pngs, tmp_path):
    """PNG, JPEG, TIFF and DICOM of one picture lead to one candidate."""
    with Image.open(probe_pngs["ap"]) as picture:
        pixels = np.asarray(picture).astype(np.float32)
        spacing = 25.4 / picture.info["dpi"][0]
    grey = ((pixels - pixels.min()) / np.ptp(pixels) * 255).astype(np.uint8)
    for name in ("x.jpg", "x.tif", "x.bmp"):
        Image.fromarray(grey).save(tmp_path / name)
        result = run("search", tmp_path / name, "--db", bones_h5, "--pixel-spacing", spacing, "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["candidates"][0]["subject_id"] == TRUTH, name
    write_dicom(tmp_path / "x.dcm", grey, spacing)
    result = run("search", tmp_path / "x.dcm", "--db", bones_h5, "--json")
    assert json.loads(result.stdout)["candidates"][0]["subject_id"] == TRUTH
    write_png(tmp_path / "y.png", Radiograph(pixels, spacing), bits=8)
    result = run("search", tmp_path / "y.png", "--db", bones_h5, "--json")
    assert json.loads(result.stdout)["candidates"][0]["subject_id"] == TRUTH


def write_dicom(path, grey, spacing):
    """A digital radiograph (DX), MONOCHROME1, as a detector room would send it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["boneprint test"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality = "DX"
    made.PatientID = "unknown"
    made.Rows, made.Columns = grey.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME1"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelSpacing = [round(spacing, 6)] * 2
    made.PixelData = (255 - grey).tobytes() + b"\0" * (grey.size % 2)
    made["PixelData"].VR = "OB"
    made.save_as(path, enforce_file_format=True)
