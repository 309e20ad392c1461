"""p-values: Holm's correction for multiple tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkca_search.analysis.stats.p_values import holm

# From statsmodels 0.15.0, multipletests(p, method="holm").
STATSMODELS = [
    ([0.01, 0.04, 0.03, 0.005, 0.5, 0.2], [0.05, 0.12, 0.12, 0.03, 0.5, 0.4]),
    ([0.05, 0.05, 0.05], [0.15, 0.15, 0.15]),
    ([0.001], [0.001]),
    ([1.0, 0.9, 0.02, 0.02, 0.3], [1.0, 1.0, 0.1, 0.1, 0.9]),
    ([0.0, 0.012, 0.013, 0.04, 0.04, 0.04, 0.6, 1.0], [0.0, 0.084, 0.084, 0.2, 0.2, 0.2, 1.0, 1.0]),
]
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("given_p", "adjusted"), STATSMODELS)
def test_adjusted_p_values_are_those_of_statsmodels(given_p: list[float], adjusted: list[float]) -> None:
    assert holm(given_p) == pytest.approx(adjusted)


@given(P_VALUES)
def test_the_smallest_p_is_adjusted_as_by_bonferroni_and_no_p_decreases(p_values: list[float]) -> None:
    adjusted = [p for p in holm(p_values) if p is not None]
    assert min(adjusted) == min(1.0, min(p_values) * len(p_values))
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    assert all(after <= min(1.0, before * len(p_values)) for before, after in zip(p_values, adjusted, strict=True))


@given(P_VALUES)
def test_adjusted_p_values_keep_their_order(p_values: list[float]) -> None:
    pairs = sorted(zip(p_values, holm(p_values), strict=True), key=lambda pair: pair[0])
    adjusted = [after for _, after in pairs if after is not None]
    assert adjusted == sorted(adjusted)


@given(P_VALUES, st.permutations(range(12)))
def test_the_order_of_the_comparisons_does_not_matter(p_values: list[float], order: list[int]) -> None:
    order = [index for index in order if index < len(p_values)]
    assert holm([p_values[index] for index in order]) == [holm(p_values)[index] for index in order]


@given(P_VALUES)
def test_a_comparison_without_a_test_does_not_count(p_values: list[float]) -> None:
    assert holm([None, *p_values, None]) == [None, *holm(p_values), None]


def test_no_tests_need_no_correction() -> None:
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_a_p_value_outside_0_to_1_is_an_error(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        holm([0.5, p])
