"""From a seed to weights: the training set and the whole command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from boneprint import training_set
from boneprint.cli import main
from boneprint.errors import BoneprintError
from boneprint.simulate import individual

SMALL = training_set.Recipe(seed=5, people=1, families=0, cats=1, cat_families=0)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    return folder, training_set.build(SMALL, folder, workers=1)


def test_bodies_fill_their_canvas_and_have_flesh_nowhere(small_set):
    _, data = small_set
    assert data.views.shape == (2, training_set.VIEWS, 2, 192, 96)
    for body in data.views.astype(np.float32):
        tall = (body[:, 0] > 0.05).any(axis=(0, 2))
        assert 0.55 * 192 < tall.sum() < 192
        # Where there is bone there is thickness.
        assert (body[:, 1][body[:, 0] > 0.1] > 0).all()


def test_a_training_set_is_not_made_twice(small_set):
    folder, first = small_set
    told = []
    again = training_set.build(SMALL, folder, workers=1, report=lambda done, total: told.append(done))
    assert told == []
    assert np.array_equal(first.views, again.views)


def test_a_cut_off_training_set_is_completed(small_set):
    folder, first = small_set
    kept = first.views[1].copy()
    first.angles_deg[1, -1] = 0  # as if the run had been killed before body 1 was done
    first.views[1] = 0
    again = training_set.build(SMALL, folder, workers=1)
    assert np.array_equal(again.views[1], kept)


def test_a_cache_of_another_recipe_is_refused(small_set):
    folder, _ = small_set
    with pytest.raises(BoneprintError, match="another recipe"):
        training_set.build(training_set.Recipe(seed=6, people=1, families=0, cats=1, cat_families=0), folder)


def test_nobody_trained_on_can_be_simulated_by_a_user():
    trained = {body.shape.values for body, _ in training_set.Recipe(people=20, families=2).bodies()}
    for seed in (0, 1, 2):
        assert trained.isdisjoint(individual(seed, index).shape.values for index in range(20))


@pytest.mark.slow
def test_the_train_command_makes_weights_that_can_be_used(tmp_path):
    bodies = ("--people", "6", "--families", "2", "--cats", "0", "--cat-families", "0", "--seed", "3")
    words = ["train", "-o", str(tmp_path / "mine-1"), "--cache", str(tmp_path / "cache"), *bodies]
    done = CliRunner().invoke(main, [*words, "--steps", "40", "--calibration-bones", "40", "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["training"]["schedule"]["seed"] == 3
    assert {entry["threshold"]["bones"] for entry in card["calibration"].values()} == {40}
    again = CliRunner().invoke(main, [*words, "--steps", "40", "--calibration-bones", "40", "--json"])
    assert json.loads(again.stdout)["weights_sha256"] == card["weights_sha256"]


@pytest.mark.slow
def test_s1_writes_its_nine_hundred_images(cohort_dir, tmp_path):
    from PIL import Image

    words = ["drr", str(cohort_dir / "SIM-4711-0000"), "-o", str(tmp_path), "--protocol", "s1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    written = sorted(tmp_path.glob("*.png"))
    assert len(written) == 900
    assert len({path.name.split("_")[2] for path in written}) == 4
    assert {Image.open(path).size for path in written[::100]} == {(800, 800)}
