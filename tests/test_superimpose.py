"""A bone laid over a radiograph: its grid, where it is found, and how well it agrees."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import COARSE, COHORT_SEED
from PIL import Image

from boneprint import bone, drr
from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.simulate import individual
from boneprint.superimpose import Placing, Sight, Solid, draw, likely_directions, superimpose
from boneprint.superimpose.edges import coarser, edges, mean

TRUE = Placing(12.0, 3.0, -9.0, down_mm=14.0, right_mm=-22.0, larger=0.02)


def scanned(index, kind="femur"):
    """A simulated person's bone, upright as it is enrolled."""
    volume, _ = individual(COHORT_SEED, index, bone=kind).scan(COARSE)
    upright, _ = bone.stand_up(bone.isolate(volume))
    return upright


@pytest.fixture(scope="module")
def upright():
    return scanned(2)


@pytest.fixture(scope="module")
def solid(upright):
    return Solid.of(upright)


def taken(solid, placing, *, seed=5, noise=0.02, pitch_mm=2.0, size=(300, 130)):
    """A radiograph of a bone alone that is exactly where ``placing`` says, in a limb, with noise."""
    room = 40
    picture = replace(placing, down_mm=0.0, right_mm=0.0).render(
        solid.absorber(pitch_mm), pitch_mm, size[0] + 2 * room, size[1] + 2 * room
    )
    down, right = (round(mm / pitch_mm) for mm in (placing.down_mm, placing.right_mm))
    picture = np.roll(picture, (down, right), axis=(0, 1))[room:-room, room:-room]
    columns = np.linspace(-1, 1, size[1])
    picture = picture + 3.0 * np.sqrt(np.clip(1 - columns**2, 0, 1))
    picture = picture + noise * np.random.default_rng(seed).standard_normal(picture.shape)
    return Radiograph(picture.astype(np.float32), pitch_mm, "AP", "taken")


def test_a_grid_survives_being_kept(solid):
    again = Solid.decoded(solid.encoded(), "bone")
    assert np.array_equal(again.levels, solid.levels)
    assert (again.step_mm, again.level_per_mm) == (solid.step_mm, solid.level_per_mm)
    assert len(solid.encoded()) < 0.25 * solid.levels.size


@pytest.mark.parametrize("damage", [lambda raw: raw[:-40], lambda raw: raw[:300] + b"\xff\xff" + raw[302:]])
def test_a_damaged_grid_is_refused(solid, damage):
    with pytest.raises(ReadError, match=r"bone-7: .* damaged"):
        Solid.decoded(damage(solid.encoded()), "bone-7")


def test_a_grid_shows_what_was_enrolled(upright, solid):
    """Oracle: the enrolled view, parallel rays at full precision; here they come from 1.1 m and are in 255 levels."""
    enrolled = drr.enrolment_view(upright, 0.0, 0.0, "bone").pixels
    shown = Placing(0.0).render(solid.absorber(solid.step_mm), solid.step_mm, *enrolled.shape)
    assert shown.sum() == pytest.approx(enrolled.sum(), rel=0.02)
    assert np.corrcoef(shown.ravel(), enrolled.ravel())[0, 1] > 0.97


def test_coarser_grids_absorb_the_same(solid):
    sums = [
        Placing(30.0).render(solid.absorber(pitch), 2.0, 300, 100).sum()
        for pitch in (solid.step_mm, 2 * solid.step_mm, 4 * solid.step_mm)
    ]
    assert sums[1] == pytest.approx(sums[0], rel=0.01)
    assert sums[2] == pytest.approx(sums[0], rel=0.01)


