"""Paired differences: the draw is the unit, and missing replicates are counted."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.paired import PairedDifference, bootstrap_difference, paired_difference
from lkca_search.analysis.stats.replicates import Floats, pair
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW
from tests.support.statistics.given_scores import NAN, A, B, has_pair, scores


def test_interval_and_p_are_those_of_the_t_test_over_draw_means() -> None:
    found = paired_difference(A, B)
    truth = stats.ttest_1samp((A - B).mean(axis=1), 0.0)
    interval = truth.confidence_interval(0.95)
    assert found.difference.value == pytest.approx((A - B).mean())
    assert found.difference.interval is not None
    assert found.difference.interval.lower == pytest.approx(interval.low)
    assert found.difference.interval.upper == pytest.approx(interval.high)
    assert found.p_value == pytest.approx(truth.pvalue)
    assert (found.num_draws, found.num_pairs, found.num_draws_left_out, found.num_replicates_left_out) == (5, 10, 0, 0)


def test_an_interval_excludes_0_exactly_if_p_is_below_1_minus_its_level() -> None:
    p = paired_difference(A, B).p_value
    assert p is not None
    for level, holds in ((1 - p - 1e-9, False), (1 - p + 1e-9, True)):
        interval = paired_difference(A, B, level=level).difference.interval
        assert interval is not None
        assert interval.contains(0.0) is holds
        assert interval.level == level


def test_repeated_seeds_do_not_narrow_the_interval() -> None:
    once, thrice = paired_difference(A, B), paired_difference(np.tile(A, 3), np.tile(B, 3))
    assert thrice.num_pairs == 3 * once.num_pairs
    assert thrice.difference.value == pytest.approx(once.difference.value)
    assert thrice.p_value == pytest.approx(once.p_value)


@given(scores(), scores())
def test_swapping_the_families_changes_only_the_sign(a: Floats, b: Floats) -> None:
    if not has_pair(a, b):
        return
    forward, backward = paired_difference(a, b), paired_difference(b, a)
    assert forward.difference.value == -backward.difference.value
    assert forward.p_value == backward.p_value
    assert forward.difference.reason == backward.difference.reason
    if forward.difference.interval and backward.difference.interval:
        assert forward.difference.interval.lower == -(backward.difference.interval.upper or NAN)


@given(scores(), scores(), hnp.arrays(np.float64, (5, 1), elements=st.integers(-50, 50)))
def test_an_offset_of_a_draw_in_both_families_cancels(a: Floats, b: Floats, added: Floats) -> None:
    if not has_pair(a, b):
        return
    plain, moved = paired_difference(a, b), paired_difference(a + added, b + added)
    assert moved.difference.value == pytest.approx(plain.difference.value, abs=1e-9)
    assert moved.p_value == pytest.approx(plain.p_value, abs=1e-6)
    assert moved.difference.reason == plain.difference.reason


@given(scores(), scores())
def test_only_the_mean_over_the_seeds_of_a_draw_matters(a: Floats, b: Floats) -> None:
    if np.isnan(a).any() or np.isnan(b).any():
        return
    seeds, means = paired_difference(a, b), paired_difference(*(x.mean(axis=1, keepdims=True) for x in (a, b)))
    assert means.difference.value == pytest.approx(seeds.difference.value, abs=1e-9)
    assert means.p_value == pytest.approx(seeds.p_value, abs=1e-6)


@given(scores(), scores(), st.permutations(range(5)))
def test_the_order_of_draws_does_not_matter(a: Floats, b: Floats, order: list[int]) -> None:
    if not has_pair(a, b):
        return
    plain, other = paired_difference(a, b), paired_difference(a[order], b[order])
    assert other.difference.value == pytest.approx(plain.difference.value)
    assert other.p_value == pytest.approx(plain.p_value)


# Missing replicates


def test_replicates_without_a_partner_and_draws_without_a_pair_are_left_out_and_counted() -> None:
    a = [[1.0, 2.0], [3.0, NAN], [5.0, NAN], [NAN, NAN]]
    b = [[0.0, 0.0], [1.0, 9.0], [NAN, 4.0], [NAN, 1.0]]
    found = paired_difference(a, b)
    assert found.draw_differences == (1.5, 2.0)
    assert found.num_pairs == 3
    assert found.num_draws_left_out == 2
    assert found.num_replicates_left_out == 4
    assert found.difference == paired_difference([[1.0, 2.0], [3.0, NAN]], [[0.0, 0.0], [1.0, NAN]]).difference


def test_draws_have_equal_weight_for_any_number_of_pairs() -> None:
    found = paired_difference([[1.0, NAN, NAN], [4.0, 4.0, 7.0]], np.zeros((2, 3)))
    assert found.difference.value == (1 + 5) / 2


WRONG = [
    ([[1.0]], [[1.0, 2.0]], "must have the same shape"),
    ([1.0, 2.0], [1.0, 2.0], "the shape (draws, seeds)"),
    (np.zeros((0, 2)), np.zeros((0, 2)), "both at least 1"),
    ([[np.inf]], [[1.0]], "must be finite"),
]


@pytest.mark.parametrize(("a", "b", "rule"), WRONG)
def test_scores_of_another_shape_are_an_error_with_the_rule(a: object, b: object, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        pair(a, b)  # type: ignore[arg-type]


def test_families_without_a_common_replicate_are_refused_with_the_reason() -> None:
    with pytest.raises(NotEstimable, match="no replicate of one family has a partner"):
        paired_difference([[1.0, NAN]], [[NAN, 1.0]])


def test_a_level_outside_0_to_1_is_an_error() -> None:
    with pytest.raises(ValueError, match="above 0 and below 1, got 95"):
        paired_difference(A, B, level=95)


# Few draws, and no spread

SMALL = [
    ([[3.0, 5.0]], [[1.0, 1.0]], 3.0, None, SINGLE_DRAW),
    ([[1.0], [2.0]], [[1.0], [2.0]], 0.0, 1.0, NO_SPREAD),
    ([[0.3], [0.2], [0.7]], [[0.2], [0.1], [0.6]], 0.1, 0.25, NO_SPREAD),
    ([[1.0], [3.0], [5.0], [7.0], [9.0]], [[0.0], [2.0], [4.0], [6.0], [8.0]], 1.0, 0.0625, NO_SPREAD),
]


@pytest.mark.parametrize(("a", "b", "value", "p_value", "reason"), SMALL)
def test_values_without_spread_have_an_estimate_and_a_reason_but_no_interval(
    a: list[list[float]], b: list[list[float]], value: float, p_value: float | None, reason: str
) -> None:
    found = paired_difference(a, b)
    resampled = bootstrap_difference(a, b, generator=np.random.default_rng(0))
    assert found.difference.value == pytest.approx(value)
    assert found.p_value == p_value
    for estimate in (found.difference, resampled):
        assert estimate.interval is None
        assert estimate.reason == reason


def test_two_draws_have_the_t_interval_of_one_degree_of_freedom() -> None:
    found = paired_difference([[1.0], [3.0]], [[0.0], [0.0]])
    assert found.difference.interval is not None
    assert found.difference.interval.upper == pytest.approx(2 + 12.706, abs=1e-3)


def test_a_paired_difference_survives_a_round_trip_through_json() -> None:
    found = paired_difference(A, B)
    assert PairedDifference.model_validate_json(found.model_dump_json()) == found


# The hierarchical bootstrap


def test_the_hierarchical_bootstrap_agrees_with_the_t_interval_for_many_draws() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(70, 1, (40, 2)), generator.normal(69, 1, (40, 2))
    plain = paired_difference(a, b).difference
    resampled = bootstrap_difference(a, b, generator=generator, num_resamples=20_000)
    assert plain.interval is not None
    assert resampled.interval is not None
    assert resampled.value == plain.value
    assert resampled.interval.lower == pytest.approx(plain.interval.lower, abs=0.03)
    assert resampled.interval.upper == pytest.approx(plain.interval.upper, abs=0.03)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_three_draws_are_too_few_for_the_hierarchical_bootstrap(num_seeds: int) -> None:
    found = bootstrap_difference(A[:3, :num_seeds], B[:3, :num_seeds], generator=np.random.default_rng(0))
    assert found.interval is None
    assert found.reason is not None
    assert "too many resamples of 3 draws have no spread" in found.reason


def test_a_missing_replicate_is_never_resampled() -> None:
    a, b = A - B + 50, np.full((5, 2), 50.0)
    incomplete = np.where(np.eye(5, 2, dtype=bool), NAN, a)
    compact = np.array([[a[0, 1]] * 2, [a[1, 0]] * 2, *a[2:]])
    ragged = bootstrap_difference(incomplete, b, generator=np.random.default_rng(3), num_resamples=50_000)
    repeated = bootstrap_difference(compact, b, generator=np.random.default_rng(4), num_resamples=50_000)
    assert ragged.interval is not None
    assert repeated.interval is not None
    assert ragged.value == pytest.approx(repeated.value)
    assert ragged.interval.lower == pytest.approx(repeated.interval.lower, abs=0.1)
    assert ragged.interval.upper == pytest.approx(repeated.interval.upper, abs=0.1)
