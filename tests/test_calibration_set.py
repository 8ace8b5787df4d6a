"""Calibration compares bones as the product does; oracles by construction, with an embedder that knows each bone."""

import numpy as np
import pytest
import torch

from boneprint import calibration_set
from boneprint.embed.cohort import MOST
from boneprint.evidence import BIPLANE, ONE_PROBE, PAIR, TWO_PROBES, UNSAID
from boneprint.evidence.metrics import false_match_rate, false_non_match_rate
from boneprint.simulate import CALIBRATION, Condition, individual
from boneprint.training_recipe import PIECE, TRAINED
from boneprint.two_visits import SESSIONS, SIDES

SPACING_MM = 2.0
TALL, SMALL = 450.0, 100.0  # what the radiographs of two bones show, mm


class Knowing:
    """Takes the brightest pixel for the number of the bone."""

    def embed(self, radiographs, canvas):
        return np.eye(4, dtype=np.float32)[[round(float(r.pixels.max())) for r in radiographs]]

    def embed_tensors(self, images, spacing_mm, canvas):
        return torch.eye(4)[images.amax(dim=(1, 2)).round().long()]


def rod(number, shown_mm):
    picture = np.zeros((300, 60), np.float16)
    picture[10 : 10 + round(shown_mm / SPACING_MM), 20:26] = number
    return picture


@pytest.fixture
def two_bones(tmp_path):
    """Bone 1 on the largest canvas, bone 2 on a small one, in files as `build` writes them."""
    paths = []
    for number, shown_mm, canvas_mm in ((1, TALL, 560.0), (2, SMALL, 140.0)):
        arrays = {"pixels": np.stack([rod(number, shown_mm)] * 18), "spacing_mm": SPACING_MM, "canvas_mm": canvas_mm}
        for name in (f"{session}-{side}" for session in (2, 3) for side in SIDES):
            arrays |= {name: rod(number, shown_mm), f"{name}_mm": SPACING_MM}
        paths.append(tmp_path / f"{number}.npz")
        np.savez(paths[-1], **arrays)
    return paths


def test_a_probe_is_compared_on_every_canvas_that_can_hold_it_and_on_no_other(two_bones):
    found = calibration_set.measure(two_bones, Knowing())
    for kind, pictures in ((ONE_PROBE, 4), (TWO_PROBES, 2), (BIPLANE, 2)):
        compared = list(zip(found[kind].comparisons.first.tolist(), found[kind].comparisons.second.tolist()))
        # The tall bone's probe is no probe for the small bone's canvas.
        assert {pair: compared.count(pair) for pair in compared} == dict.fromkeys([(0, 0), (1, 0), (1, 1)], pictures)
        assert found[kind].canvas_heights_mm == (140.0, 560.0)


class BlindOn(Knowing):
    """Every radiograph looks the same to it on one canvas."""

    def __init__(self, blind_mm):
        self.blind_mm = blind_mm

    def embed(self, radiographs, canvas):
        seen = canvas.height_mm != self.blind_mm
        return super().embed(radiographs, canvas) if seen else np.eye(4)[[0] * len(radiographs)]


@pytest.mark.parametrize(("blind_mm", "chosen_mm"), [(560.0, 140.0), (140.0, 560.0)])
def test_two_radiographs_are_compared_on_the_canvas_of_their_kind_that_tells_most(two_bones, blind_mm, chosen_mm):
    found = calibration_set.measure(two_bones, BlindOn(blind_mm))[PAIR]
    assert found.canvas_heights_mm == (chosen_mm,)
    assert len(found.comparisons.distance) == 2 * len(SIDES) ** 2
    assert ((found.comparisons.distance == 0) == found.comparisons.genuine).all()


def test_two_radiographs_of_a_kind_that_is_not_said_are_compared_on_the_canvas_that_holds_both(two_bones):
    found = calibration_set.measure(two_bones, BlindOn(560.0))[UNSAID]
    assert len(found.comparisons.distance) == 2 * len(SIDES) ** 2
    assert (found.comparisons.distance == 0).all()  # the tall bone's radiograph takes the small one's to its canvas
    assert found.canvas_heights_mm == (140.0, 560.0)


@pytest.mark.parametrize("kind", [PAIR, ONE_PROBE, TWO_PROBES, BIPLANE, UNSAID])
def test_an_embedder_that_knows_every_bone_makes_no_error(two_bones, kind):
    comparisons = calibration_set.measure(two_bones, Knowing())[kind].comparisons
    assert (false_match_rate(comparisons, 1.0), false_non_match_rate(comparisons, 1.0)) == (0, 0)
    assert comparisons.distance[~comparisons.genuine] == pytest.approx(2**0.5)


def test_every_kind_that_is_taught_whole_is_calibrated_but_for_lumps_which_are_no_bones():
    assert set(calibration_set.COUNTS) == set(TRAINED) - {"lump", PIECE}


def test_distances_from_a_bone_are_measured_by_how_near_strangers_come_to_it(two_bones, tmp_path):
    """Two strangers in five look like bone 1, the others like nobody; each bone is alone on its canvas."""
    strangers = []
    for number in (1, 1, 3, 3, 3):
        arrays = {name: rod(number, TALL) for name in ("2-AP", "2-ML")} | {"2-AP_mm": SPACING_MM, "2-ML_mm": SPACING_MM}
        strangers.append(tmp_path / f"stranger-{len(strangers)}.npz")
        np.savez(strangers[-1], **arrays)
    cohort = calibration_set.cohort({"femur": two_bones}, {"femur": strangers}, Knowing())
    assert cohort.strangers["femur", 560.0].shape == (10, 4)
    assert cohort.usual == pytest.approx({("femur", 560.0): 0, ("femur", 140.0): 2**0.5})
    plain = calibration_set.measure(two_bones, Knowing())[ONE_PROBE].comparisons
    measured = calibration_set.measure(two_bones, Knowing(), "femur", cohort)[ONE_PROBE].comparisons
    of_first = plain.second == 0
    # Strangers come as near as usual to both; where that is no distance at all, the factor is at its limit.
    np.testing.assert_allclose(measured.distance[of_first], plain.distance[of_first] / MOST, atol=1e-6)
    np.testing.assert_allclose(measured.distance[~of_first], plain.distance[~of_first], atol=1e-6)


def test_what_is_not_long_is_calibrated_alone_and_between_its_neighbours():
    long, short, stranger = (
        calibration_set._visited(individual(1, 0, bone=bone, stream=CALIBRATION), stranger=nobody)
        for bone, nobody in (("tibia", False), ("vertebra", False), ("hip", True))
    )
    assert (long.sessions, long.changes) == (SESSIONS, {})
    assert (short.sessions, short.changes) == (SESSIONS[:1], {SESSIONS[1]: Condition(neighbours=True)})
    assert (stranger.sessions, stranger.changes) == (SESSIONS[:1], {})
    assert not short.marked
