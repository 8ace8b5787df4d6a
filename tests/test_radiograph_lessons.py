"""The last course: what is shown of a bone, which of its views, to whom, and what is learnt of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from boneprint import radiograph_lessons, trainer, training_visits, whitening_set
from boneprint.embed import weights
from boneprint.embed.networks import Compact
from boneprint.embed.training import Schedule, train
from boneprint.errors import BoneprintError
from boneprint.radiograph_lessons import HARMED, Picture, RadiographLessons
from boneprint.simulate import HEALTHY, IMPLANTS, TRAINING, Condition, individual
from boneprint.training_recipe import PIECE, Recipe
from boneprint.two_visits import SESSIONS, SIDES, Visited

SCHEDULE = Schedule(seed=4, steps=2, bones=4, views=3, check_every=0, form="square", published="any", settled_from=0)


class Counting:
    """Takes the brightest pixel for the place in a row of numbers."""

    id = "counting:0"

    def embed(self, radiographs, canvas):
        return np.eye(8, dtype=np.float32)[[round(float(r.pixels.max())) for r in radiographs]]

    def embed_tensors(self, images, spacing_mm, canvas):
        return torch.eye(8)[images.amax(dim=(1, 2)).round().long()]


def test_the_likest_view_is_looked_for_near_the_direction_alone(tmp_path, monkeypatch):
    level, tilted = np.zeros((18, 60, 40), np.float16), np.zeros((36, 70, 40), np.float16)
    level[0, 3, 4], level[2, 3, 4] = 1, 1  # at 0 and 20 degrees, and in the mirror at 180 and 200
    level[9], tilted[9 + 18] = 2, 3  # at 90 degrees, the latter from above
    arrays = {"pixels": level, "tilted": tilted, "spacing_mm": 2.0, "canvas_mm": 480.0}
    visits = [(SESSIONS[0], 4.0, {"AP": 1, "ML": 3}), (SESSIONS[1], 31.0, {"AP": 1, "ML": 2})]
    for session, off, marks in (*visits, *((session, 4.0, {"AP": 1, "ML": 2}) for session in HARMED)):
        for side in SIDES:
            name = f"{session}-{side}"
            taken = np.zeros((60, 40), np.float16)
            taken[5, 5] = marks[side]
            arrays |= {name: taken, f"{name}_mm": 2.0, f"{name}_drawn": np.array([off if side == "AP" else 0.0, 0, 60])}
            arrays[f"{name}_mark"] = taken > 0
    np.savez(tmp_path / "bone.npz", **arrays)
    asked = []
    monkeypatch.setattr(
        training_visits, "build", lambda *given, **more: asked.append(more) or {"hip": [tmp_path / "bone.npz"]}
    )
    told = []
    lessons = radiograph_lessons.build(1, {"hip": 1}, tmp_path, Counting(), report=lambda *said: told.append(said))
    assert told == [("finding the likest views", 1, 1)]
    assert asked[0]["marked"]
    assert asked[0]["harmed"] == HARMED
    views = lessons.views[0]
    assert np.array_equal(views[SESSIONS[0], "AP"].pixels, level[0])
    assert np.array_equal(views[SESSIONS[0], "ML"].pixels, tilted[27])
    assert np.array_equal(views[SESSIONS[1], "ML"].pixels, level[9])
    assert lessons.kinds.tolist() == ["hip"]
    assert not lessons.tall[0]
    # From 31 degrees the view at 0 is not near, that at 20 is.
    assert np.array_equal(views[SESSIONS[1], "AP"].pixels, level[2])
    assert np.array_equal(views[HARMED[0], "ML"].pixels, level[9])
    level[2] = 0
    np.savez(tmp_path / "bone.npz", **arrays)
    away = radiograph_lessons.build(1, {"hip": 1}, tmp_path, Counting()).views[0]
    assert away[SESSIONS[1], "AP"].pixels.max() == 0
    assert lessons.radiographs[0][HARMED[0], "ML"].mark.sum() == 1
    assert lessons.radiographs[0][SESSIONS[0], "ML"].mark.sum() == 1
    assert np.array_equal(views[SESSIONS[0], "ML"].mark, tilted[27] > 0)


def school(count=20, kinds=("hip", "vertebra")):
    """Bones that are bright blots of a size of their own."""
    rng = np.random.default_rng(7)

    def picture(size, noise):
        y, x = np.mgrid[-60:60:1.0, -60:60:1.0]
        blot = np.exp(-((y / (20 + size)) ** 2 + (x / 25) ** 4))
        grey = blot + 0.01 * x + noise * rng.standard_normal(blot.shape)
        return Picture(grey.astype(np.float32), 2.0, (blot > 0.5) & (x < 0))

    keys = [(session, side) for session in (*SESSIONS, *HARMED) for side in SIDES]
    return RadiographLessons(
        [{key: picture(size, 0.05) for key in keys} for size in range(count)],
        [{key: picture(size, 0.0) for key in keys} for size in range(count)],
        np.full(count, 480.0),
        np.zeros(count, dtype=bool),
        np.array([kinds[number % len(kinds)] for number in range(count)]),
        "blots",
    )


def test_a_lesson_shows_a_view_and_both_radiographs_of_each_bone_and_is_always_the_same():
    lessons = school()
    one, again, other = (lessons.lesson(SCHEDULE, step) for step in (5, 5, 6))
    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.beside, again.beside)
    assert one.frames.shape == other.frames.shape == (12, 3, 208, 208)
    assert not torch.equal(one.frames, other.frames)
    assert one.labels.tolist() == [bone for bone in range(4) for _ in range(3)]
    assert one.lie is None
    # The first of each bone is the clean one.
    clean, first, second = one.frames[:, 0].diff(dim=2).abs().mean(dim=(1, 2)).reshape(4, 3).T
    assert (clean < 0.95 * torch.minimum(first, second)).all()


def test_the_bone_is_where_it_was_marked():
    lessons = school()
    told = [lessons.lesson(SCHEDULE, step) for step in range(12)]
    marks = torch.cat([each.marks for each in told])
    assert marks.shape[1:] == (1, 104, 104)
    # Half of the blot is marked, on the left or, in the mirror, on the right; it moves with the frame.
    halves = torch.stack([marks[:, 0, :, :52].sum(dim=(1, 2)), marks[:, 0, :, 52:].sum(dim=(1, 2))])
    assert (halves.amax(dim=0) > 5 * halves.amin(dim=0)).all()
    assert 0 < (halves[0] > halves[1]).float().mean() < 1


class Watched(dict):
    """Remembers which visits were asked for."""

    def __init__(self, pictures, asked):
        super().__init__(pictures)
        self.asked = asked

    def __getitem__(self, key):
        self.asked.append(key[0])
        return super().__getitem__(key)


def test_some_of_what_is_shown_was_taken_after_harm_but_nothing_that_examines():
    lessons, asked = school(40, kinds=("hip",)), []
    lessons = replace(lessons, radiographs=[Watched(taken, asked) for taken in lessons.radiographs])
    for step in range(20):
        lessons.lesson(SCHEDULE, step)
    assert set(asked) == {*SESSIONS, *HARMED}
    assert 0.2 <= np.isin(asked, HARMED).mean() <= 0.45
    asked.clear()
    lessons.examinations(replace(SCHEDULE, check_every=1))
    assert set(asked) == set(SESSIONS)
    asked.clear()
    # Neighbours are what a finder that is taught alone learns to leave out.
    lessons.examinations(replace(SCHEDULE, check_every=1, finder_only=True))
    assert set(asked) & set(HARMED)


def test_a_bone_may_be_shown_in_the_mirror_and_then_all_its_pictures_are():
    lessons = school(2, kinds=("hip",))
    lower = Picture(np.tri(120, dtype=np.float32), 2.0, np.tri(120, dtype=np.bool_))
    leaning = [dict.fromkeys(lessons.views[0], lower)] * 2
    lessons = replace(lessons, radiographs=leaning, views=leaning)
    ways = set()
    for step in range(8):
        frames = lessons.lesson(SCHEDULE, step).frames
        left = (
            frames[:, 0, 104:, :104].abs().sum(dim=(1, 2)) > frames[:, 0, 104:, 104:].abs().sum(dim=(1, 2))
        ).tolist()
        bones = [tuple(left[start : start + 3]) for start in (0, 3)]
        assert set(bones) <= {(True,) * 3, (False,) * 3}
        ways |= set(bones)
    assert len(ways) == 2


def test_bones_kept_back_are_examined_and_never_taught():
    lessons = school(48)
    taught = lessons._allowed(replace(SCHEDULE, check_every=1), examined=False)
    examined = lessons._allowed(replace(SCHEDULE, check_every=1), examined=True)
    assert examined.sum() == 3
    assert not (taught & examined).any()
    assert (taught | examined).all()
    assert not lessons._allowed(replace(SCHEDULE, form="tall"), examined=False).any()
    exams = lessons.examinations(replace(SCHEDULE, check_every=1))
    assert exams
    assert all(len(exam.labels.unique()) == 3 for exam in exams)


def test_most_lessons_are_on_one_kind():
    lessons = school()
    seen = []

    def watched(bones, schedule, rng):
        seen.append(len(set(lessons.kinds[bones])))

    object.__setattr__(lessons, "_lesson", watched)
    for step in range(100):
        lessons.lesson(SCHEDULE, step)
    assert 60 <= seen.count(1) <= 90


def test_noise_that_is_added_is_no_more_than_there_was():
    rng = np.random.default_rng(1)
    taken = Picture((5 + 0.1 * rng.standard_normal((200, 200))).astype(np.float32), 1.0, np.ones((200, 200), np.bool_))
    varied = [radiograph_lessons._varied(taken, rng) for _ in range(40)]
    sd = np.array([each.pixels.std() for each in varied])
    assert np.isclose(sd, 0.1, rtol=0.02).sum() >= 10
    assert sd.max() < 0.1 * 2**0.5 * 1.05
    assert sd.max() > 0.12
    spacing = np.array([each.spacing_mm for each in varied])
    assert 0.985 <= spacing.min() < 0.99 < 1.01 < spacing.max() <= 1.015


def test_the_finder_learns_what_was_marked_and_the_leveller_nothing(tmp_path):
    torch.manual_seed(1)
    start = tmp_path / "start-1"
    weights.save(Compact(depth=1), start, {"name": "start-1", "architecture": "compact", "dimension": 128})
    before, _ = weights.load(start)
    after = train(school(), replace(SCHEDULE, depth=1, published=str(start), learning_rate=1e-2), tmp_path / "run")
    changed = {
        name.split(".")[0]
        for (name, one), other in zip(before.square.state_dict().items(), after.square.state_dict().values())
        if not torch.equal(one, other)
    }
    assert {"stem", "stages", "reduce", "finder"} <= changed
    assert "leveller" not in changed


def test_a_course_for_the_finder_alone_leaves_all_else_and_goes_on_where_it_was_stopped(tmp_path):
    torch.manual_seed(1)
    start = tmp_path / "start-1"
    weights.save(Compact(depth=1), start, {"name": "start-1", "architecture": "compact", "dimension": 128})
    before, _ = weights.load(start)
    course = replace(SCHEDULE, depth=1, published=str(start), learning_rate=1e-2, finder_only=True)
    told = []
    after = train(school(), course, tmp_path / "run", report=lambda *said: told.append(said)).state_dict()
    # Nothing is embedded, so nothing is known of who is nearest to whom.
    assert [(step, rank1) for step, _, rank1 in told] == [(0, None), (1, None)]
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("square.finder.") for name in changed)
    assert "square.finder.overview.out.weight" in changed
    again = train(school(), course, tmp_path / "run").state_dict()
    assert all(torch.equal(again[name], after[name]) for name in after)
    with pytest.raises(BoneprintError, match="no finder"):
        replace(course, network="vgg16")


@pytest.mark.parametrize("wrong", [{"cts": "cts"}, {"schedule": Schedule()}])
def test_a_last_course_wants_weights_and_no_cts(tmp_path, wrong):
    given = {"recipe": Recipe(), "schedule": SCHEDULE, "cts": None, **wrong}
    with pytest.raises(BoneprintError, match="--start-from"):
        trainer.train_embedder(tmp_path / "x", tmp_path, radiographs={"hip": 2}, **given)


def test_nobody_is_taught_on_by_whom_the_last_layer_is_whitened(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(training_visits.two_visits, "build", lambda wanted, *more: listed.append(wanted))
    training_visits.build(1, radiograph_lessons.COUNTS, training_visits.TAUGHT_ON, tmp_path)
    whitening_set.build(1, whitening_set.COUNTS, tmp_path)
    taught, whitened = ({(of.body.species, of.body.entropy) for of in each.values()} for each in listed)
    assert len(taught) == sum(radiograph_lessons.COUNTS.values())
    # A mark costs a second scan, and the last layer learns nothing of it.
    assert not any(of.marked for of in listed[1].values())
    assert not taught & whitened


def test_bones_are_harmed_by_what_fits_them_and_pieces_lose_nothing_but_their_surface(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(training_visits.two_visits, "build", lambda wanted, *more: listed.append(wanted))
    counts = {"femur": 60, "vertebra": 60, PIECE: 60}
    training_visits.build(1, counts, training_visits.TAUGHT_ON, tmp_path, harmed=HARMED, marked=True)
    (visited,) = listed
    drawn = {kind: [of for path, of in visited.items() if f"-{kind}-" in path.name] for kind in counts}
    for kind, every in drawn.items():
        assert all(tuple(of.changes) == HARMED and of.marked for of in every)
        assert (kind == PIECE) == all(of.condition != HEALTHY for of in every)
    harms = {kind: [harm for of in every for harm in of.changes.values()] for kind, every in drawn.items()}
    assert {harm.implant for harm in harms["femur"]} == {None, *IMPLANTS}
    assert {harm.implant for harm in harms["vertebra"]} == {None, "plate", "screws"}
    assert all(replace(harm, seed=0) != HEALTHY for kind in ("femur", "vertebra") for harm in harms[kind])
    for of in drawn[PIECE]:
        for harm in of.changes.values():
            assert replace(harm, erosion_mm=0, osteoporosis=0, neighbours=False) == of.condition
    # What is not long lies between its neighbours.
    assert all(harm.neighbours for kind in ("vertebra", PIECE) for harm in harms[kind])
    assert 0.05 < np.mean([harm.neighbours for harm in harms["femur"]]) < 0.6
    assert 0.4 < np.mean([replace(harm, seed=0) == Condition(neighbours=True) for harm in harms["vertebra"]]) < 0.75


def test_a_visit_after_harm_is_rendered_beside_those_without():
    body = individual(3, 1, bone="radius", stream=TRAINING)
    both = Visited(body, sessions=(2,), stranger=True, changes={3: Condition(implant="plate", seed=1)}).render()
    healthy = Visited(body, sessions=(2, 3), stranger=True).render()
    assert both.keys() == healthy.keys()
    assert np.array_equal(both["2-AP"], healthy["2-AP"])
    assert not np.array_equal(both["3-AP"], healthy["3-AP"])


def test_a_mark_says_where_the_bone_is_whatever_lies_beside_it():
    body = individual(3, 26, bone="vertebra", stream=TRAINING)

    def taken(condition):
        return Visited(body, sessions=(), stranger=True, changes={4: condition}, marked=True).render()

    between, alone = taken(Condition(neighbours=True)), taken(HEALTHY)
    for side in SIDES:
        mark, grey, without = between[f"4-{side}_mark"], between[f"4-{side}"], alone[f"4-{side}"].astype(np.float64)
        assert mark.shape == grey.shape
        assert np.array_equal(mark, alone[f"4-{side}_mark"])
        assert 0.02 < mark.mean() < 0.4
        ring = binary_dilation(mark, iterations=6) & ~binary_dilation(mark, iterations=2)
        assert without[mark].mean() > without[ring].mean()
        rows = np.flatnonzero(mark.any(axis=1))
        changed = np.abs(grey - without) > 0.02 * without.max()
        assert changed[: rows[0]].any()
        assert changed[rows[-1] + 1 :].any()
