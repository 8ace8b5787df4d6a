"""Natural radiographs as references, CTs as probes, and people under pseudonyms."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import COHORT_SEED

import boneprint
from boneprint.cli import main
from boneprint.errors import BoneprintError, ReadError
from boneprint.ingest import enrolled_view
from boneprint.privacy import pseudonym, read_site_key
from boneprint.read import read_radiograph

PERSON = f"SIM-{COHORT_SEED}-0002"
STRANGER = f"SIM-{COHORT_SEED}-0001"


@pytest.fixture(scope="module")
def xray_db(probe_pngs, tmp_path_factory):
    """A database of radiographs alone: person 2 (AP and ML) and person 1 (AP)."""
    path = tmp_path_factory.mktemp("xrays") / "xrays.h5"
    with boneprint.open(path, writable=True) as database:
        pair = [probe_pngs["ap"], probe_pngs["ml"]]
        report = database.enrol(pair, subject=PERSON, bone="Femur", side="R")
        assert len(report.enrolled) == 1
        database.enrol(probe_pngs["stranger"], subject=STRANGER, bone="femur")
    return path


def test_a_ct_finds_its_radiograph(xray_db, cohort_dir):
    with boneprint.open(xray_db) as database:
        for person in (PERSON, STRANGER):
            best = database.search(cohort_dir / person).candidates[0]
            assert best.reference.subject_id == person
            assert best.reference.bone == "femur"


def test_a_radiograph_finds_a_radiograph(xray_db, probe_pngs):
    with boneprint.open(xray_db) as database:
        first, second = database.search(probe_pngs["ap-again"]).candidates
        assert first.reference.subject_id == PERSON
        assert first.distance < second.distance


def test_a_ct_finds_itself_among_cts(bones_h5, cohort_dir):
    with boneprint.open(bones_h5) as database:
        result = database.search(cohort_dir / PERSON)
        assert result.candidates[0].reference.subject_id == PERSON
        assert result.candidates[0].distance < 0.01
        assert result.certified_exact
        assert result.candidates[0].log10_lr is None  # a CT against a CT was never calibrated


def test_the_distance_of_a_ct_and_one_radiograph_is_the_same_whichever_was_enrolled(
    xray_db, bones_h5, probe_pngs, cohort_dir
):
    with boneprint.open(xray_db) as xrays, boneprint.open(bones_h5) as cts:
        ct_probe = {c.reference.subject_id: c for c in xrays.search(cohort_dir / STRANGER).candidates}[STRANGER]
        xray_probe = {c.reference.subject_id: c for c in cts.search(probe_pngs["stranger"]).candidates}[STRANGER]
        if ct_probe.reference.canvas_mm == xray_probe.reference.canvas_mm:
            assert ct_probe.distance == pytest.approx(xray_probe.distance, abs=1e-4)
            assert ct_probe.log10_lr == pytest.approx(xray_probe.log10_lr, abs=1e-3)


def test_the_same_radiographs_are_enrolled_once(xray_db, probe_pngs):
    with boneprint.open(xray_db, writable=True) as database:
        report = database.enrol([probe_pngs["ml"], probe_pngs["ap"]], subject="other", bone="femur")
        assert report.enrolled == ()
        assert report.skipped[0][1] == "enrolled already"
        assert database.info()["bones"] == 2


def test_what_cannot_be_enrolled_or_searched_with_says_so(xray_db, probe_pngs, tmp_path):
    with boneprint.open(xray_db, writable=True) as database:
        with pytest.raises(BoneprintError, match="expected L or R"):
            database.enrol(probe_pngs["ap"], subject="x", bone="femur", side="left")
        with pytest.raises(BoneprintError, match="expected files"):
            database.enrol(np.eye(64), subject="x", bone="femur", pixel_spacing_mm=0.5)
        with pytest.raises(ReadError, match="no file in it"):
            database.search(tmp_path)


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_enrols_and_a_ct_searches(tmp_path, probe_pngs, cohort_dir):
    db = tmp_path / "x.h5"
    code, out, _ = run(
        "enrol", probe_pngs["ap"], "--db", db, "--subject", PERSON, "--bone", "femur", "--side", "R", "--json"
    )
    assert code == 0
    (entry,) = json.loads(out)["enrolled"]
    assert (entry["subject_id"], entry["laterality"], entry["views"]) == (PERSON, "R", 1)
    code, out, _ = run("search", cohort_dir / PERSON, "--db", db, "--json")
    assert code == 0
    assert json.loads(out)["candidates"][0]["subject_id"] == PERSON


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "site.key"
    path.write_bytes(bytes(range(32)))
    return path


def test_with_a_site_key_neither_id_nor_path_is_stored(tmp_path, key, cohort_dir, probe_pngs):
    db = tmp_path / "x.h5"
    code, out, _ = run("ingest", cohort_dir / PERSON, "--db", db, "--site-key", key, "--json")
    assert code == 0
    (entry,) = json.loads(out)["enrolled"]
    assert entry["subject_id"] == pseudonym(PERSON, key.read_bytes())
    run("enrol", probe_pngs["stranger"], "--db", db, "--subject", STRANGER, "--bone", "femur", "--site-key", key)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (PERSON, STRANGER, str(cohort_dir), str(probe_pngs["stranger"])):
        assert secret.encode() not in stored
    _, name, _ = run("pseudonym", PERSON, "--site-key", key)
    code, _, _ = run("remove", "--db", db, "--subject", name.strip(), "--erase")
    assert code == 0


def test_a_pseudonym_is_the_same_for_one_person_and_tells_nothing(key):
    secret = read_site_key(key)
    assert pseudonym("AB-12 3", secret) == pseudonym("  ab-12  3 ", secret)
    assert pseudonym("AB-123", secret) != pseudonym("AB-124", secret)
    assert pseudonym("AB-123", secret) != pseudonym("AB-123", b"another key, as long")


def test_a_key_that_can_be_guessed_is_refused(tmp_path):
    (tmp_path / "k").write_bytes(b"secret")
    with pytest.raises(ReadError, match="6 bytes, expected at least 16"):
        read_site_key(tmp_path / "k")
    with pytest.raises(ReadError, match="--site-key"):
        read_site_key(tmp_path / "none")


def test_a_kept_radiograph_is_shown_as_the_candidate_of_a_ct(probe_pngs, cohort_dir, tmp_path):
    with boneprint.open(tmp_path / "kept.h5", writable=True) as database:
        database.enrol([probe_pngs["ap"], probe_pngs["ml"]], subject=PERSON, bone="femur", keep_views=True)
        best = database.search(cohort_dir / PERSON).candidates[0]
    shown, given = enrolled_view(best), read_radiograph(probe_pngs["ap"])
    assert best.view == "view"  # the direction of these was never said
    assert shown.pixels.shape in {given.pixels.shape, read_radiograph(probe_pngs["ml"]).pixels.shape}
    assert shown.spacing_mm == pytest.approx(given.spacing_mm, rel=1e-3)
