"""Error rates and likelihood ratios against truth by construction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneprint.errors import BoneprintError
from boneprint.evidence import PAIR, Calibration, calibrate, metrics, verdict

CANVASES = (560.0,)


def simulated(bones=80, genuine_mean=0.3, impostor_mean=1.0, deviation=0.12, seed=0):
    """Every bone against every bone, with normal distances of known means."""
    rng = np.random.default_rng(seed)
    first, second = (grid.ravel() for grid in np.indices((bones, bones)))
    mean = np.where(first == second, genuine_mean, impostor_mean)
    return metrics.Comparisons(rng.normal(mean, deviation), first, second)


def calibrated(**options):
    return calibrate(
        simulated(**options),
        kind=PAIR,
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
    ratios = [calibration.log10_lr(distance, 560.0) for distance in (0.0, 0.3, 0.65, 1.0, 2.0)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] <= np.log10(80) + 1e-9
    assert ratios[-1] >= -np.log10(80) - 1e-9
    assert calibration.log10_lr(0.65, 560.0) == pytest.approx(0, abs=0.3)


def test_there_is_no_likelihood_ratio_where_nothing_was_calibrated():
    assert calibrated().log10_lr(0.1, 140.0) is None


def test_a_likelihood_ratio_is_calibrated_where_the_truth_is_known():
    # Two normals of one deviation: the log likelihood ratio is linear in the distance.
    calibration = calibrate(
        simulated(bones=400, deviation=0.35, seed=3),
        kind=PAIR,
        data="",
        embedder="fake:0",
        date="2026-01-01",
        canvas_heights_mm=CANVASES,
    )
    true_slope = -(1.0 - 0.3) / 0.35**2 / np.log(10)
    assert calibration.slope == pytest.approx(true_slope, rel=0.15)


def test_a_calibration_survives_the_card():
    calibration = calibrated()
    assert Calibration.from_card(calibration.to_card()) == calibration


def test_the_verdict_is_the_side_of_the_margin():
    calibration = calibrated()
    one = np.zeros(4, np.float32)
    one[0] = 1
    other = np.zeros(4, np.float32)
    other[1] = 1
    same, different = (verdict(one, each, 560.0, calibration) for each in (one, other))
    assert same.within_margin
    assert same.distance == 0
    assert not different.within_margin
    assert different.distance == pytest.approx(2**0.5)
    assert different.log10_lr < 0 < same.log10_lr


def test_an_embedder_that_sees_nothing_cannot_be_calibrated():
    with pytest.raises(BoneprintError, match="blind"):
        calibrated(genuine_mean=1.0, impostor_mean=0.3)


def test_comparisons_need_both_kinds():
    with pytest.raises(BoneprintError, match="some of the same"):
        metrics.Comparisons(np.array([0.1]), np.array([1]), np.array([1]))
