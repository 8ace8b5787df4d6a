"""Error rates of searches and comparisons against hand-worked tables, brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boneprint.errors import BoneprintError
from boneprint.evidence import identification as ident
from boneprint.evidence import metrics
from boneprint.evidence.outcome import outcome

INF = np.inf

# Four searches in a gallery of three bones, and two with bones that are not enrolled (numbers 3 and 4).
TABLE = ident.Searches(
    np.array(
        [
            [0.2, 0.5, 0.9],  # bone 0: rank 1
            [0.3, 0.6, 0.1],  # bone 1: rank 3
            [0.4, 0.8, 0.4],  # bone 2: tied with bone 0, so rank 2
            [INF, INF, INF],  # bone 2 again: failed to acquire
            [0.35, 0.7, 0.9],
            [0.8, 0.9, 0.7],
        ]
    ),
    np.array([0, 1, 2, 2, 3, 4]),
)


@st.composite
def searches(draw, least=2):
    """Searches of known truth, some of them with bones that are not enrolled; distances often tie."""
    count, gallery = draw(st.integers(least, 12)), draw(st.integers(2, 6))
    distance = draw(arrays.arrays(float, (count, gallery), elements=st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8, 1.1])))
    truth = draw(arrays.arrays(np.int64, count, elements=st.integers(0, gallery + 2)))
    return ident.Searches(distance, truth)


def comparisons(seed=0, bones=25, each=3):
    """Genuine and impostor distances of two overlapping normals."""
    rng = np.random.default_rng(seed)
    first, second, _ = (grid.ravel() for grid in np.indices((bones, bones, each)))
    return metrics.Comparisons(rng.normal(np.where(first == second, 0.5, 1.0), 0.2), first, second)


def test_ranks_count_a_tie_against_the_right_bone():
    assert TABLE.rank.tolist() == [1, 3, 2, INF, INF, INF]
    assert TABLE.mate.tolist() == [0.2, 0.6, 0.4, INF, INF, INF]
    assert TABLE.nearest_other.tolist() == [0.5, 0.1, 0.4, INF, 0.35, 0.7]


def test_rates_of_a_table_worked_by_hand():
    # Of four mated searches one never returned, one is first, one second, one third.
    assert [rate.value for rate in ident.cumulative_match(TABLE, (1, 2, 3))] == [0.25, 0.5, 0.75]
    assert ident.false_negative_identification(TABLE, 1, 0.45).value == 0.75
    assert ident.false_negative_identification(TABLE, 3, 0.45).value == 0.5
    assert ident.false_negative_identification(TABLE, 3, 9.0).value == 0.25
    assert ident.false_positive_identification(TABLE, 0.34).value == 0.0
    assert ident.false_positive_identification(TABLE, 0.35).value == 0.5
    assert ident.false_positive_identification(TABLE, 0.7).value == 1.0


def test_a_search_that_failed_to_acquire_is_no_comparison():
    made = TABLE.comparisons()
    assert (len(made.distance), made.genuine.sum()) == (15, 3)
    assert metrics.false_non_match_rate(made, 0.45) == pytest.approx(1 / 3)


def test_a_right_bone_that_was_set_aside_is_a_non_match():
    aside = ident.Searches(np.array([[INF, 0.5], [0.9, 0.1]]), np.array([0, 1]))
    assert metrics.false_non_match_rate(aside.comparisons(), 1e9) == 0.5


def test_intervals_count_a_right_bone_that_was_set_aside():
    # Half of the bones are never compared with themselves: whatever the threshold, half are missed.
    bones = np.arange(40)
    distance = np.full((40, 40), 0.9)
    distance[bones, bones] = np.where(bones < 20, 0.1, INF)
    found = outcome(ident.Searches(distance, bones), 0.5, draws=200).verification
    low, high = found.equal_error[1]
    assert found.false_non_match == 0.5
    assert low < found.equal_error[0] == 0.25 < high


@given(searches())
def test_rates_are_what_counting_search_by_search_gives(drawn):
    """Oracle: plain Python over sorted lists of candidates."""
    rank, threshold = 2, 0.3
    missed, false = [], []
    for row, right in zip(drawn.distance.tolist(), drawn.truth.tolist()):
        # The right bone stands last among equals.
        listed = sorted(range(len(row)), key=lambda bone: (row[bone], bone == right))[:rank]
        if right < len(row):
            missed.append(right not in listed or row[right] > threshold)
        else:
            false.append(min(row) <= threshold)
    negative = ident.false_negative_identification(drawn, rank, threshold)
    positive = ident.false_positive_identification(drawn, threshold)
    assert negative is None if not missed else negative.value == pytest.approx(np.mean(missed))
    assert positive is None if not false else positive.value == pytest.approx(np.mean(false))


@given(searches(), st.permutations(range(12)))
def test_the_order_of_searches_and_of_bones_does_not_matter(drawn, order):
    rows = [row for row in order if row < len(drawn.truth)]
    columns = [column for column in order if column < drawn.gallery]
    number = np.concatenate([np.argsort(columns), np.arange(drawn.gallery, drawn.gallery + 3)])
    shuffled = ident.Searches(drawn.distance[rows][:, columns], number[drawn.truth[rows]])
    ranks = range(1, drawn.gallery + 1)
    assert [r.value for r in ident.cumulative_match(drawn, ranks)] == [
        r.value for r in ident.cumulative_match(shuffled, ranks)
    ]


@given(searches())
def test_only_the_order_of_distances_decides_a_rank(drawn):
    assert ident.Searches(np.exp(3 * drawn.distance), drawn.truth).rank.tolist() == drawn.rank.tolist()


@given(searches())
def test_more_ranks_miss_less_and_a_wider_threshold_lets_in_more(drawn):
    found = [rate.value for rate in ident.cumulative_match(drawn, range(1, drawn.gallery + 1))]
    assert found == sorted(found)
    assert not found or found[-1] == 1.0
    if not drawn.mated.all():
        let_in = [ident.false_positive_identification(drawn, t).value for t in (0.0, 0.2, 0.5, 2.0)]
        assert let_in == sorted(let_in)


@given(searches(least=6), st.sampled_from([0.2, 0.25, 0.5]))
@settings(deadline=None)
def test_fnir_at_fpir_takes_the_largest_threshold_that_keeps_to_it(drawn, wanted):
    """Oracle: every threshold there is, tried out."""
    point = ident.missed_at_false_positives(drawn, wanted, 1, draws=20)
    unmated = int((~drawn.mated).sum())
    if unmated < 1 / wanted or not drawn.mated.any():
        assert point.missed is None
        assert point.remark
        return
    tried = [2.0, *np.nextafter(drawn.distance.ravel(), -np.inf)]
    missed = [
        ident.false_negative_identification(drawn, 1, threshold, draws=5).value
        for threshold in tried
        if ident.false_positive_identification(drawn, threshold, draws=5).value <= wanted
    ]
    assert ident.false_positive_identification(drawn, point.threshold, draws=5).value <= wanted
    assert point.missed == pytest.approx(min(missed))


def test_fnir_at_an_fpir_that_cannot_be_shown_says_how_many_searches_it_needs():
    point = ident.missed_at_false_positives(TABLE, 0.01, 1)
    assert (point.threshold, point.missed, point.interval) == (None, None, None)
    assert "2 searches" in point.remark
    assert "100 are needed" in point.remark


def test_searches_must_be_whole():
    for distance, truth in ((np.zeros((0, 3)), np.zeros(0, int)), (np.full((1, 2), np.nan), np.zeros(1, int))):
        with pytest.raises(BoneprintError, match="expected"):
            ident.Searches(distance, truth)


def test_the_trade_off_is_scikit_learns_roc():
    sklearn = pytest.importorskip("sklearn.metrics")
    drawn = comparisons()
    curve = metrics.detection_error_tradeoff(drawn)
    false, true, thresholds = sklearn.roc_curve(drawn.genuine, -drawn.distance, drop_intermediate=False)
    assert np.allclose(curve.threshold, -thresholds[1:])
    assert np.allclose(curve.false_match_rate, false[1:])
    assert np.allclose(curve.false_non_match_rate, 1 - true[1:])


@given(st.integers(0, 30), st.sampled_from([0.01, 0.05, 0.2]))
@settings(deadline=None, max_examples=20)
def test_fnmr_at_fmr_is_that_of_the_best_threshold_there_is(seed, rate):
    """Oracle: every threshold there is, tried out."""
    drawn = comparisons(seed, bones=12, each=1)
    ((point,), (equal, _)) = metrics.operating_points(drawn, (rate,), draws=20)
    if point.threshold is None:
        assert (~drawn.genuine).sum() * rate < 1
        return
    rates = [
        (metrics.false_match_rate(drawn, t), metrics.false_non_match_rate(drawn, t)) for t in np.unique(drawn.distance)
    ]
    assert point.missed == pytest.approx(min([missed for false, missed in rates if false <= rate], default=1.0))
    assert equal == metrics.equal_error_rate(drawn)


def test_an_operating_point_says_what_the_impostors_cannot_support():
    few = comparisons(bones=8, each=1)  # 56 impostor comparisons
    none, thin = metrics.operating_points(few, (1e-3, 0.1), draws=50)[0]
    assert (none.missed, none.interval) == (None, None)
    assert "56 comparisons" in none.remark
    assert "1000 are needed" in none.remark
    assert thin.missed is not None
    assert "rule of 30" in thin.remark
    (sound,) = metrics.operating_points(comparisons(bones=25), (0.1,), draws=50)[0]
    assert sound.remark == ""


def test_intervals_hold_the_value_and_come_again_from_the_seed():
    drawn = comparisons()
    first, second, other = (metrics.operating_points(drawn, (0.05,), seed=seed, draws=200) for seed in (1, 1, 2))
    assert first == second
    assert first != other
    (point,), (equal, (low, high)) = first
    assert point.interval[0] <= point.missed <= point.interval[1]
    assert low <= equal <= high


def test_intervals_are_over_bones_and_not_over_pictures():
    # Ten bones, right or wrong in all of their pictures: a hundred pictures of each say no more than one.
    right = np.arange(10) < 7
    once = ident.rate(right, np.arange(10)).interval
    often = ident.rate(np.repeat(right, 100), np.repeat(np.arange(10), 100)).interval
    assert once == often
    # Were the pictures counted, the interval would be ten times narrower.
    assert often[1] - often[0] > 0.4


def test_no_misses_of_few_probed_bones_are_not_excused_by_a_great_gallery():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0.8, 1.2, (6, 500))
    distance[np.arange(6), np.arange(6)] = 0.1
    found = outcome(ident.Searches(distance, np.arange(6)), 0.5, draws=100).verification
    assert (found.false_non_match, found.false_non_match_interval[1]) == (0.0, 0.5)
    assert (found.false_match, found.false_match_interval[1]) == (0.0, 0.5)


def test_an_outcome_is_whole_or_says_nothing():
    found = outcome(TABLE, 0.45, draws=100)
    assert (found.gallery, found.threshold, found.mated, found.unmated) == (3, 0.45, 4, 2)
    assert found.failure_to_acquire.value == pytest.approx(1 / 6)
    assert [rate.value for rate in found.missed] == [0.75]
    strangers = outcome(TABLE.of(~TABLE.mated), 0.45, draws=100)
    assert (strangers.cumulative_match, strangers.missed, strangers.verification) == ((), (), None)
    assert strangers.false_positive.value == 0.5
