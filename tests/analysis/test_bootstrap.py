"""Bootstrap over draws, and the use of the random generator in every statistic."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lkca_search.analysis.curves.crossover import crossover
from lkca_search.analysis.curves.data_efficiency import data_efficiency
from lkca_search.analysis.curves.power_law import compare_exponents, fit_power_law
from lkca_search.analysis.stats.best_of_k import expected_best
from lkca_search.analysis.stats.bootstrap import resample_draws, widened_bounds, widened_interval, widening_factor
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.analysis.stats.paired import bootstrap_difference
from lkca_search.analysis.stats.student import t_quantile
from tests.support.statistics.given_scores import A as FIVE
from tests.support.statistics.given_scores import B as FIVE_OTHERS
from tests.support.statistics.simulated import CROSSING_LAWS, simulate_curves

# With 12 draws, two seeds never give the same percentile by chance.
CURVES = simulate_curves(*CROSSING_LAWS, ratio=1.0, generator=np.random.default_rng(0), num_draws=12)
A, B = np.random.default_rng(0).normal(70, 1, (2, 12, 2))
STATISTICS: dict[str, Callable[[np.random.Generator], object]] = {
    "bootstrap_difference": lambda generator: bootstrap_difference(A, B, generator=generator),
    "interquartile_mean": lambda generator: interquartile_mean(A, generator=generator),
    "expected_best": lambda generator: expected_best(A.ravel(), ks=[2], generator=generator),
    "fit_power_law": lambda generator: fit_power_law(CURVES[0], generator=generator).gamma,
    "compare_exponents": lambda generator: compare_exponents(*CURVES, generator=generator),
    "data_efficiency": lambda generator: data_efficiency(*CURVES, generator=generator),
    "crossover": lambda generator: crossover(*CURVES, generator=generator),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_equal_seeds_give_equal_results_and_other_seeds_do_not(name: str) -> None:
    first, again, other = (STATISTICS[name](np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", STATISTICS)
def test_the_generator_argument_is_used_and_the_global_one_is_not(name: str) -> None:
    generator, global_state = np.random.default_rng(0), vars(np.random)["get_state"]
    before = str(global_state(legacy=False))
    assert STATISTICS[name](generator) != STATISTICS[name](generator)
    assert str(global_state(legacy=False)) == before


def test_percentiles_before_widening_are_those_of_scipy() -> None:
    values = (FIVE - FIVE_OTHERS).mean(axis=1)
    draws = resample_draws(5, num_resamples=100_000, generator=np.random.default_rng(0))
    means = values[draws].mean(axis=1)
    bounds = widened_bounds(np.array(values.mean()), means, num_draws=5, level=0.95)
    truth = stats.bootstrap(
        (values,), np.mean, n_resamples=100_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    moved = [values.mean() + (float(bound) - values.mean()) / widening_factor(5, 0.95) for bound in bounds]
    assert moved == pytest.approx([truth.low, truth.high], abs=0.02)


@pytest.mark.parametrize("num_draws", [2, 3, 5, 12, 30])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_the_mean_of_normal_draws_covers_its_level(num_draws: int, level: float) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        values = generator.standard_normal(num_draws)
        means = values[resample_draws(num_draws, num_resamples=300, generator=generator)].mean(axis=1)
        covered += widened_interval(float(values.mean()), means, num_draws=num_draws, level=level).contains(0.0)
    assert covered / 2000 == pytest.approx(level, abs=0.02)


def test_the_widening_factor_falls_with_the_number_of_draws() -> None:
    factors = [widening_factor(num_draws, 0.95) for num_draws in (2, 3, 4, 5, 8, 20, 21, 100, 10_000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1.0, abs=1e-3)
    assert factors[3] == pytest.approx(1.65, abs=0.02)
    with pytest.raises(ValueError, match="above 0 and below 1, got 95"):
        widening_factor(5, 95)


@given(st.sampled_from([2, 5, 30]), st.floats(-10, 10), st.floats(0.01, 10))
def test_a_widened_interval_is_equivariant_to_shift_and_scale(num_draws: int, shift: float, scale: float) -> None:
    resamples = np.linspace(-1, 2, 201)
    lower, upper = widened_bounds(np.array(0.0), resamples, num_draws=num_draws, level=0.95)
    moved = widened_bounds(np.array(shift), shift + scale * resamples, num_draws=num_draws, level=0.95)
    assert [float(bound) for bound in moved] == pytest.approx([shift + scale * float(x) for x in (lower, upper)])


def test_an_end_is_open_only_if_its_percentile_is_infinite() -> None:
    few, many = np.linspace(0, 1, 1000), np.linspace(0, 1, 1000)
    few[-20:], many[-30:] = np.inf, np.inf
    closed, opened = (widened_interval(0.5, resamples, num_draws=5, level=0.95) for resamples in (few, many))
    assert closed.upper is not None
    assert (opened.lower, opened.upper) == (closed.lower, None)
    assert opened.contains(1e9)
    assert not opened.contains(-1e9)


def test_the_t_quantile_of_5_draws_is_that_of_4_degrees_of_freedom() -> None:
    assert t_quantile(5, 0.95) == pytest.approx(2.7764, abs=1e-4)
