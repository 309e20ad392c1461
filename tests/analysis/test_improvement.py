"""Probability of improvement and interquartile mean, compared with rliable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.improvement import probability_of_improvement
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW
from tests.support.statistics.given_scores import NAN, A, B, has_pair, scores

# From rliable 1.2.0, metrics.probability_of_improvement(x.T, y.T): its runs are our seeds, its tasks our draws.
RLIABLE_IMPROVEMENT = [(A, B, 0.775), (B, A, 0.225), (A, A, 0.5), (A[:, :1], B[:, :1], 0.6)]
THREE_SEEDS = np.array([[0.31, 0.52, 0.47], [0.90, 0.12, 0.48], [0.55, 0.58, 0.61], [0.44, 0.20, 0.83]])
# From rliable 1.2.0, metrics.aggregate_iqm(x.T).
RLIABLE_IQM = [(A, 70.38333333333333), (B, 69.88333333333334), (THREE_SEEDS, 0.5066666666666667)]


@pytest.mark.parametrize(("a", "b", "probability"), RLIABLE_IMPROVEMENT)
def test_the_probability_of_improvement_is_that_of_rliable(a: Floats, b: Floats, probability: float) -> None:
    assert probability_of_improvement(a, b).probability.value == pytest.approx(probability)


@given(scores(), scores())
def test_probabilities_of_both_families_add_up_to_1_and_a_tie_counts_half(a: Floats, b: Floats) -> None:
    if not has_pair(a, b):
        return
    forward, backward = probability_of_improvement(a, b).probability, probability_of_improvement(b, a).probability
    assert forward.value + backward.value == pytest.approx(1)
    assert probability_of_improvement(a, a).probability.value == 0.5 if np.isfinite(a).any() else True
    if (
        forward.interval
        and backward.interval
        and forward.interval.lower is not None
        and backward.interval.upper is not None
    ):
        assert forward.interval.lower + backward.interval.upper == pytest.approx(1)
        assert 0 <= forward.interval.lower <= forward.value <= (forward.interval.upper or 0) <= 1


@given(scores(), scores())
def test_only_the_order_of_scores_matters(a: Floats, b: Floats) -> None:
    if has_pair(a, b):
        assert probability_of_improvement(np.exp(a / 20), np.exp(b / 20)) == probability_of_improvement(a, b)


def test_a_win_on_every_draw_has_the_wilson_interval_of_the_draws() -> None:
    interval = probability_of_improvement(A + 9, B).probability.interval
    truth = stats.binomtest(5, 5).proportion_ci(method="wilson")
    assert interval is not None
    assert (interval.lower, interval.upper) == pytest.approx((truth.low, truth.high))


def test_equal_draws_count_as_their_pairs_and_all_or_nothing_draws_count_once() -> None:
    alike = np.array([[2.0, 0.0]] * 5), np.array([[1.0, 1.0]] * 5)
    split = np.array([[2.0, 2.0], [0.0, 0.0]] * 2), np.ones((4, 2))
    for (a, b), num_trials in ((alike, 10), (split, 4)):
        interval = probability_of_improvement(a, b).probability.interval
        truth = stats.binomtest(num_trials // 2, num_trials).proportion_ci(method="wilson")
        assert interval is not None
        assert (interval.lower, interval.upper) == pytest.approx((truth.low, truth.high), abs=1e-9)


def test_a_single_draw_has_a_probability_and_no_interval() -> None:
    found = probability_of_improvement([[1.0, 3.0]], [[2.0, 0.0]])
    assert found.probability.value == 0.75
    assert (found.probability.interval, found.probability.reason) == (None, SINGLE_DRAW)


def test_replicates_without_a_partner_do_not_count() -> None:
    found = probability_of_improvement([[1.0, 99.0], [5.0, 5.0], [7.0, NAN]], [[2.0, NAN], [1.0, 9.0], [NAN, 1.0]])
    assert found.probability.value == (0.0 + 0.5) / 2
    assert (found.num_draws, found.num_draws_left_out) == (2, 1)


# The interquartile mean


@pytest.mark.parametrize(("scores_", "mean"), RLIABLE_IQM)
def test_the_interquartile_mean_is_that_of_rliable(scores_: Floats, mean: float) -> None:
    found = interquartile_mean(scores_, generator=np.random.default_rng(0))
    assert found.value == pytest.approx(mean)
    assert found.interval is not None
    assert found.interval.contains(found.value)


@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)))
def test_the_interquartile_mean_is_the_trimmed_mean_of_all_replicates(values: Floats) -> None:
    found = interquartile_mean(values, generator=np.random.default_rng(0), num_resamples=50)
    assert found.value == pytest.approx(stats.trim_mean(values, 0.25, axis=None), rel=1e-9, abs=1e-6)


def test_missing_replicates_do_not_count_in_the_interquartile_mean() -> None:
    incomplete = np.where(np.eye(5, 2, dtype=bool), NAN, A)
    found = interquartile_mean(incomplete, generator=np.random.default_rng(0))
    assert found.value == pytest.approx(stats.trim_mean(incomplete[np.isfinite(incomplete)], 0.25))
    with_empty_draw = interquartile_mean(np.vstack([A, [[NAN, NAN]]]), generator=np.random.default_rng(0))
    assert with_empty_draw == interquartile_mean(A, generator=np.random.default_rng(0))


def test_one_outlier_hardly_moves_the_interquartile_mean() -> None:
    outlier = A.copy()
    outlier[0, 0] = 10.0
    plain, moved = (interquartile_mean(x, generator=np.random.default_rng(0)).value for x in (A, outlier))
    assert abs(plain - moved) < 0.5 < abs(A.mean() - outlier.mean())


def test_an_interquartile_mean_without_spread_has_a_reason_and_no_interval() -> None:
    generator = np.random.default_rng(0)
    assert interquartile_mean([[1.0, 2.0, 6.0]], generator=generator).reason == SINGLE_DRAW
    assert interquartile_mean([[3.0], [3.0]], generator=generator).reason == NO_SPREAD
    with pytest.raises(NotEstimable, match="there is no score"):
        interquartile_mean([[NAN]], generator=generator)
