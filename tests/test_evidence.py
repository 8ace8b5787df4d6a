"""Error rates and likelihood ratios against truth by construction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneprint.errors import BoneprintError
from boneprint.evidence import (
    BIPLANE,
    ONE_PROBE,
    PAIR,
    TWO_PROBES,
    UNSAID,
    Calibration,
    Rule,
    calibrate,
    metrics,
    of_card,
    pair_canvas_mm,
    rule,
    verdict,
)

CANVASES = (560.0,)


def simulated(bones=80, genuine_mean=0.3, impostor_mean=1.0, deviation=0.12, seed=0):
    """Every bone against every bone, with normal distances of known means."""
    rng = np.random.default_rng(seed)
    first, second = (grid.ravel() for grid in np.indices((bones, bones)))
    mean = np.where(first == second, genuine_mean, impostor_mean)
    return metrics.Comparisons(rng.normal(mean, deviation), first, second)


def calibrated(bone="femur", **options):
    return calibrate(
        simulated(**options),
        kind=PAIR,
        bone=bone,
        data="made here",
        embedder="fake:0",
        date="2026-01-01",
        canvas_heights_mm=CANVASES,
    )


def test_rates_count_what_they_say():
    few = metrics.Comparisons(np.array([0.1, 0.5, 0.2, 0.9]), np.array([1, 2, 1, 2]), np.array([1, 2, 2, 1]))
    assert metrics.false_non_match_rate(few, 0.3) == 0.5
    assert metrics.false_match_rate(few, 0.3) == 0.5
    assert few.bones == 2


@given(st.integers(0, 50), st.sampled_from([0.001, 0.01, 0.1]))
def test_a_threshold_never_exceeds_the_false_match_rate_it_was_made_for(seed, rate):
    drawn = simulated(bones=40, seed=seed)
    assert metrics.false_match_rate(drawn, metrics.threshold_at(drawn, rate)) <= rate


def test_a_rate_that_the_data_cannot_show_is_refused():
    with pytest.raises(BoneprintError, match="are needed"):
        metrics.threshold_at(simulated(bones=10), 0.001)


def test_equal_error_rate_of_two_normals():
    # Means 0.7 apart, deviation 0.35: both cut at one deviation, 15.9 %.
    assert metrics.equal_error_rate(simulated(bones=150, deviation=0.35)) == pytest.approx(0.159, abs=0.03)


def test_intervals_hold_the_rate_and_are_wider_for_fewer_bones():
    few, many = simulated(bones=40, deviation=0.35), simulated(bones=160, deviation=0.35)
    widths = []
    for drawn in (few, many):
        (low, high), (missed_low, missed_high) = metrics.error_intervals(drawn, 0.65, draws=300)
        assert low <= metrics.false_match_rate(drawn, 0.65) <= high
        assert missed_low <= metrics.false_non_match_rate(drawn, 0.65) <= missed_high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_zero_errors_still_allow_three_in_n():
    (_, matches), (_, misses) = metrics.error_intervals(simulated(bones=60, deviation=0.01), 0.65, draws=50)
    assert (matches, misses) == (3 / 60, 3 / 60)
    assert metrics.share_interval(np.ones(100, bool)) == (0.97, 1.0)
    assert metrics.share_interval(np.zeros(100, bool)) == (0.0, 0.03)


def test_a_share_that_is_neither_all_nor_nothing_has_an_interval_around_it():
    low, high = metrics.share_interval(np.arange(100) < 90)
    assert 0.80 < low < 0.90 < high < 0.97


def test_the_likelihood_ratio_falls_with_distance_and_stays_within_its_bounds():
    calibration = calibrated()
    ratios = [calibration.log10_lr(distance) for distance in (0.0, 0.3, 0.65, 1.0, 2.0)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] <= np.log10(80) + 1e-9
    assert ratios[-1] >= -np.log10(80) - 1e-9
    assert calibration.log10_lr(0.65) == pytest.approx(0, abs=0.3)


@pytest.fixture(scope="module")
def told_apart():
    """Femora whose strangers are far apart, vertebrae whose strangers are near each other."""
    return {PAIR: {"femur": calibrated(), "vertebra": calibrated("vertebra", genuine_mean=0.2, impostor_mean=0.5)}}


def test_a_vertebra_is_not_judged_by_the_margin_of_femora(told_apart):
    femur, vertebra = (rule(told_apart, PAIR, bone, 560.0) for bone in ("Femur", "vertebra"))
    between = (femur.threshold.value + vertebra.threshold.value) / 2
    assert femur.within(between)
    assert not vertebra.within(between)
    assert femur.log10_lr(between) > 0 > vertebra.log10_lr(between)
    assert (femur.threshold.bone, vertebra.threshold.bone) == ("femur", "vertebra")
    assert femur.uncalibrated is None is vertebra.uncalibrated


@pytest.mark.parametrize(
    ("bone", "canvas_mm", "said"),
    [
        ("skull", 560.0, "'skull'"),
        ("hip_left", 560.0, "'hip_left'"),
        (None, 560.0, "--bone"),
        ("femur", 140.0, "140 mm"),
    ],
)
def test_what_was_not_calibrated_has_the_strictest_margin_no_likelihood_ratio_and_says_so(
    told_apart, bone, canvas_mm, said
):
    judged = rule(told_apart, PAIR, bone, canvas_mm)
    assert judged.threshold.value == min(each.threshold.value for each in told_apart[PAIR].values())
    assert judged.log10_lr(0.0) is None
    assert judged.log10_lr_bounds == (0.0, 0.0)
    assert said in judged.uncalibrated
    assert "unknown error rates" in judged.uncalibrated


def test_a_comparison_that_only_resembles_the_calibrated_one_has_its_margin_and_no_likelihood_ratio(told_apart):
    judged = rule(told_apart, PAIR, "femur", 560.0, exact=False)
    assert judged.threshold.bone == "femur"
    assert judged.log10_lr(0.0) is None
    assert judged.uncalibrated


def test_a_likelihood_ratio_is_calibrated_where_the_truth_is_known():
    # Two normals of one deviation: the log likelihood ratio is linear in the distance.
    calibration = calibrate(
        simulated(bones=400, deviation=0.35, seed=3),
        kind=PAIR,
        bone="femur",
        data="",
        embedder="fake:0",
        date="2026-01-01",
        canvas_heights_mm=CANVASES,
    )
    true_slope = -(1.0 - 0.3) / 0.35**2 / np.log(10)
    assert calibration.slope == pytest.approx(true_slope, rel=0.15)


def test_a_likelihood_ratio_costs_1_where_it_says_nothing_and_more_where_it_misleads():
    calibration, drawn = calibrated(), simulated(seed=9)
    cost = metrics.likelihood_ratio_cost
    assert cost(drawn, lambda distance: 0.0) == 1
    assert cost(drawn, calibration.log10_lr) < 0.1
    assert cost(drawn, lambda distance: -calibration.log10_lr(distance)) > 1
    # Two comparisons by hand: ratios of 3 for one bone and of 1 for two.
    pair = metrics.Comparisons(np.array([0.1, 0.9]), np.array([1, 1]), np.array([1, 2]))
    by_hand = (np.log2(4 / 3) + np.log2(2)) / 2
    assert cost(pair, lambda distance: np.log10(3) if distance < 0.5 else 0.0) == pytest.approx(by_hand)


def test_a_calibration_survives_the_card():
    calibration = calibrated()
    assert Calibration.from_card(calibration.to_card()) == calibration


def test_a_card_of_before_kinds_of_bone_were_told_apart_speaks_of_femora_alone():
    entry = calibrated().to_card()
    del entry["threshold"]["bone"]
    old = of_card({"calibration": dict.fromkeys((PAIR, ONE_PROBE, TWO_PROBES), entry)})
    assert rule(old, PAIR, "femur", 560.0) == Rule(calibrated())
    assert rule(old, PAIR, "tibia", 560.0).log10_lr(0.1) is None
    of_kinds = {"femur": calibrated().to_card(), "hip": calibrated("hip").to_card()}
    new = of_card({"calibration": dict.fromkeys((PAIR, ONE_PROBE, TWO_PROBES), of_kinds)})
    assert rule(new, ONE_PROBE, "hip", 560.0) == Rule(calibrated("hip"))
    # Nor were biplane radiographs known: they are judged as any two, without a likelihood ratio.
    judged = rule(new, BIPLANE, "hip", 560.0)
    assert judged.calibration == calibrated("hip")
    assert judged.log10_lr(0.1) is None


def test_pairs_of_an_unsaid_kind_are_judged_by_such_pairs(told_apart):
    strict = calibrated("hip", genuine_mean=0.1, impostor_mean=0.3)
    known = {**told_apart, UNSAID: {"hip": strict, "femur": calibrated()}}
    for bone in (None, "skull"):
        judged = rule(known, PAIR, bone, 560.0)
        assert judged.calibration == strict
        assert judged.log10_lr(0.1) is None
    assert rule(known, PAIR, "femur", 560.0) == rule(told_apart, PAIR, "femur", 560.0)
    card = {"calibration": {kind: {bone: each.to_card() for bone, each in of.items()} for kind, of in known.items()}}
    card["calibration"] |= dict.fromkeys((ONE_PROBE, TWO_PROBES), card["calibration"][PAIR])
    assert of_card(card)[UNSAID] == known[UNSAID]


def test_pairs_of_a_kind_have_a_canvas_where_they_were_calibrated_on_one_and_no_other():
    entry = calibrated().to_card()
    several = {**entry, "canvas_heights_mm": [170.0, 240.0]}
    card = {"calibration": {PAIR: {"femur": entry, "hip": several}}}
    assert pair_canvas_mm(card, "Femur") == CANVASES[0]
    assert pair_canvas_mm(card, "hip") is pair_canvas_mm(card, "skull") is pair_canvas_mm(card, None) is None
    older = [{}, {"calibration": None}, {"calibration": {PAIR: entry}}]
    assert [pair_canvas_mm(card, "femur") for card in older] == [None] * 3


@pytest.mark.parametrize(
    "card", [{}, {"calibration": None}, {"calibration": {PAIR: {}, ONE_PROBE: {}, TWO_PROBES: {}}}]
)
def test_weights_without_a_calibration_say_what_to_do(card):
    with pytest.raises(BoneprintError, match="boneprint train"):
        of_card(card)


def test_the_verdict_is_the_side_of_the_margin():
    judged = Rule(calibrated())
    one = np.zeros(4, np.float32)
    one[0] = 1
    other = np.zeros(4, np.float32)
    other[1] = 1
    same, different = (verdict(one, each, judged) for each in (one, other))
    assert same.within_margin
    assert same.distance == 0
    assert not different.within_margin
    assert different.distance == pytest.approx(2**0.5)
    assert different.log10_lr < 0 < same.log10_lr


def test_an_embedder_that_sees_nothing_has_even_odds_and_misses_nearly_everything():
    blind = calibrated(genuine_mean=1.0, impostor_mean=0.3)
    assert [blind.log10_lr(distance) for distance in (0.0, 0.5, 2.0)] == [0, 0, 0]
    assert blind.threshold.false_non_match_rate == 1


def test_a_bone_that_was_never_compared_with_itself_is_a_miss_and_no_distance():
    drawn = simulated()
    distance = np.where(drawn.genuine & (drawn.first < 8), np.inf, drawn.distance)
    found = calibrate(
        metrics.Comparisons(distance, drawn.first, drawn.second),
        kind=PAIR,
        bone="femur",
        data="",
        embedder="fake:0",
        date="2026-01-01",
        canvas_heights_mm=CANVASES,
    )
    assert found.threshold.false_non_match_rate >= 8 / 80
    assert found.slope == pytest.approx(calibrated().slope, rel=0.1)


def test_comparisons_need_both_kinds():
    with pytest.raises(BoneprintError, match="some of the same"):
        metrics.Comparisons(np.array([0.1]), np.array([1]), np.array([1]))
