"""Learning curves: points, isotonic means, interpolation, and the test for a decreasing error."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.isotonic import IsotonicRegression

from lkca_search.analysis.curves.learning_curve import (
    LearningCurve,
    check_error_decreases,
    errors_on_common_draws,
    interpolate,
    isotonic_means,
    learning_curve,
    resampled_means,
)
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import Floats
from tests.support.statistics.given_scores import NAN
from tests.support.statistics.simulated import SIZES, Law, simulate_curves


def curve() -> LearningCurve:
    return learning_curve(
        [100, 200, 400],
        [
            [[0.6, 0.5], [0.7, NAN], [0.4, 0.4]],
            [[0.3, 0.5], [NAN, NAN], [0.4, 0.2]],
            [[0.2, 0.2], [0.2, 0.2], [0.2, 0.2]],
        ],
    )


def test_an_incomplete_draw_is_left_out_of_curves() -> None:
    incomplete = curve()
    assert incomplete.complete.tolist() == [True, False, True]
    assert incomplete.num_draws_left_out == 1
    (errors,) = errors_on_common_draws(incomplete)
    assert errors.shape == (3, 2)


def test_curves_are_compared_on_draws_that_are_complete_in_both() -> None:
    other = learning_curve([100], [[[0.1], [0.2], [NAN]]])
    with pytest.raises(NotEstimable, match=re.escape("at least 2 draws must have an error at every size, 1 of 3 have")):
        errors_on_common_draws(curve(), other)
    with pytest.raises(ValueError, match=re.escape("must have equal numbers of draws, got [1, 3]")):
        errors_on_common_draws(curve(), learning_curve([100], [[[0.1]]]))


WRONG = [
    ([], [], "must be positive and ascending"),
    ([0, 5], [[[0.1]], [[0.1]]], "must be positive and ascending, got [0, 5]"),
    ([5, 5], [[[0.1]], [[0.1]]], "must be positive and ascending, got [5, 5]"),
    ([5, 9], [[[0.1]]], "every size must have errors of the same draws"),
    ([5, 9], [[[0.1]], [[0.1], [0.2]]], "got [(1, 1), (2, 1)]"),
    ([5], [[[-0.1]]], "at least 0, got -0.1"),
    ([5], [[0.1]], "the shape (draws, seeds)"),
]


@pytest.mark.parametrize(("sizes", "errors", "rule"), WRONG)
def test_an_invalid_curve_is_an_error_with_rule_and_value(sizes: list[int], errors: list[object], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        learning_curve(sizes, errors)  # type: ignore[arg-type]


# Isotonic means and interpolation


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.floats(0, 1)))
def test_isotonic_means_are_those_of_scikit_learn(means: Floats) -> None:
    found = isotonic_means(means)
    sizes = np.arange(means.shape[1])
    for row, expected in zip(found, means, strict=True):
        assert row == pytest.approx(IsotonicRegression(increasing=False).fit_transform(sizes, expected), abs=1e-9)


def test_resampled_means_start_with_all_draws_and_use_equal_draws_at_every_size() -> None:
    errors = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    found = resampled_means(errors, np.array([[0, 0, 2], [1, 1, 1]]))
    assert found.tolist() == [[2.0, 20.0], pytest.approx([5 / 3, 50 / 3]), [2.0, 20.0]]


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(0.001, 1)), st.floats(0, 4))
def test_interpolation_is_linear_on_logarithmic_axes(means: Floats, place: float) -> None:
    sizes = np.array([0.0, 1.0, 2.5, 4.0])
    found = interpolate(means, sizes, np.array([place]))
    assert found[:, 0] == pytest.approx([np.exp(np.interp(place, sizes, np.log(row))) for row in means])


def test_an_error_of_0_can_be_interpolated() -> None:
    means = np.array([[0.4, 0.0], [0.0, 0.0]])
    found = interpolate(means, np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    assert found[0] == pytest.approx([0.4, 0.4e-3, 0.4e-6])
    assert found[1] == pytest.approx([0.4e-6] * 3)
    assert interpolate(means[1:], np.array([0.0, 1.0]), np.array([0.5]))[0] == pytest.approx([0.0], abs=1e-5)


# Test for a decreasing error


def test_a_decrease_in_every_draw_is_significant_and_noise_is_not() -> None:
    generator = np.random.default_rng(0)
    (clear,) = simulate_curves(Law(), ratio=1.0, generator=generator)
    check_error_decreases(clear.log_images, clear.draw_errors)
    (flat,) = simulate_curves(Law(0.5, 0.0, -0.3), ratio=1.0, generator=generator)
    with pytest.raises(NotEstimable, match="does not fall significantly with more images: p is 0"):
        check_error_decreases(flat.log_images, flat.draw_errors)


def test_a_constant_error_passes_as_decreasing_in_5_percent() -> None:
    generator = np.random.default_rng(1)
    passed = 0
    for _ in range(2000):
        (flat,) = simulate_curves(Law(0.5, 0.0, -0.3), ratio=1.0, generator=generator)
        try:
            check_error_decreases(flat.log_images, flat.draw_errors)
            passed += 1
        except NotEstimable:
            continue
    assert passed / 2000 == pytest.approx(0.05, abs=0.015)


def test_equal_draws_decrease_if_their_mean_does() -> None:
    logs, errors = np.log(SIZES), np.repeat(Law().errors(SIZES)[:, None], 3, axis=1)
    check_error_decreases(logs, errors)
    with pytest.raises(NotEstimable, match="p is 1"):
        check_error_decreases(logs, errors[::-1])
