"""Means of percentages, and the part of their variance that comes from the sampling of test images."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.analysis.stats.p_values import two_sided_p
from lkca_search.analysis.stats.percentage_mean import mean_percentage
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW, student_mean
from lkca_search.analysis.stats.variance import image_variance

VALUES = st.integers(1, 12).flatmap(
    lambda size: hnp.arrays(np.float64, size, elements=st.integers(0, 1000).map(lambda value: value / 10))
)


@given(VALUES, st.floats(0, 400))
def test_intervals_of_percentages_contain_the_mean_and_stay_between_0_and_100(values: Floats, variance: float) -> None:
    for estimate in (
        mean_percentage(values, sampling_variance=variance),
        interquartile_mean(values[:, None], generator=np.random.default_rng(0), sampling_variance=variance),
    ):
        if estimate.interval is None:
            assert estimate.reason in (SINGLE_DRAW, NO_SPREAD)
        else:
            assert estimate.interval.lower is not None
            assert estimate.interval.upper is not None
            assert 0 <= estimate.interval.lower <= estimate.value + 1e-9
            assert estimate.value - 1e-9 <= estimate.interval.upper <= 100


def test_three_values_have_students_interval_on_the_scale_of_log_odds() -> None:
    values = np.array([97.0, 98.0, 99.5])
    found = mean_percentage(values).interval
    mean, error = values.mean() / 100, values.std(ddof=1) / 100 / math.sqrt(3)
    half = stats.t.ppf(0.975, 2) * error / (mean * (1 - mean))
    assert found is not None
    assert (found.lower, found.upper) == pytest.approx(
        (100 * special.expit(special.logit(mean) - half), 100 * special.expit(special.logit(mean) + half))
    )


def test_the_long_end_of_the_interval_is_on_the_skewed_side() -> None:
    found = mean_percentage(np.array([60.0, 59.5, 60.5, 59.0, 40.0]))
    assert found.interval is not None
    assert found.value - (found.interval.lower or 0) > 1.5 * ((found.interval.upper or 0) - found.value)


NEARLY_EQUAL = [87.27, 84.56, 87.13, 87.10, 85.0]
"""Percentages of which three are nearly equal: the bootstrap-t has an end of 60.3."""


@pytest.mark.parametrize(
    "values", [NEARLY_EQUAL, [97.2, 97.2, 97.2, 97.5, 97.5], [60, 60, 60, 61, 61], [99.7] * 4 + [99.4]]
)
def test_equal_and_nearly_equal_values_have_ends_at_most_twice_as_far_as_students(values: list[float]) -> None:
    array = np.array(values) / 100
    found = mean_percentage(100 * array).interval
    assert found is not None
    mean = array.mean()
    half = stats.t.ppf(0.975, 4) * array.std(ddof=1) / math.sqrt(5) / (mean * (1 - mean))
    for end in (found.lower, found.upper):
        distance = abs(special.logit((end or 0) / 100) - special.logit(mean))
        assert half * (1 - 1e-9) <= distance <= 2 * half * (1 + 1e-9)


def test_an_interval_does_not_jump_where_values_become_equal() -> None:
    equal, nearly = (mean_percentage(np.array([60.0, 60.0 + gap, 60.0, 61.0, 61.0])).interval for gap in (0.0, 1e-4))
    assert equal is not None
    assert nearly is not None
    assert (nearly.lower, nearly.upper) == pytest.approx((equal.lower, equal.upper), abs=1e-3)


@given(VALUES)
def test_accuracy_and_error_have_mirrored_intervals(values: Floats) -> None:
    one, other = mean_percentage(values), mean_percentage(100 - values)
    assert one.value == pytest.approx(100 - other.value, abs=1e-9)
    if one.interval is not None and other.interval is not None:
        assert one.interval.lower == pytest.approx(100 - (other.interval.upper or 0), abs=0.02)


def test_the_variance_of_images_is_that_of_their_difficulty() -> None:
    generator = np.random.default_rng(0)
    difficulty = 3 * generator.standard_normal(4000)
    scores = 50 + difficulty + generator.standard_normal((5, 1)) + 2 * generator.standard_normal((5, 4000))
    assert image_variance(scores) == pytest.approx(9 / 4000, rel=0.1)
    independent = 50 + generator.standard_normal((5, 1)) + 2 * generator.standard_normal((5, 4000))
    assert image_variance(independent) < 0.1 * 4 / 4000
    assert image_variance(np.ones((5, 10))) == 0


@given(
    hnp.arrays(np.float64, st.integers(2, 8), elements=st.floats(-5, 5).map(lambda value: round(value, 2))),
    st.floats(0.001, 4),
)
def test_p_is_the_level_at_which_the_interval_just_contains_0(values: Floats, variance: float) -> None:
    p = two_sided_p(values, sampling_variance=variance)
    assert p is not None
    if np.ptp(values) < 0.01 or not 1e-6 < p < 0.999:
        return
    for level, holds in ((1 - 1.001 * p, False), (1 - 0.999 * p, True)):
        interval = student_mean(values, level=level, sampling_variance=variance).interval
        assert interval is not None
        assert interval.contains(0.0) is holds


def test_the_sampling_of_test_images_widens_intervals_and_raises_p() -> None:
    values = np.array([1.0, 1.2, 0.9, 1.1, 0.8])
    ps = [two_sided_p(values, sampling_variance=variance) for variance in (0.0, 0.01, 0.25, 1.0)]
    assert ps == sorted(ps)
    assert ps[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert ps[-1] == pytest.approx(2 * special.ndtr(-1.0), abs=0.02)
