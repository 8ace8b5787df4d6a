"""A radiograph whose pixel spacing nobody knows."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from test_cli import refused, run

from boneprint.any_scale import STEP, search_any_scale
from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.read import read_radiograph

TRUTH = "SIM-4711-0002"


@pytest.fixture(scope="module")
def unscaled(probe_pngs):
    """Person 2 from the front, and what the pixel spacing was before it was forgotten."""
    known = read_radiograph(probe_pngs["ap"])
    return replace(known, spacing_mm=None), known.known_spacing_mm()


def test_the_bone_is_found_at_about_its_true_size(bones_h5, unscaled):
    radiograph, spacing_mm = unscaled
    with Database.open(bones_h5) as database:
        found = search_any_scale(database, [radiograph], 4)
    first = found.result.candidates[0]
    assert first.reference.subject_id == TRUTH
    assert found.spacings_mm[0] == pytest.approx(spacing_mm, rel=STEP**2 - 1)
    assert [c.rank for c in found.result.candidates] == [1, 2, 3, 4]
    assert len({c.reference.bone_id for c in found.result.candidates}) == 4
    distances = [c.distance for c in found.result.candidates]
    assert distances == sorted(distances)


def test_what_was_calibrated_for_one_size_is_not_said_of_the_best_of_many(bones_h5, unscaled):
    radiograph, spacing_mm = unscaled
    with Database.open(bones_h5) as database:
        found = search_any_scale(database, [radiograph], 2)
        at_its_size = database.search(replace(radiograph, spacing_mm=spacing_mm), 1).candidates[0]
    assert not any(c.within_margin or c.log10_lr is not None for c in found.result.candidates)
    assert all("best of many sizes" in c.uncalibrated for c in found.result.candidates)
    assert found.result.certified == 0
    # The best of many sizes is hardly further away than the right one.
    assert found.result.candidates[0].distance < at_its_size.distance + 0.1


def test_a_known_spacing_is_nothing_to_search_over(bones_h5, probe_pngs):
    with Database.open(bones_h5) as database, pytest.raises(BoneprintError, match="search without --any-scale"):
        search_any_scale(database, [read_radiograph(probe_pngs["ap"])])


def test_the_command_says_at_which_size_each_candidate_came(bones_h5, unscaled, tmp_path):
    bare = tmp_path / "bare.png"
    pixels = unscaled[0].pixels
    Image.fromarray((255 * pixels / pixels.max()).astype("uint8")).save(bare)
    refused(run("search", bare, "--db", bones_h5), "--any-scale")
    result = run("search", bare, "--db", bones_h5, "--any-scale", "-k", 2, "--json")
    assert result.exit_code == 0, result.stderr
    candidates = json.loads(result.stdout)["candidates"]
    assert len(candidates) == 2
    assert candidates[0]["pixel_spacing_mm"] == pytest.approx(unscaled[1], rel=STEP**2 - 1)
    table = run("search", bare, "--db", bones_h5, "--any-scale", "-k", 2)
    assert "mm a pixel" in table.stdout
