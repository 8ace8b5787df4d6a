"""Radiographs of known directions are compared with views that turn together; the oracle tries every turn and view."""

import numpy as np
import pytest

from boneprint import drr
from boneprint.directions import WITHIN_DEG, together
from boneprint.errors import BoneprintError
from boneprint.nouns import Fingerprint

VIEWS_DEG = np.arange(0, 360, 10.0)


def best_turn(squared, angles_deg):
    """By the definition, one turn after the other."""
    best = np.inf, None
    for turn in VIEWS_DEG:
        views = []
        for of_one, angle in zip(squared, angles_deg):
            off = np.abs((VIEWS_DEG - angle - turn) % 360)
            near = np.flatnonzero(np.minimum(off, 360 - off) <= WITHIN_DEG)
            views.append(int(near[of_one[near].argmin()]))
        best = min(best, (np.mean([of_one[view] for of_one, view in zip(squared, views)]), views))
    return best


@pytest.mark.parametrize("angles_deg", [(0, 90), (0, 270), (90, 0), (0, 40), (0, 50, 100)])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_turn_is_that_of_every_turn_tried(seed, angles_deg):
    squared = np.random.default_rng(seed).uniform(0, 4, size=(len(angles_deg), 36))
    fused, views = together(squared, VIEWS_DEG, angles_deg)
    distance, right = best_turn(squared, angles_deg)
    assert fused == pytest.approx(distance)
    assert views.tolist() == right


def test_many_bones_at_once_are_each_compared_as_if_alone():
    squared = np.random.default_rng(1).uniform(0, 4, size=(2, 3, 4, 36))
    fused, views = together(squared, VIEWS_DEG, (0, 90))
    for place in np.ndindex(3, 4):
        alone, own = together(squared[(slice(None), *place)], VIEWS_DEG, (0, 90))
        assert fused[place] == alone
        assert views[(slice(None), *place)].tolist() == own.tolist()


def test_compared_together_a_bone_is_never_nearer_than_compared_one_by_one():
    squared = np.random.default_rng(2).uniform(0, 4, size=(2, 100, 36))
    assert (together(squared, VIEWS_DEG, (0, 90))[0] >= squared.min(axis=2).mean(axis=0)).all()


def test_views_that_differ_in_their_tilt_are_all_of_one_direction():
    squared = np.random.default_rng(4).uniform(0, 4, size=(2, 5, 3, 36))
    fused, views = together(squared.reshape(2, 5, 108), np.tile(VIEWS_DEG, 3), (0, 90))
    nearest, level = together(squared.min(axis=2), VIEWS_DEG, (0, 90))
    np.testing.assert_array_equal(fused, nearest)
    np.testing.assert_array_equal(views % 36, level)


def test_directions_count_from_any_zero_and_one_radiograph_may_have_any():
    squared = np.random.default_rng(3).uniform(0, 4, size=(2, 36))
    assert together(squared, VIEWS_DEG, (0, 90))[0] == together(squared, VIEWS_DEG, (200, -70))[0]
    assert together(squared[:1], VIEWS_DEG, (33,))[0] == squared[0].min()


@pytest.mark.parametrize("views_deg", [[np.nan, np.nan], [0.0, 180.0], [0.0]])
def test_views_of_unknown_or_other_directions_are_not_compared(views_deg):
    fused, _ = together(np.ones((2, len(views_deg))), views_deg, (0, 90))
    assert fused == np.inf


def test_every_radiograph_has_a_direction_or_none_has():
    with pytest.raises(BoneprintError, match="2 radiographs and 3 angles"):
        Fingerprint({560.0: np.zeros((2, 8), np.float32)}, "fake:1", angles_deg=(0, 90, 180))


@pytest.mark.parametrize(("angle_deg", "on_the_left"), [(90.0, True), (270.0, False)])
def test_the_front_of_a_bone_is_where_the_help_says_a_lateral_shows_it(angle_deg, on_the_left):
    values = np.zeros((3, 40, 40))
    values[:, 5, 20] = 1  # in front: y runs to the back
    (view,) = drr.turntable(values, 1.0, [angle_deg], width=60)
    assert (view[1].argmax() < 25) == on_the_left
    assert (view[1].argmax() > 35) != on_the_left
