"""Power analysis: detectable differences, draws and seeds needed, variance components."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.power import (
    achieved_power,
    analyze_power,
    draws_needed,
    minimum_detectable_difference,
    seeds_needed,
)
from lkca_search.analysis.stats.variance import VarianceComponents, variance_components
from lkca_search.records.rounds import ERROR_RATE, SPENT_SHARE
from tests.support.code_blocks import ROOT
from tests.support.statistics.given_scores import NAN, A, B

UNIT = VarianceComponents(draw_mean_variance=1.0, seed_variance=None, num_draws=5, seeds_per_draw=1.0)
EVEN = VarianceComponents(draw_mean_variance=1.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)

# From statsmodels 0.15.0, TTestPower().power and .solve_power: the difference is in standard deviations of a draw.
STATSMODELS_POWER = [(0.5, 5, 0.05, 0.14051669), (1.2, 5, 0.05, 0.53022125), (0.3, 60, 0.01, 0.37555479)]
STATSMODELS_DRAWS = [(0.5, 0.8, 0.05, 33.367), (1.0, 0.8, 0.05, 9.938), (0.3, 0.9, 0.01, 168.657)]
STATSMODELS_DETECTABLE = [(5, 1.68199708), (10, 0.99600191), (30, 0.52923570)]


@pytest.mark.parametrize(("difference", "num_draws", "alpha", "power"), STATSMODELS_POWER)
def test_power_is_that_of_statsmodels(difference: float, num_draws: int, alpha: float, power: float) -> None:
    found = achieved_power(UNIT, difference=difference, num_draws=num_draws, num_seeds=1, level=1 - alpha)
    assert found == pytest.approx(power, abs=1e-7)


@pytest.mark.parametrize(("difference", "power", "alpha", "exact"), STATSMODELS_DRAWS)
def test_draws_needed_are_those_of_statsmodels_rounded_up(
    difference: float, power: float, alpha: float, exact: float
) -> None:
    found = draws_needed(UNIT, difference=difference, num_seeds=1, level=1 - alpha, power=power)
    assert found == math.ceil(exact)


@pytest.mark.parametrize(("num_draws", "difference"), STATSMODELS_DETECTABLE)
def test_the_detectable_difference_is_that_of_statsmodels(num_draws: int, difference: float) -> None:
    found = minimum_detectable_difference(UNIT, num_draws=num_draws, num_seeds=1)
    assert found == pytest.approx(difference, abs=1e-6)


def test_the_page_on_the_science_has_the_differences_that_five_draws_detect() -> None:
    page = " ".join((ROOT / "docs" / "science.md").read_text(encoding="utf-8").split())
    stated = re.search(r"\*\*Five draws\*\* detect a difference of ([\d.]+) times .* it must be ([\d.]+) times", page)
    assert stated is not None
    for text, num_contrasts in zip(stated.groups(), (1, 20), strict=True):
        level = 1 - ERROR_RATE * SPENT_SHARE / num_contrasts
        found = minimum_detectable_difference(UNIT, num_draws=5, num_seeds=1, level=level)
        assert text == f"{found:.1f}"


@given(st.floats(0.05, 3), st.integers(2, 60), st.integers(1, 8), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_detectable_difference_is_found_with_exactly_the_requested_power(
    scale: float, num_draws: int, num_seeds: int, level: float
) -> None:
    components = VarianceComponents(
        draw_mean_variance=scale * (1 + 1 / 2), seed_variance=scale, num_draws=num_draws, seeds_per_draw=2.0
    )
    design = {"num_draws": num_draws, "num_seeds": num_seeds, "level": level}
    detectable = minimum_detectable_difference(components, **design)
    assert achieved_power(components, difference=detectable, **design) == pytest.approx(0.8)
    assert achieved_power(components, difference=-detectable, **design) == pytest.approx(0.8)
    needed = draws_needed(components, difference=0.999 * detectable, num_seeds=num_seeds, level=level)
    assert needed == num_draws + 1
    assert draws_needed(components, difference=1.001 * detectable, num_seeds=num_seeds, level=level) == num_draws


def test_power_rises_with_the_difference_also_where_scipy_returns_nan() -> None:
    # nctdtr returns NaN for some arguments at which it underflows, at 5 degrees of freedom and at 9999.
    for num_draws in (5, 6, 7, 20, 100, 1001, 10_000):
        powers = [
            achieved_power(UNIT, difference=value / math.sqrt(num_draws), num_draws=num_draws, num_seeds=1)
            for value in np.concatenate([np.linspace(0, 10, 40), np.geomspace(10, 1000, 80)])
        ]
        assert powers[0] == pytest.approx(0.05)
        assert (np.diff(powers) >= -1e-9).all()
        assert powers[-1] == pytest.approx(1.0)


def test_more_seeds_cannot_reduce_the_variance_between_draws() -> None:
    limit = minimum_detectable_difference(UNIT, num_draws=5, num_seeds=1)  # as for EVEN with infinitely many seeds
    assert seeds_needed(EVEN, difference=1.3 * limit, num_draws=5) == 2
    assert seeds_needed(EVEN, difference=1.05 * limit, num_draws=5) == 10
    assert seeds_needed(EVEN, difference=limit, num_draws=5) is None
    found = seeds_needed(EVEN, difference=1.05 * limit, num_draws=5)
    assert found is not None
    powers = [achieved_power(EVEN, difference=1.05 * limit, num_draws=5, num_seeds=found - fewer) for fewer in (0, 1)]
    assert powers[0] >= 0.8 > powers[1]


def test_a_difference_that_no_number_of_draws_detects_gives_none() -> None:
    assert draws_needed(UNIT, difference=0.001, num_seeds=1) is None
    certain = VarianceComponents(draw_mean_variance=0.0, seed_variance=0.0, num_draws=5, seeds_per_draw=2.0)
    assert draws_needed(certain, difference=0.1, num_seeds=1) == 2
    assert seeds_needed(certain, difference=0.1, num_draws=5) == 1


WRONG = [
    (lambda: draws_needed(UNIT, difference=0, num_seeds=1), "difference must not be 0"),
    (lambda: draws_needed(UNIT, difference=1, num_seeds=1, power=0.04), "power must be above 0.05"),
    (lambda: draws_needed(UNIT, difference=1, num_seeds=1, level=5), "above 0 and below 1, got 5"),
    (lambda: draws_needed(UNIT, difference=1, num_seeds=2), "one seed per draw does not show the effect of 2 seeds"),
    (lambda: seeds_needed(UNIT, difference=1, num_draws=5), "one seed per draw does not show the effect of more seeds"),
    (
        lambda: seeds_needed(EVEN, difference=1, num_draws=1),
        "num_draws must be at least 2 for a test over draws, got 1",
    ),
    (
        lambda: minimum_detectable_difference(EVEN, num_draws=1, num_seeds=2),
        "num_draws must be at least 2 for a test over draws, got 1",
    ),
    (lambda: EVEN.variance_of_mean(num_draws=0, num_seeds=2), "at least 1 draw and 1 seed, got 0 and 2"),
]


@pytest.mark.parametrize(("call", "rule"), WRONG)
def test_invalid_arguments_are_errors_with_rule_and_value(call: object, rule: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=re.escape(rule)):
        call()


# Variance components


def test_components_are_those_of_a_balanced_analysis_of_variance() -> None:
    moved = A + np.array([[3.0], [-2.0], [0.0], [1.0], [-4.0]])
    found = variance_components(moved, B)
    differences = moved - B
    within = differences.var(axis=1, ddof=1).mean()
    assert found.seed_variance == pytest.approx(within)
    assert found.draw_variance == pytest.approx(differences.mean(axis=1).var(ddof=1) - within / 2)
    assert found.variance_of_mean(num_draws=5, num_seeds=2) == pytest.approx(differences.mean(axis=1).var(ddof=1) / 5)


def test_components_are_unbiased_with_missing_seeds() -> None:
    generator = np.random.default_rng(0)
    missing = np.where(np.arange(3) < np.array([[3], [3], [2], [1], [1]]), 0.0, NAN)
    found = [
        variance_components(
            2 * generator.standard_normal((5, 1)) + generator.standard_normal((5, 3)) + missing, missing
        )
        for _ in range(4000)
    ]
    draws = [
        components.draw_mean_variance - (components.seed_variance or 0) / components.seeds_per_draw
        for components in found
    ]
    assert np.mean([components.seed_variance for components in found]) == pytest.approx(1.0, rel=0.05)
    assert np.mean(draws) == pytest.approx(4.0, rel=0.05)


def test_a_negative_draw_variance_becomes_0() -> None:
    assert variance_components([[1.0, -1.0], [1.1, -1.1]], np.zeros((2, 2))).draw_variance == 0


def test_one_seed_per_draw_is_not_split_and_one_draw_is_refused() -> None:
    assert variance_components(A[:, :1], B[:, :1]).seed_variance is None
    with pytest.raises(NotEstimable, match="a single draw does not show the spread between draws"):
        variance_components(A[:1], B[:1])


# Power analysis of scores


def test_the_additional_draws_have_a_wide_interval_at_5_draws() -> None:
    found = analyze_power(A, B, difference=0.25)
    low, high = found.additional_draws_interval
    assert (found.num_draws, found.num_seeds) == (5, 2)
    assert found.additional_draws is not None
    assert low is not None
    assert high is not None
    assert 0 < low < found.additional_draws < high
    assert high + 5 > 15 * (low + 5)
    assert found.detectable_difference > 0.25


def test_a_detectable_difference_needs_no_additional_draws() -> None:
    detectable = analyze_power(A, B, difference=1.0).detectable_difference
    assert analyze_power(A, B, difference=1.001 * detectable).additional_draws == 0
    assert (analyze_power(A, B, difference=0.999 * detectable).additional_draws or 0) == 1


def test_one_seed_per_draw_gives_additional_draws_only() -> None:
    found = analyze_power(A[:, :1], B[:, :1], difference=0.5)
    assert found.additional_draws is not None
    assert found.additional_seeds is None


def test_additional_seeds_are_given_if_the_draw_variance_is_small_enough() -> None:
    noisy = np.array([[3.0, -3.0], [3.1, -3.1], [2.9, -2.9], [3.0, -3.1], [3.1, -3.0]])
    found = analyze_power(noisy + 1, np.zeros((5, 2)), difference=1.0)
    assert found.additional_seeds is not None
    assert found.additional_seeds > 0
