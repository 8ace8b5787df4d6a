"""Candidates are ranked by distances that strangers measure; the oracle compares with every bone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneprint import ranking
from boneprint.embed import read_card
from boneprint.embed.card import SHIPPED, sha256_of
from boneprint.embed.cohort import MOST, Cohort, cohort_path, read_cohort, write_cohort
from boneprint.errors import BoneprintError
from boneprint.evidence import BIPLANE, TWO_PROBES, of_card
from boneprint.index import Gallery
from boneprint.index.rows import Rows
from boneprint.nouns import Fingerprint, Reference
from boneprint.probe import XRAY
from boneprint.ranking import Judge, ranked

DIM, VIEWS = 8, 4
VIEWS_DEG = np.array([0.0, 80.0, 180.0, 270.0])
PLACE = ("femur", 560.0)


def unit(rng, *shape):
    rows = rng.normal(size=(*shape, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def gallery_of(vectors, part="whole"):
    references = tuple(
        Reference(f"bone-{n}", f"S-{n}", "femur", None, "", f"hash-{n}", part, PLACE[1]) for n in range(len(vectors))
    )
    ends = VIEWS * np.arange(len(vectors) + 1)
    views_deg = np.tile(VIEWS_DEG, len(vectors)).astype(np.float32)
    return Gallery(references, Rows.whole(vectors.reshape(-1, DIM), ends), views_deg, 1, "fake:1")


def judge_with(cohort):
    return Judge(of_card(read_card()), cohort)


def cohort_of(rng, vectors):
    strangers = {PLACE: unit(rng, 30)}
    usual = np.mean([Cohort(strangers).nearness(views, PLACE) for views in vectors])
    return Cohort(strangers, {PLACE: float(usual)})


def oracle(vectors, probes, cohort, angles_deg=None):
    """Distance of every bone, by the definition."""
    found = []
    for views in vectors:
        each = np.linalg.norm(probes[:, None] - views[None], axis=2)
        apart = each.min(axis=1)
        if angles_deg is not None:  # from each view to the next are 90 degrees or a little less or more
            second = np.roll(each[1], -1 if angles_deg[1] == 90 else 1)
            best = (each[0] ** 2 + second**2).argmin()
            apart = np.array([each[0, best], second[best]])
        near = np.sort(np.linalg.norm(cohort.strangers[PLACE][:, None] - views[None], axis=2).min(axis=1))[:6].mean()
        found.append(np.sqrt((apart**2).mean()) * np.clip(cohort.usual[PLACE] / near, 1 / MOST, MOST))
    return np.array(found)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bones=st.integers(1, 120),
    k=st.integers(1, 12),
    asked=st.sampled_from([(1, None), (2, None), (2, (0.0, 90.0)), (2, (0.0, 270.0))]),
)
@pytest.mark.parametrize("small", [True, False])
def test_the_order_is_that_of_every_bone_looked_at_and_what_is_certified_is_so(small, seed, bones, k, asked):
    probes, angles_deg = asked
    rng = np.random.default_rng(seed)
    vectors, template = unit(rng, bones, VIEWS), unit(rng, probes)
    cohort = cohort_of(rng, vectors)
    with pytest.MonkeyPatch.context() as patched:
        if not small:
            patched.setattr(ranking, "EXACT_VIEWS", 0)  # as of a gallery that is too large to be looked at whole
        found = ranked(
            gallery_of(vectors),
            Fingerprint({PLACE[1]: template}, "fake:1", angles_deg=angles_deg),
            np.ones(bones, bool),
            judge_with(cohort),
            k,
        )
    truth = oracle(vectors, template, cohort, angles_deg)
    order = np.argsort(truth, kind="stable")[:k]
    certified = sum(candidate.distance <= found.proved_to for candidate in found.candidates)
    if small:
        assert certified == len(found.candidates)
    names = [candidate.reference.bone_id for candidate in found.candidates]
    assert len(names) == min(k, bones)
    assert names[:certified] == [f"bone-{n}" for n in order[:certified]]
    np.testing.assert_allclose([c.distance for c in found.candidates[:certified]], truth[order[:certified]], atol=1e-5)


def test_a_bone_that_strangers_are_near_to_gives_way_to_one_they_are_far_from():
    rng = np.random.default_rng(4)
    vectors = unit(rng, 2, VIEWS)
    template = vectors[:, 0].sum(axis=0, keepdims=True)  # as near to the one as to the other
    template /= np.linalg.norm(template)
    near_the_first = vectors[0, 1] + 0.3 * unit(rng, 30)
    strangers = {PLACE: near_the_first / np.linalg.norm(near_the_first, axis=1, keepdims=True)}
    plain, measured = (
        ranked(
            gallery_of(vectors),
            Fingerprint({PLACE[1]: template}, "fake:1"),
            np.ones(2, bool),
            judge_with(cohort),
            2,
        ).candidates
        for cohort in (Cohort(), Cohort(strangers, {PLACE: 0.8}))
    )
    assert plain[0].distance == pytest.approx(plain[1].distance, abs=1e-5)
    assert [candidate.factor for candidate in plain] == [1, 1]
    assert [candidate.reference.bone_id for candidate in measured] == ["bone-1", "bone-0"]
    assert measured[0].factor < 1 < measured[1].factor


def test_two_radiographs_are_compared_as_they_are_and_a_ct_has_its_own_strangers():
    rng = np.random.default_rng(5)
    vectors = unit(rng, 3, VIEWS)
    cohort = cohort_of(rng, vectors)
    judge = judge_with(cohort)
    one = Fingerprint({PLACE[1]: unit(rng, 1)}, "fake:1")
    radiographs = gallery_of(vectors, part=XRAY).references[0]
    assert judge.factor(one, radiographs, vectors[0]) == 1
    ct = Fingerprint({PLACE[1]: vectors[1]}, "fake:1", all_round=True)
    bone = gallery_of(vectors).references[1]
    assert judge.factor(ct, radiographs, vectors[0]) == judge.factor(one, bone, vectors[1]) != 1


def test_a_cohort_survives_writing_and_another_file_in_its_place_is_refused(tmp_path):
    rng = np.random.default_rng(6)
    cohort = Cohort({PLACE: unit(rng, 20), ("hip", 240.0): unit(rng, 10)}, {PLACE: 0.9, ("hip", 240.0): 0.7})
    card = {"name": "toy-1", "cohort": write_cohort(tmp_path / "toy-1", cohort)}
    again = read_cohort(tmp_path / "toy-1", card)
    assert again.usual == cohort.usual
    for place, rows in cohort.strangers.items():
        np.testing.assert_allclose(again.strangers[place], rows, atol=1e-3)
    write_cohort(tmp_path / "toy-1", Cohort({PLACE: unit(rng, 20)}, {PLACE: 0.9}))
    with pytest.raises(BoneprintError, match="copy weights, cohort and card again"):
        read_cohort(tmp_path / "toy-1", card)
    cohort_path(tmp_path / "toy-1").unlink()
    with pytest.raises(BoneprintError, match="no such file"):
        read_cohort(tmp_path / "toy-1", card)
    assert read_cohort(tmp_path / "toy-1", {"name": "toy-1"}).most == 1
    assert Cohort().factor(unit(rng, 4), PLACE) == 1


def test_the_shipped_weights_have_strangers_of_every_kind_that_is_calibrated():
    card = read_card()
    cohort = read_cohort(SHIPPED, card)
    for of_bones in of_card(card).values():
        assert set(of_bones) == {bone for bone, _ in cohort.usual}
    assert sha256_of(cohort_path(SHIPPED)) == card["cohort"]["sha256"]
    assert all(len(rows) == 2 * card["cohort"]["bones"] for rows in cohort.strangers.values())


@pytest.mark.parametrize(
    ("part", "angles_deg", "comparison", "calibrated"),
    [
        ("whole", (0.0, 90.0), BIPLANE, True),
        ("whole", (0.0, 82.0), BIPLANE, False),
        (XRAY, (0.0, 90.0), TWO_PROBES, False),
    ],
)
def test_enrolled_radiographs_are_compared_one_by_one_and_only_a_quarter_turn_is_calibrated(
    part, angles_deg, comparison, calibrated
):
    rng = np.random.default_rng(6)
    vectors, template = unit(rng, 3, VIEWS), unit(rng, 2)
    plain, together = (
        ranked(
            gallery_of(vectors, part),
            Fingerprint({PLACE[1]: template}, "fake:1", angles_deg=angles),
            np.ones(3, bool),
            judge_with(Cohort()),
            3,
        ).candidates
        for angles in (None, angles_deg)
    )
    assert {candidate.threshold.kind for candidate in together} == {comparison}
    assert {candidate.uncalibrated is None for candidate in together} == {calibrated}
    unchanged = [one.distance == other.distance for one, other in zip(plain, together)]
    assert all(unchanged) == (part == XRAY)
