"""What is counted on chest radiographs is what is said, and what a network is taught by are pictures of one chest."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from boneprint import training_set
from boneprint.drr.ensemble import Looks
from boneprint.embed.finder import cut_out, with_mark
from boneprint.embed.training import Schedule
from boneprint.nouns import Radiograph

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import chest
import thorax

PEOPLE = np.repeat(np.arange(6), 2)
LESSON = Schedule(seed=1, bones=3, views=3, form="square", check_every=0)


def rows(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_each_fold_is_tested_with_its_own_network_on_its_own_people():
    chests = chest.Chests([], PEOPLE)
    assert [chests.fold(number).tolist() for number in (0, 1)] == [
        (PEOPLE % 2 == 0).tolist(),
        (PEOPLE % 2 == 1).tolist(),
    ]
    knowing = rows(np.eye(6)[PEOPLE] + 1e-3 * np.random.default_rng(1).normal(size=(12, 6)))
    # To the other network everybody resembles the next one: nobody's nearest is of the same person.
    fooled = rows(np.eye(12)[(np.arange(12) + 1) // 2])
    both = chest.outcome([knowing, knowing], chests)
    assert (both["rank_1"]["share"], both["median_rank"], both["auc"], both["eer"]) == (1, 1, 1, 0)
    half = chest.outcome([knowing, fooled], chests)
    assert half["rank_1"]["share"] == pytest.approx(0.5)
    assert 0.5 <= half["auc"] < 1


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(2)
    spots = [np.kron(rng.random((9, 7)), np.ones((40, 40))).astype(np.float32) for _ in range(4)]
    return chest.Pictures.of([Radiograph(each, 1.2) for each in spots])


def test_a_picture_keeps_its_place_whatever_is_done_to_it(pictures):
    lesson = pictures.lesson(LESSON, 5)
    assert lesson.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    placed = cut_out(with_mark(lesson.frames, lesson.marks), lesson.lie, (160, 160))[0]

    def alike(shown, a, b):
        return float(torch.corrcoef(torch.stack([shown[a, 2].flatten(), shown[b, 2].flatten()]))[0, 1])

    same = [alike(placed, a, b) for first in (0, 3, 6) for a, b in ((first, first + 1), (first, first + 2))]
    other = [alike(placed, a, b) for a in (0, 1, 2) for b in (3, 4, 5)]
    assert np.mean(same) > np.mean(other) + 0.2
    # Off their places they agree less.
    size = lesson.frames.shape[2:]
    centre = lesson.lie._replace(
        lean=torch.zeros(9), row=torch.full((9,), (size[0] - 1) / 2), column=torch.full((9,), (size[1] - 1) / 2)
    )
    unplaced = cut_out(with_mark(lesson.frames, lesson.marks), centre, (160, 160))[0]
    assert np.mean(same) > np.mean([alike(unplaced, a, b) for f in (0, 3, 6) for a, b in ((f, f + 1), (f, f + 2))])


def test_a_step_has_the_same_pictures_each_time_and_another_one_others(pictures):
    first, again, other = (pictures.lesson(LESSON, step).frames for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_beyond_the_picture_a_frame_is_empty(pictures):
    lesson = pictures.lesson(LESSON, 0)
    beyond = torch.nn.functional.interpolate(lesson.marks, scale_factor=2) == 0
    assert beyond.float().mean() > 0.05
    assert (lesson.frames * beyond).abs().mean() < 1e-3


def test_a_person_breathes_between_visits_and_stays_the_same_person():
    one, two, three = (visit.shape for visit in thorax.visits(1, 0))
    other = thorax.visits(1, 1)[0].shape
    assert one["sink"] != two["sink"] != three["sink"]
    for name in ("wide", "length_mm", "dip5", "body"):
        assert one[name] == two[name] == three[name] != other[name]


@pytest.fixture(scope="module")
def cages(tmp_path_factory):
    return thorax.training_set(1, 2, tmp_path_factory.mktemp("cages"))


def test_a_rib_cage_is_as_large_as_one_and_about_the_same_on_both_sides(cages):
    for small in cages.ensemble.bodies[::3]:
        depth, width = (side * small.step_mm for side in small.levels.shape[1:])
        assert 220 < width < 460
        assert 150 < depth < 320
        across = (small.levels > 1).sum(axis=(0, 1))
        spine = int(across.argmax())
        assert abs(spine / len(across) - 0.5) < 0.1
        assert 0.7 < across[:spine].sum() / across[spine + 1 :].sum() < 1.4
        # Ribs with gaps between them, not a shell.
        assert 0.02 < (small.levels > 0).mean() < 0.35


def test_whoever_is_looked_at_from_the_side_turns_and_has_a_heart(cages):
    def looks(beam):
        axes = np.stack([np.cross(beam, [0.0, 0.0, 1.0]), [0.0, 0.0, -1.0], beam])[None]
        return Looks(axes, np.zeros((1, 3)), np.array([2.7]), np.zeros(1))

    members = np.array([0])
    front, side = (cages.ensemble.project(members, looks(np.array(b, float)), 64, 64) for b in ((0, 1, 0), (1, 0, 0)))
    torch.testing.assert_close(front[:, 1], side[:, 1], atol=2.0, rtol=0.2)
    plain = training_set.Ensemble(cages.ensemble.bodies).project(members, looks(np.array([0.0, 1, 0])), 64, 64)
    assert front[0, 0].mean() > plain[0, 0].mean()


def test_a_lesson_of_rib_cages_shows_each_twice(cages):
    lesson = cages.lesson(replace(LESSON, bones=2, views=2, frontal_share=1.0), 0)
    assert lesson.labels.tolist() == [0, 0, 1, 1]
    assert lesson.marks.amax() > 0.9