def test_a_running_mean_is_the_mean():
    """Oracle: numpy over the padded picture."""
    picture = np.random.default_rng(3).normal(size=(23, 17)).astype(np.float32)
    padded = np.pad(picture, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    assert mean(picture, 2) == pytest.approx(windows.mean(axis=(2, 3)), abs=1e-5)


def test_edges_know_neither_exposure_nor_brightness(solid):
    picture = taken(solid, TRUE).pixels
    assert edges(3 * picture + 7) == pytest.approx(edges(picture), abs=0.02)


def test_flesh_leaves_no_edge_on_the_bone(solid):
    """A limb's own edges lie at its border; on the bone, picture and bone alone agree."""
    alone = TRUE.render(solid.absorber(2.0), 2.0, 300, 130)
    in_limb = alone + 3.0 * np.sqrt(np.clip(1 - np.linspace(-1, 1, 130) ** 2, 0, 1)).astype(np.float32)
    on_bone = alone > 0.05 * alone.max()
    assert np.corrcoef(edges(alone)[on_bone], edges(in_limb)[on_bone])[0, 1] > 0.95


def test_coarser_edges_have_no_constant():
    assert coarser(np.full((60, 40), 5.0, dtype=np.float32), 4) == pytest.approx(np.zeros((15, 10)), abs=1e-5)


@pytest.mark.parametrize("said_deg", [-12.0, 12.0, 38.0])
def test_a_bone_is_found_where_it_is(solid, said_deg):
    """Oracle: the placing that the radiograph was made with, whatever direction was said within 30 degrees."""
    found = superimpose(solid, Sight.of(taken(solid, TRUE), solid.longest_mm), [said_deg])
    off = found.placing.values() - TRUE.values()
    assert found.likeness > 0.85
    assert abs(off[0]) < 1.5
    assert abs(off[1]) < 2.0
    assert abs(off[2]) < 0.5
    assert np.abs(off[3:5]).max() < 3.0  # mm; the radiograph was moved by whole pixels of 2
    assert abs(off[5]) < 0.01


def test_a_bone_is_found_where_it_is_though_its_back_was_thought_likelier(solid):
    sight = Sight.of(taken(solid, TRUE), solid.longest_mm)
    found = superimpose(solid, sight, [TRUE.axis_deg + 180, TRUE.axis_deg - 20])
    assert abs(found.placing.axis_deg - TRUE.axis_deg) < 1.5


def test_likely_directions_are_the_likest_view_s_and_that_of_the_likest_clearly_other_one():
    angles = np.arange(0.0, 360, 10)
    likeness = 0.5 * np.cos(np.deg2rad(angles - 350)) ** 2 + 0.1 * np.cos(np.deg2rad(angles - 350))
    assert likely_directions(likeness, angles) == (350.0, 170.0)
    assert likely_directions(likeness[:5], angles[:5]) == (0.0,)


def test_another_person_agrees_less(solid):
    sight = Sight.of(taken(solid, TRUE), solid.longest_mm)
    own = superimpose(solid, sight, [5.0]).likeness
    others = [superimpose(Solid.of(scanned(index)), sight, [5.0]).likeness for index in (0, 1, 3)]
    assert max(others) < own - 0.1


def test_a_bone_that_is_not_long_is_found_too():
    """Oracle: the placing of a vertebra's radiograph."""
    vertebra = Solid.of(scanned(1, "vertebra"))
    true = Placing(-8.0, 2.0, 6.0, down_mm=4.0, right_mm=6.0)
    sight = Sight.of(taken(vertebra, true, size=(90, 110)), vertebra.longest_mm)
    found = superimpose(vertebra, sight, [0.0])
    assert found.likeness > 0.85
    assert np.abs(found.placing.values() - true.values())[:3].max() < 3.0


def test_the_same_twice_is_the_same(solid):
    one, other = (superimpose(solid, Sight.of(taken(solid, TRUE), solid.longest_mm), [0.0]) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("spacing_mm", "said"), [(0.002, "Check the pixel spacing"), (40.0, "Check the pixel spacing"), (None, "spacing")]
)
def test_a_picture_of_another_scale_is_refused(solid, spacing_mm, said):
    with pytest.raises(ReadError, match=said):
        Sight.of(replace(taken(solid, TRUE), spacing_mm=spacing_mm), solid.longest_mm)


def test_the_picture_shows_both_edges_together(solid, tmp_path):
    """Yellow is red and green: where a bone lies on itself, most of what is green is yellow."""
    sight = Sight.of(taken(solid, TRUE, noise=0.0), solid.longest_mm)
    draw(solid, sight, superimpose(solid, sight, [0.0]), tmp_path / "over.png", title="bone")
    last = np.asarray(Image.open(tmp_path / "over.png").convert("RGB"))[8:608, -300:].astype(int)
    green = last[..., 1] > 128
    assert green.sum() > 500
    assert (last[..., 0][green] > 60).mean() > 0.8
