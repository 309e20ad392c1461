"""Expected best of k trials."""

import re
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lkca_search.analysis.stats.best_of_k import expected_best

VALUES = np.array([0.71, 0.64, 0.80, 0.55, 0.77, 0.69, 0.80, 0.61, 0.73, 0.58, 0.66, 0.74])
NUMBERS = st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=9)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@given(NUMBERS, st.data())
def test_the_expected_best_is_the_mean_best_over_all_subsets_of_k_trials(
    values: list[float], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(values)))
    for goal, best in (("maximize", max), ("minimize", min)):
        (found,) = expected_best(values, ks=[k], goal=goal, generator=generator(), num_resamples=2)
        assert found.expected.value == pytest.approx(np.mean([best(subset) for subset in combinations(values, k)]))


@given(NUMBERS)
def test_the_expected_best_rises_from_the_mean_at_1_trial_to_the_maximum_at_all(values: list[float]) -> None:
    found = expected_best(values, ks=range(1, len(values) + 1), generator=generator(), num_resamples=2)
    expected = [best.expected.value for best in found]
    assert expected[0] == pytest.approx(np.mean(values))
    assert expected[-1] == pytest.approx(max(values))
    assert all(after >= before - 1e-9 for before, after in pairwise(expected))


def test_many_trials_do_not_overflow() -> None:
    (found,) = expected_best(np.arange(10_000.0), ks=[5_000], generator=generator(), num_resamples=2)
    assert found.expected.value == pytest.approx(10_001 * 5_000 / 5_001 - 1)


def test_the_interval_is_that_of_t_with_the_standard_error_of_scipys_bootstrap() -> None:
    def best_of_two(values: np.ndarray, axis: int) -> np.ndarray:
        ordered, number = np.sort(values, axis=axis), values.shape[axis]
        return ordered @ (np.arange(number) / (number * (number - 1) / 2))

    (found,) = expected_best(VALUES, ks=[2], generator=generator(), num_resamples=50_000)
    error = stats.bootstrap((VALUES,), best_of_two, n_resamples=50_000, rng=generator()).standard_error
    interval = found.expected.interval
    assert interval is not None
    assert interval.upper == pytest.approx(found.expected.value + 2.201 * error * np.sqrt(12 / 11), rel=0.01)


def test_a_k_above_a_quarter_of_the_trials_has_a_reason_and_no_interval() -> None:
    three, four = expected_best(VALUES, ks=[3, 4], generator=generator())
    assert three.expected.interval is not None
    assert four.expected.interval is None
    assert four.expected.reason == "an interval for the best of 4 needs 16 trials, there are 12"
    (equal,) = expected_best([2.0] * 8, ks=[2], generator=generator())
    assert (equal.expected.value, equal.expected.interval) == (pytest.approx(2.0), None)


WRONG = [
    ([1.0, 2.0], 3, "at most the number of trials, 2, got 3"),
    ([1.0, 2.0], 0, "at least 1 and at most the number of trials, 2, got 0"),
    ([], 1, "must be finite numbers"),
    ([1.0, float("nan")], 1, "must be finite numbers"),
    ([[1.0]], 1, "must be finite numbers"),
]


@pytest.mark.parametrize(("values", "k", "rule"), WRONG)
def test_invalid_arguments_are_errors_with_rule_and_value(values: list[float], k: int, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        expected_best(values, ks=[k], generator=generator())
