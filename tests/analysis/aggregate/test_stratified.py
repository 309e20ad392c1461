"""The interquartile mean over datasets is rliable's, and its interval covers the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from lkca_search.analysis.aggregate.stratified import SINGLE_DRAW, combine_variances, stratified_mean
from tests.support.statistics.aggregate_studies import Design, coverage_study, false_claims_study

EQUAL = Design(effects=(0, 0, 0), deviations=(1, 1, 1), num_draws=5, num_sizes=2)
UNEQUAL_SPREAD = Design(effects=(0, 0, 0), deviations=(0.3, 1, 3), num_draws=5, num_sizes=2)
DIFFERENT = Design(effects=(-2, 0, 1, 4), deviations=(1, 1, 1, 1), num_draws=5, num_sizes=2)
FEW_DRAWS = Design(effects=(1, 2), deviations=(1, 2), num_draws=3, num_sizes=3)


def test_the_estimate_is_the_trimmed_mean_of_all_values() -> None:
    strata = DIFFERENT.simulate(np.random.default_rng(0))
    strata[1][2, 0] = np.nan
    found, _ = stratified_mean(strata, generator=np.random.default_rng(1))
    values = np.concatenate([stratum.ravel() for stratum in strata])
    assert found.value == pytest.approx(stats.trim_mean(values[np.isfinite(values)], 0.25))


def test_the_interval_is_t_times_the_standard_error_of_draws_resampled_within_datasets() -> None:
    strata = EQUAL.simulate(np.random.default_rng(3))
    found, p_value = stratified_mean(strata, generator=np.random.default_rng(1), num_resamples=20_000)
    generator = np.random.default_rng(2)
    means, parts = [], [[], [], []]
    for _ in range(4000):
        resampled = [stratum[generator.integers(5, size=5)] for stratum in strata]
        means.append(stats.trim_mean(np.concatenate(resampled).ravel(), 0.25))
        for index in range(3):
            alone = [*strata[:index], resampled[index], *strata[index + 1 :]]
            parts[index].append(stats.trim_mean(np.concatenate(alone).ravel(), 0.25))
    variances = [np.var(part, ddof=1) * 5 / 4 for part in parts]
    error = max(math.sqrt(np.var(means, ddof=1) * 5 / 4), math.sqrt(sum(variances)))
    freedom = sum(variances) ** 2 / sum(variance**2 / 4 for variance in variances)
    assert found.interval is not None
    half = (found.interval.upper or 0) - found.value
    assert half == pytest.approx(stats.t.ppf(0.975, freedom) * error, rel=0.04)
    assert p_value == pytest.approx(2 * stats.t.sf(abs(found.value) / error, freedom), abs=0.02)


def test_p_is_below_the_level_exactly_if_the_interval_leaves_out_0() -> None:
    generator = np.random.default_rng(5)
    for shift in np.linspace(0, 1.5, 40):
        strata = [stratum + shift for stratum in EQUAL.simulate(generator)]
        found, p_value = stratified_mean(strata, generator=generator, num_resamples=200, sampling_variance=0.01)
        assert found.interval is not None
        assert p_value is not None
        assert (p_value <= 0.05) is not found.interval.contains(0)


@pytest.mark.parametrize(("variances", "freedom"), [((1, 0, 0), 4), ((1, 1, 1), 12), ((4, 1, 0), 25 / (17 / 4))])
def test_degrees_of_freedom_are_between_those_of_one_dataset_and_of_all(
    variances: tuple[float, ...], freedom: float
) -> None:
    found = combine_variances(variances, (5, 5, 5))
    assert found.effective_draws - 1 == pytest.approx(freedom)
    assert found.error == pytest.approx(math.sqrt(sum(variances)))


def test_a_dataset_with_a_single_draw_has_the_reason_in_place_of_an_interval() -> None:
    strata = [np.array([[1.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 1.0]])]
    found, p_value = stratified_mean(strata, generator=np.random.default_rng(0))
    assert found.interval is None
    assert found.reason == SINGLE_DRAW
    assert p_value is None


def test_the_sampling_of_test_images_widens_the_interval() -> None:
    strata = EQUAL.simulate(np.random.default_rng(3))
    narrow, wide = (
        stratified_mean(strata, generator=np.random.default_rng(1), sampling_variance=variance)[0].interval
        for variance in (0.0, 0.25)
    )
    assert narrow is not None
    assert wide is not None
    halves = [((each.upper or 0) - (each.lower or 0)) / 2 for each in (narrow, wide)]
    assert halves[1] == pytest.approx(math.hypot(halves[0], 1.959964 * 0.5))


@pytest.mark.parametrize("design", [EQUAL, UNEQUAL_SPREAD, DIFFERENT, FEW_DRAWS])
def test_intervals_cover_the_truth(design: Design) -> None:
    assert coverage_study(design, repetitions=300, seed=0) >= 0.93


@pytest.mark.parametrize("design", [EQUAL, UNEQUAL_SPREAD])
def test_a_round_of_equal_families_claims_a_difference_in_at_most_5_percent(design: Design) -> None:
    assert false_claims_study(design, repetitions=300, seed=0) <= 0.05 + 0.01
