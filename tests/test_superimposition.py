"""Candidates of a search laid over its radiographs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import boneprint
from boneprint import show
from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.probe import as_radiographs
from boneprint.superimposition import agreement, draw_overlays, superimpose_candidates

TRUTH = "SIM-4711-0002"


@pytest.fixture(scope="module")
def both(probe_pngs):
    """Person 2 from the front and from the side."""
    return as_radiographs([probe_pngs["ap"], probe_pngs["ml"]])


@pytest.fixture(scope="module")
def without(cohort_dir, tmp_path_factory):
    """A database that keeps no grids."""
    path = tmp_path_factory.mktemp("without") / "bones.h5"
    with boneprint.open(path, writable=True) as database:
        database.ingest([cohort_dir / "SIM-4711-0001", cohort_dir / TRUTH], keep_solids=False)
    return path


def test_the_bone_comes_first_wherever_its_fingerprint_put_it(bones_h5, both):
    with Database.open(bones_h5) as database:
        result = database.search(both, 4)
        backwards = replace(result, candidates=result.candidates[::-1])
        laid = superimpose_candidates(database, both, backwards)
    first = laid.result.candidates[0]
    assert first.reference.subject_id == TRUTH
    assert [candidate.rank for candidate in laid.result.candidates] == [1, 2, 3, 4]
    agreed = [agreement(*each) for each in zip(laid.likenesses, [c.distance for c in laid.result.candidates])]
    assert agreed == sorted(agreed, reverse=True)
    assert laid.likenesses[0] > laid.likenesses[1] + 0.1


def test_the_trail_says_what_was_laid_over(bones_h5, both, tmp_path):
    shutil.copy(bones_h5, tmp_path / "bones.h5")
    with Database.open(tmp_path / "bones.h5") as database:
        laid = superimpose_candidates(database, both, database.search(both, 3), depth=2)
        entries, findings = database.audit()
    assert not findings
    assert [entry.what for entry in entries[-2:]] == ["search", "superimpose"]
    assert entries[-1].facts["superimposed"] == 2
    assert [each["likeness"] for each in entries[-1].about] == list(laid.likenesses[:2])


def test_a_bone_that_a_fit_missed_is_told_from_strangers_by_its_distance():
    assert agreement(0.50, 0.4) > agreement(0.53, 1.1)
    assert agreement(0.90, 1.2) > agreement(0.75, 0.3)


def test_what_was_proved_of_distances_is_not_said_of_likenesses(bones_h5, both):
    with Database.open(bones_h5) as database:
        result = database.search(both, 2, exact=True)
        laid = superimpose_candidates(database, both, result)
    assert result.certified_exact
    assert laid.result.certified == 0
    # Margin and likelihood ratio are the distance's, and stay.
    assert {c.reference.bone_id: (c.distance, c.log10_lr) for c in result.candidates} == {
        c.reference.bone_id: (c.distance, c.log10_lr) for c in laid.result.candidates
    }


def test_candidates_beyond_the_depth_keep_their_places(bones_h5, both):
    with Database.open(bones_h5) as database:
        result = database.search(both, 4)
        laid = superimpose_candidates(database, both, result, depth=2)
    assert laid.likenesses[2:] == (None, None)
    assert [c.reference for c in laid.result.candidates[2:]] == [c.reference for c in result.candidates[2:]]


def test_a_mirrored_search_is_superimposed_mirrored(bones_h5, both):
    """Oracle: pictures that were turned round beforehand."""
    turned = [replace(each, pixels=each.pixels[:, ::-1]) for each in both]
    with Database.open(bones_h5) as database:
        laid = [
            superimpose_candidates(database, pictures, database.search(pictures, 2, mirror=mirror), mirror=mirror)
            for pictures, mirror in ((both, False), (turned, True))
        ]
    assert laid[1].likenesses == pytest.approx(laid[0].likenesses, abs=1e-6)


def test_without_grids_it_is_said_what_to_do(without, both):
    with Database.open(without) as database:
        result = database.search(both, 2)
        with pytest.raises(BoneprintError, match="no grid is kept"):
            superimpose_candidates(database, both, result)
        with pytest.raises(BoneprintError, match="--no-solids"):
            draw_overlays(database, both, result.candidates[0].reference.bone_id, "never.png")


def test_the_search_command_ranks_by_likeness(bones_h5, probe_pngs):
    found = run("search", probe_pngs["ap"], "--db", bones_h5, "--superimpose", 3, "-k", 2, "--json")
    candidates = json.loads(found.stdout)["candidates"]
    assert len(candidates) == 2
    assert candidates[0]["subject_id"] == TRUTH
    assert candidates[0]["likeness"] > candidates[1]["likeness"]
    table = run("search", probe_pngs["ap"], "--db", bones_h5, "--superimpose", 2).stdout
    assert "ranked by likeness" in table
    assert "no error rate is calibrated for it" in table


def test_a_search_of_unknown_scale_is_not_superimposed(bones_h5, probe_pngs):
    result = run("search", probe_pngs["ap"], "--db", bones_h5, "--any-scale", "--superimpose", 2)
    assert result.exit_code == 2
    assert "known pixel spacing" in result.stderr


def test_the_superimpose_command_draws_each_radiograph(bones_h5, probe_pngs, tmp_path):
    with Database.open(bones_h5) as database:
        bone_id = next(r.bone_id for r, _ in database.bones() if r.subject_id == TRUTH)
    out = tmp_path / "over.png"
    pictures = [probe_pngs["ap"], probe_pngs["ml"]]
    found = run("superimpose", *pictures, "--candidate", bone_id, "-o", out, "--db", bones_h5, "--json")
    said = json.loads(found.stdout)
    assert said["bone_id"] == bone_id
    assert len(said["overlays"]) == 2
    assert said["likeness"] == pytest.approx(np.mean([each["likeness"] for each in said["overlays"]]))
    # 7 degrees from AP and 5 from ML, give or take what the bone itself was turned when it was scanned.
    assert abs((said["overlays"][1]["axis_deg"] - said["overlays"][0]["axis_deg"]) - 88.0) < 5.0
    for path in (out, tmp_path / "over-2.png"):
        assert Image.open(path).size[1] > 600


def test_where_fingerprints_miss_most_bones_the_table_points_to_superimposition(bones_h5, both, capsys):
    with Database.open(bones_h5) as database:
        result = database.search(both, 2)
    show.search_table(result)
    assert "--superimpose" not in capsys.readouterr().out
    (threshold,) = {candidate.threshold for candidate in result.candidates}
    blunt = replace(threshold, false_non_match_rate=0.9)
    blunted = replace(result, candidates=tuple(replace(each, threshold=blunt) for each in result.candidates))
    show.search_table(blunted)
    assert "--superimpose" in capsys.readouterr().out
    show.search_table(blunted, likenesses=(0.8, 0.5))
    assert "--superimpose" not in capsys.readouterr().out
