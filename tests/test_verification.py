"""Two radiographs are compared on the canvas that their kind was calibrated on, if they can be of that kind."""

import numpy as np
import pytest

from boneprint import embed, probe, verification
from boneprint.evidence import ONE_PROBE, PAIR, TWO_PROBES, calibrate
from boneprint.evidence.metrics import Comparisons
from boneprint.nouns import Radiograph


class Recording:
    """An embedder to which all pictures look the same, and that remembers the canvases it was shown."""

    id = "recording:0"

    def __init__(self):
        # By an earlier version pairs of sacra were compared on what held their pictures.
        heights_mm = {"hip": (240.0,), "femur": (560.0,), "sacrum": (170.0, 240.0)}
        by_bone = {bone: calibrated(bone, canvas_heights_mm=each) for bone, each in heights_mm.items()}
        self.card = {"calibration": dict.fromkeys((PAIR, ONE_PROBE, TWO_PROBES), by_bone)}
        self.seen = []

    def embed(self, radiographs, canvas):
        self.seen.append(canvas.height_mm)
        return np.eye(4, dtype=np.float32)[[0] * len(radiographs)]


def calibrated(bone, **more):
    first, second = (grid.ravel() for grid in np.indices((40, 40)))
    compared = Comparisons(np.where(first == second, 0.3, 1.0), first, second)
    said = {"kind": PAIR, "bone": bone, "data": "made here", "embedder": "recording:0", "date": "2026-01-01"}
    return calibrate(compared, **said, **more).to_card()


def shown(height_mm, width_mm):
    pixels = np.zeros((600, 600), np.float32)
    pixels[20 : 20 + height_mm, 20 : 20 + width_mm] = 1
    return Radiograph(pixels, 1.0, source=f"{height_mm} x {width_mm}")


@pytest.mark.parametrize(
    ("bone", "sizes", "canvas_mm"),
    [
        ("hip", [(300, 250), (230, 200)], 240.0),  # more than the canvas, but a trunk reaches further than its bone
        ("Hip", [(300, 250)], 240.0),
        (None, [(300, 250), (230, 200)], 340.0),
        ("skull", [(300, 250)], 340.0),
        ("sacrum", [(300, 250)], 340.0),
        ("hip", [(80, 110)], 240.0),  # low, but wide enough
        ("hip", [(80, 80)], 120.0),
        ("hip", [(300, 250), (80, 80)], 340.0),
        ("hip", [(470, 250)], 240.0),
        ("hip", [(490, 480)], 480.0),
        ("femur", [(500, 150)], 560.0),
        ("femur", [(110, 30)], 140.0),
    ],
)
def test_a_kind_has_its_canvas_and_what_cannot_be_of_it_is_seen_on_one_that_holds_it(bone, sizes, canvas_mm):
    assert probe.canvas_of_pairs([shown(*size) for size in sizes], bone, Recording()).height_mm == canvas_mm


def test_both_radiographs_are_put_on_it_and_judged_by_it(monkeypatch):
    embedder = Recording()
    monkeypatch.setattr(embed, "load_embedder", lambda path: embedder)
    said = verification.verify(shown(300, 250), shown(230, 200), bone="hip")
    assert embedder.seen == [240.0]
    assert said.uncalibrated is None
    assert said.log10_lr > 0
    unsaid = verification.verify(shown(300, 250), shown(230, 200))
    assert embedder.seen == [240.0, 340.0]
    assert unsaid.log10_lr is None


def test_what_is_larger_than_every_canvas_has_no_likelihood_ratio(monkeypatch):
    monkeypatch.setattr(embed, "load_embedder", lambda path: Recording())
    giant = Radiograph(shown(450, 150).pixels, 2.0)
    said = verification.verify(giant, giant, bone="femur")
    assert said.log10_lr is None
    assert "not calibrated" in said.uncalibrated


def test_a_radiograph_is_enrolled_on_the_canvas_that_it_will_be_compared_on():
    given = {"subject_id": "S", "laterality": None, "source": "x", "source_hash": "0" * 64}
    made = probe.enrolment([shown(300, 250)], Recording(), bone="hip", **given)
    assert made.reference.canvas_mm == 240.0


@pytest.mark.parametrize(("canvas_mm", "most_mm"), [(240.0, 480.0), (280.0, 420.0)])
def test_a_trunk_may_reach_further_beyond_its_bone_than_a_limb(canvas_mm, most_mm):
    assert probe.can_hold(canvas_mm, most_mm - 1)
    assert not probe.can_hold(canvas_mm, most_mm)
