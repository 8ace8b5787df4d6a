"""From a seed to weights: the training set and the whole command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from boneprint import radiograph_lessons, trainer, training_set, training_visits
from boneprint.cli import main
from boneprint.drr.ensemble import Looks
from boneprint.embed import read_card, weights
from boneprint.embed.card import embedder_id, write_card
from boneprint.embed.cohort import Cohort, read_cohort, write_cohort
from boneprint.embed.embedder import Embedder
from boneprint.embed.finder import cut_out, lie_of_mark, with_mark
from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import CHANNELS
from boneprint.embed.training import Schedule, train
from boneprint.errors import BoneprintError
from boneprint.nouns import canvas_of_height
from boneprint.probe import as_radiographs
from boneprint.simulate import BONES, Scanner, individual
from boneprint.training_recipe import CAT, LEFT_OUT, PIECE, TRAINED, Recipe

SMALL = Recipe(seed=5, people=5, families=3, kinds=("humerus",))
LESSON = Schedule(bones=6, views=3, check_every=0)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    return folder, training_set.build(SMALL, folder, workers=1)


def test_a_recipe_holds_people_and_families_of_every_kind():
    listed = Recipe(people=10, families=4, kinds=("femur", "radius")).members()
    kinds = [(member.kind, member.body.species, member.family >= 0) for member in listed]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        ("femur", "human", False): 10,
        ("femur", "human", True): 16,
        ("femur", "cat", False): 3,
        ("femur", "cat", True): 4,
        ("radius", "human", False): 3,
        ("radius", "human", True): 4,
    }


def test_miniatures_of_two_scans_show_the_same_bone_in_the_same_pose(small_set):
    _, data = small_set
    assert data.sessions.shape == (6, 2)
    straight = Looks(np.array([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]]), np.zeros((1, 3)), np.array([3.0]), np.zeros(1))
    covered = []
    for first, second in data.sessions:
        one, other = (data.ensemble.project(np.array([n]), straight, 140, 60)[0, 1] for n in (first, second))
        covered.append(float(((one > 3) & (other > 3)).sum() / ((one > 3) | (other > 3)).sum()))
    assert np.median(covered) > 0.9  # some second scans lack an end


def test_a_lesson_is_determined_by_its_step_and_holds_a_whole_family(small_set):
    _, data = small_set
    first, second, other = (data.lesson(LESSON, step) for step in (3, 3, 4))
    assert torch.equal(first.frames, second.frames)
    assert not torch.equal(first.frames, other.frames)
    assert first.frames.shape == (18, CHANNELS, 224, 128)
    assert first.marks.shape == (18, 1, 112, 64)
    assert first.labels.bincount().tolist() == [3] * 6
    # The first picture of each bone is clean: nothing is beside what is marked.
    clean = torch.nn.functional.avg_pool2d(first.frames[::3, :1], 2)
    assert clean[torch.nn.functional.max_pool2d(first.marks[::3], 5, 1, 2) == 0].abs().max() < 0.05


def test_bones_kept_back_are_examined_and_never_taught(small_set):
    _, data = small_set
    many = replace(
        data,
        **{
            name: np.tile(getattr(data, name), (20, *[1] * (getattr(data, name).ndim - 1)))
            for name in ("sessions", "canvases_mm", "tall", "kinds")
        },
        families=np.where(np.tile(data.families, 20) < 0, -1, np.repeat(np.arange(20), 6)),
    )
    schedule = replace(LESSON, check_every=1)
    exams = many.examinations(schedule)
    assert exams
    assert torch.equal(exams[0].frames, many.examinations(schedule)[0].frames)


def test_most_lessons_of_a_second_course_show_one_kind(small_set):
    """Three bones of each of two kinds: a lesson of one kind has three."""
    _, data = small_set
    halves = replace(data, families=np.full(6, -1), kinds=np.array(["humerus", "tibia"] * 3))
    settled = replace(LESSON, settled_from=4, published="weights")
    counts = [len(halves.lesson(settled, step).labels.unique()) for step in range(4, 20)]
    assert set(counts) == {3, 6}
    assert counts.count(3) > 8
    assert {len(halves.lesson(settled, step).labels.unique()) for step in range(4)} == {6}
    assert {len(halves.lesson(LESSON, step).labels.unique()) for step in range(8)} == {6}


def test_bones_of_a_lesson_share_a_canvas_that_none_is_lost_on(small_set):
    _, data = small_set
    alone = replace(data, families=np.full(6, -1))
    two_sizes = replace(alone, canvases_mm=np.array([140.0] * 3 + [560.0] * 3))
    assert {len(two_sizes.lesson(LESSON, step).labels.unique()) for step in range(8)} == {3}
    next_sizes = replace(alone, canvases_mm=np.array([280.0] * 3 + [400.0] * 3))
    assert {len(next_sizes.lesson(LESSON, step).labels.unique()) for step in range(8)} == {3, 6}
    # The larger canvas is drawn: the same bone covers less of it.
    small, large = (
        max(replace(alone, canvases_mm=np.full(6, mm)).lesson(LESSON, 0).marks[::3].sum(dim=(1, 2, 3)))
        for mm in (400.0, 560.0)
    )
    assert 1.5 < small / large < 2.4


def test_a_second_course_needs_a_first():
    with pytest.raises(BoneprintError, match="--start-from"):
        Schedule(settled_from=0)


def test_a_training_set_is_not_made_twice_and_a_cut_off_one_is_completed(small_set):
    folder, first = small_set
    told = []
    training_set.build(SMALL, folder, workers=1, report=lambda done, total: told.append(done))
    assert told == []
    (folder / "bodies-0000.npz").unlink()  # as if the run had been killed before it was written
    again = training_set.build(SMALL, folder, workers=1, report=lambda done, total: told.append(done))
    assert told == [6]
    for one, other in zip(first.ensemble.bodies, again.ensemble.bodies, strict=True):
        assert np.array_equal(one.levels, other.levels)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    recipe = Recipe(seed=5, people=4, families=1, siblings=2, kinds=("vertebra", "piece"))
    return training_set.build(recipe, tmp_path_factory.mktemp("squares"), workers=2)


@pytest.mark.slow
def test_bodies_made_anew_elsewhere_by_more_workers_teach_the_same_weights(small_set, tmp_path):
    folder, first = small_set
    again = training_set.build(SMALL, tmp_path / "bodies", workers=2)
    assert (tmp_path / "bodies" / "manifest.json").read_text() == (folder / "manifest.json").read_text()
    one, other = (
        train(data, replace(LESSON, steps=2), tmp_path / name).state_dict()
        for name, data in (("one", first), ("other", again))
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_pieces_are_what_both_scans_left_of_a_long_bone(squares):
    members = Recipe(seed=5, people=4, families=1, siblings=2, kinds=("piece",)).members()
    assert all(member.condition.missing_below + member.condition.missing_above > 0.5 for member in members)
    assert not squares.tall.any()
    for row in np.flatnonzero(squares.kinds == PIECE):
        one, other = (squares.ensemble.bodies[number] for number in squares.sessions[row])
        high = [body.levels.shape[0] * body.step_mm for body in (one, other)]
        assert max(high) < 210
        assert high[0] == pytest.approx(high[1], rel=0.15)


def test_a_lesson_says_how_each_bone_lies(squares):
    """Put where it is said to lie, a radiograph shows the bone as its clean view does, but for the direction."""
    schedule = replace(LESSON, bones=4, views=2, spreads_deg=(0.1,), form="square")
    covered, as_it_is = [], []
    for step in range(6):
        lesson = squares.lesson(schedule, step)
        there = lie_of_mark(lesson.marks, turn=False)._replace(lean=torch.zeros(len(lesson.labels)))
        for lie, found in ((lesson.lie, covered), (there, as_it_is)):
            (canvas,) = cut_out(with_mark(lesson.frames, lesson.marks), lie, (160, 160))
            clean, taken = (canvas[start::2, -1] > 0.5 for start in (0, 1))
            found += ((clean & taken).sum(dim=(1, 2)) / (clean | taken).sum(dim=(1, 2))).tolist()
    assert np.median(covered) > 0.85
    assert np.median(covered) > np.median(as_it_is) + 0.05


def test_a_cache_of_another_recipe_is_refused(small_set):
    folder, _ = small_set
    with pytest.raises(BoneprintError, match="another recipe"):
        training_set.build(replace(SMALL, seed=6), folder)


@pytest.mark.parametrize("wrong", [{"people": -1}, {"people": 1, "families": 0}, {"kinds": ("wing",)}, {"sessions": 3}])
def test_a_recipe_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(BoneprintError, match="training set of"):
        Recipe(**wrong)


def test_own_scans_of_one_bone_become_one_bone(tmp_path):
    scans = []
    for index, session in ((0, 1), (0, 2), (1, 1)):
        body = individual(3, index, bone="humerus")
        volume, _ = body.scan(Scanner((3.0, 3.0, 3.0), soft_tissue_mm=0.0, blur_mm=1.0, noise_hu=5.0), session)
        scans.append((index, volume))
    data = training_set.of_scans(scans, "own", tmp_path)
    assert data.sessions.shape == (2, 2)
    assert data.origin == training_set.of_scans(scans, "own", tmp_path / "again").origin
    assert len(set(data.lesson(replace(LESSON, bones=2), 0).labels.tolist())) == 2
    with pytest.raises(BoneprintError, match="expected at least two"):
        training_set.of_scans(scans[:2], "own", tmp_path / "one")


def test_nobody_trained_on_can_be_simulated_by_a_user():
    recipe = Recipe(people=20, families=2, kinds=("femur", "piece"))
    trained = {member.body.shape.values for member in recipe.members()}
    for seed in (0, 1, 2):
        assert trained.isdisjoint(individual(seed, index).shape.values for index in range(20))


def test_kinds_that_are_left_out_were_in_no_course_of_the_shipped_weights():
    training = read_card()["training"]
    taught = set()
    for course in (*training["earlier_courses"], training):
        recipe, whitening = course["recipe"], course.get("whitening", {})
        taught |= {*recipe.get("kinds", ()), *recipe.get("radiographs", ()), *whitening.get("bones", ())}
    assert {"femur", "hip"} < taught
    assert taught.isdisjoint(LEFT_OUT)
    assert {member.body.bone for member in Recipe(people=20, families=4).members()}.isdisjoint(LEFT_OUT)
    assert set(LEFT_OUT) < set(BONES)


@pytest.mark.slow
def test_the_train_command_makes_weights_that_can_be_used(tmp_path):
    bodies = ("--people", "10", "--families", "4", "--kind", "radius", "--kind", "humerus", "--seed", "3")
    few = ("--steps", "40", "--whitening-bones", "4", "--calibration-bones", "40", "--json")
    words = ["train", "-o", str(tmp_path / "mine-1"), "--cache", str(tmp_path / "cache"), *bodies]
    done = CliRunner().invoke(main, [*words, *few])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["training"]["schedule"]["seed"] == 3
    assert card["training"]["whitening"]["bones"] == {"humerus": 4, "radius": 4}
    for of_bones in card["calibration"].values():
        assert {bone: entry["threshold"]["bones"] for bone, entry in of_bones.items()} == {"humerus": 40, "radius": 40}
    again = CliRunner().invoke(main, [*words, *few])
    assert json.loads(again.stdout)["weights_sha256"] == card["weights_sha256"]


def calibrated(path, bones, value, depth=1):
    """Weights whose card has a threshold, and whose cohort a stranger, for each of some bones."""
    network = Compact(depth=depth)
    weights.save(network, path, {"name": path.name, "architecture": "compact", "dimension": 128, "training": {}})
    strangers = {(bone, 340.0): np.full((1, 128), value, dtype=np.float32) for bone in bones}
    card = weights.read_card(path)
    entries = {bone: {"threshold": {"value": value, "embedder": embedder_id(card)}, "slope": value} for bone in bones}
    card["calibration"] = {"pair": entries}
    card["cohort"] = write_cohort(path, Cohort(strangers, dict.fromkeys(strangers, value))) | {"bones": 1}
    write_card(path, card)
    return path


def test_what_the_other_branch_sees_keeps_its_calibration_under_the_new_name(tmp_path):
    begun = calibrated(tmp_path / "one-1", ["femur", "hip", "vertebra"], 0.25)
    out = calibrated(tmp_path / "two-2", ["hip"], 0.5)
    card = trainer.keep_calibration(out, begun, "square")
    assert card == weights.read_card(out)
    found = card["calibration"]["pair"]
    # The vertebra belongs to the branch that was taught, and was not calibrated again: it is calibrated no more.
    assert {bone: entry["slope"] for bone, entry in found.items()} == {"femur": 0.25, "hip": 0.5}
    assert {entry["threshold"]["embedder"] for entry in found.values()} == {embedder_id(card)}
    cohort = read_cohort(out, card)
    assert {bone: float(rows[0, 0]) for (bone, _), rows in cohort.strangers.items()} == {"femur": 0.25, "hip": 0.5}
    assert {bone: usual for (bone, _), usual in cohort.usual.items()} == {"femur": 0.25, "hip": 0.5}


def test_of_the_tall_branch_the_long_bones_are_what_was_taught(tmp_path):
    begun = calibrated(tmp_path / "one-1", ["femur", "hip"], 0.25)
    out = calibrated(tmp_path / "two-2", ["tibia"], 0.5)
    assert set(trainer.keep_calibration(out, begun, "tall")["calibration"]["pair"]) == {"hip", "tibia"}


def test_a_course_on_one_form_is_whitened_and_calibrated_by_kinds_that_it_shows():
    usual = {"femur": 9, "hip": 8, "vertebra": 7}
    assert trainer._counts(usual, Recipe(), None, None, None) == usual
    assert trainer._counts(usual, Recipe(), None, None, "square") == {"hip": 8, "vertebra": 7}
    assert trainer._counts(usual, Recipe(kinds=("femur", "hip")), None, 3, "square") == {"hip": 3}
    assert trainer._counts(usual, Recipe(kinds=("lump",)), None, None, "square") == {"hip": 8, "vertebra": 7}
    assert trainer._counts(usual, Recipe(kinds=("hip",)), Path("cts"), None, "tall") == {"femur": 9}


def test_cats_femora_are_taught_with_peoples_and_on_their_canvases():
    assert Recipe(kinds=("femur", "hip")).taught(None) == ("femur", "hip", CAT)
    assert Recipe(kinds=("femur", "hip")).taught("tall") == ("femur", CAT)
    assert Recipe(kinds=("femur", "hip")).taught("square") == ("hip",)
    assert Recipe(kinds=("tibia",)).taught("tall") == Recipe(kinds=("tibia", "hip"), cats=False).taught("tall")
    assert training_visits._visited(5, CAT, 0).body.species == "cat"
    assert set(radiograph_lessons.COUNTS) == set(Recipe().taught(None))


def test_a_card_tells_of_the_courses_before_the_first_one_first(tmp_path):
    path = calibrated(tmp_path / "three-3", [], 0.0)
    told = {"seed": 3, "earlier_courses": [{"seed": 1}, {"seed": 2}]}
    write_card(path, weights.read_card(path) | {"training": told})
    assert trainer._courses(path) == [{"seed": 1}, {"seed": 2}, {"seed": 3}]


def uncalibrated(out, *given, **more):
    """Weights with a calibration of nobody; returns the card."""
    write_card(out, weights.read_card(out) | {"calibration": {"pair": {}}})
    card = weights.read_card(out) | {"cohort": write_cohort(out, Cohort()) | {"bones": 0}}
    write_card(out, card)
    return card


@pytest.mark.slow
def test_the_train_command_gives_a_last_course_on_radiographs(tmp_path, monkeypatch):
    """From rendering to card; calibration, which takes far longer and is tested above, is of nobody."""

    monkeypatch.setattr(trainer, "calibrate_embedder", uncalibrated)
    monkeypatch.setattr(radiograph_lessons, "COUNTS", dict.fromkeys((*TRAINED, CAT), 3))
    begun = calibrated(tmp_path / "one-1", ["femur", "hip"], 0.25, Schedule.depth)
    course = ["--radiographs", "--form", "square", "--start-from", str(begun), "--settled-from", "0", "--steps", "2"]
    few = ["--kind", "vertebra", "--kind", "radius", "--seed", "3", "--whitening-bones", "2", "--json"]
    words = ["train", "-o", str(tmp_path / "two-2"), "--cache", str(tmp_path / "cache"), *course, *few]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    # Radii stand on tall canvases: nobody renders them.
    assert card["training"]["recipe"] == {"seed": 3, "radiographs": {"vertebra": 3}}
    assert card["training"]["whitening"]["bones"] == {"vertebra": 2}
    assert card["training"]["earlier_courses"] == [{}]
    assert set(card["calibration"]["pair"]) == {"femur"}
    before = weights.load(begun)[0].state_dict()
    after = weights.load(tmp_path / "two-2")[0].state_dict()
    changed = {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}
    assert {"square.stem", "square.stages", "square.reduce", "square.finder"} <= changed
    assert not {name for name in changed if name.startswith(("tall", "square.leveller"))}
    # Rendered, taught and whitened once more it is the same.
    again = CliRunner().invoke(main, words)
    assert json.loads(again.stdout)["weights_sha256"] == card["weights_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [[], ["--network", "vgg16", "--loss", "triplet", "--mining", "semi-hard", "--not-squared"]]
)
def test_the_train_command_works_on_a_users_own_cts(words, cohort_dir, probe_pngs, tmp_path, monkeypatch):
    """From CTs to weights that embed; calibration, which is of simulated bones in either case, is of nobody."""
    monkeypatch.setattr(trainer, "calibrate_embedder", uncalibrated)
    few = ["--steps", "3", "--whitening-bones", "0", "--learning-rate", "0.0001", "--json"]
    asked = ["train", str(cohort_dir), "-o", str(tmp_path / "own-1"), "--cache", str(tmp_path / "cache"), *words, *few]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["training"]["data"] == "CTs of the user's own (4 bones)"
    assert card["training"]["schedule"]["squared"] is not ("--not-squared" in words)
    assert card["training"]["schedule"]["learning_rate"] == 1e-4
    assert card["architecture"] == ("vgg16" if words else "compact")
    radiographs = as_radiographs([probe_pngs["ap"], probe_pngs["stranger"]])
    one, other = Embedder(tmp_path / "own-1").embed(radiographs, canvas_of_height(560.0))
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(one, other)
    # Other CTs in the same folder are another run.
    fewer = tmp_path / "cohort"
    shutil.copytree(cohort_dir, fewer)
    monkeypatch.chdir(tmp_path)
    asked[1] = "cohort"
    asked[3:6] = ["two-2", "--cache", "cache-2"]
    assert CliRunner().invoke(main, asked).exit_code == 0
    shutil.rmtree(fewer / "SIM-4711-0003")
    done = CliRunner().invoke(main, asked)
    assert done.exit_code != 0
    assert "checkpoint of another run" in done.output


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
