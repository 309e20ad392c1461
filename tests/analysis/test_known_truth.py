"""Coverage of intervals for a known truth: the short form of benchmarks/known_truth.py.

The plain percentile interval covers 82-88% at 5 draws x 2 seeds and fails all of these tests.
"""

import numpy as np
import pytest

from lkca_search.analysis.curves.data_efficiency import CurveMethod
from tests.support.statistics.coverage import RATIOS
from tests.support.statistics.curve_studies import crossover_study, efficiency_study, exponents_study, fit_study
from tests.support.statistics.level_studies import join, replicate_study, trial_study
from tests.support.statistics.population_studies import (
    SKEWED,
    efficiency_population_study,
    mean_study,
    null_crossover_study,
    population_study,
)
from tests.support.statistics.power_studies import estimated_variances_study, known_variances_study
from tests.support.statistics.round_studies import stopping_study
from tests.support.statistics.score_studies import (
    best_of_k_study,
    difference_study,
    holm_study,
    improvement_study,
    interquartile_mean_study,
    search_variance_study,
)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("difference", [0.0, 2.0])
def test_intervals_of_a_difference_have_their_coverage(ratio: float, difference: float) -> None:
    found = difference_study(ratio=ratio, difference=difference, repetitions=1000)
    assert 0.93 <= found["t"].rate <= 0.97
    assert 0.92 <= found["hierarchical bootstrap"].rate <= 0.97


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_intervals_cover_the_variance_between_searches_only_if_the_search_is_repeated(spread: float) -> None:
    found = search_variance_study(spread=spread, ratio=1.0, repetitions=1000)
    assert 0.93 <= found["repeats"].rate <= 0.97
    assert found["one search"].rate < 0.93
    assert found["repeats"].width > found["one search"].width


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("differences", [np.zeros(6), np.array([0.0, 0.0, 0.0, 2.0, 3.0, 4.0])])
def test_holm_keeps_false_rejections_at_5_percent(is_shared: bool, differences: np.ndarray) -> None:
    found = holm_study(differences=differences, ratio=1.0, is_shared=is_shared, repetitions=2000)
    assert found.holm <= 0.055
    assert found.uncorrected > 0.09


@pytest.mark.parametrize("is_shared", [False, True])
def test_searches_that_add_draws_until_a_contrast_is_significant_keep_5_percent(is_shared: bool) -> None:
    found = stopping_study(difference=0.0, ratio=1.0, is_shared=is_shared, repetitions=1000)
    assert max(found.levels.any) <= 0.055
    assert found.naive.any[1] > 0.055
    assert found.naive.any[3] > 0.09


def test_the_first_round_keeps_most_of_its_power_at_its_level() -> None:
    found = stopping_study(difference=2.0, ratio=0.25, is_shared=False, repetitions=300)
    assert found.naive.each[0] >= found.levels.each[0] >= 0.85 * found.naive.each[0]
    assert found.levels.each == tuple(sorted(found.levels.each)), "later rounds add to it"


@pytest.mark.parametrize("ratio", RATIOS)
def test_draws_needed_from_known_variances_are_within_20_percent(ratio: float) -> None:
    found = known_variances_study(ratio=ratio, difference=0.75, repetitions=10_000)
    assert found.needed == pytest.approx(found.computed, rel=0.2)
    assert 0.78 <= found.power <= 0.86


@pytest.mark.parametrize("ratio", RATIOS)
def test_draws_needed_from_5_draws_are_median_unbiased_with_a_covering_interval(ratio: float) -> None:
    found = estimated_variances_study(ratio=ratio, difference=0.75, repetitions=300)
    assert found.quartiles[1] == pytest.approx(1.0, abs=0.2)
    assert found.coverage >= 0.93


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("probability", [0.5, 0.7, 0.9, 0.97])
def test_the_interval_of_the_probability_of_improvement_has_its_coverage(ratio: float, probability: float) -> None:
    assert 0.9 <= improvement_study(ratio=ratio, probability=probability, repetitions=400).rate <= 0.995


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_interval_of_the_interquartile_mean_has_its_coverage(ratio: float) -> None:
    assert 0.92 <= interquartile_mean_study(ratio=ratio, repetitions=400).rate <= 0.98


def test_the_expected_best_is_unbiased_and_its_interval_covers_for_small_k() -> None:
    for k, minimum in ((1, 0.92), (2, 0.92), (6, 0.86)):
        found = best_of_k_study(num_trials=24, k=k, repetitions=500)
        assert abs(found.bias) < 3
        assert minimum <= found.coverage.rate <= 0.98
    assert found.bias_with_replacement < -3


def test_the_intervals_and_the_band_of_a_power_law_have_their_coverage() -> None:
    found = fit_study(ratio=1.0, noise=0.02, repetitions=200)
    for name in ("alpha", "eta", "gamma", "band at a size", "band between", "band at 4 n"):
        assert 0.9 <= found[name].rate <= 0.99, name
        assert found[name].missing <= 0.02
    assert found["all three"].rate >= 0.88


def test_the_interval_of_the_exponent_difference_has_its_coverage() -> None:
    assert 0.9 <= exponents_study(ratio=1.0, noise=0.02, repetitions=200).rate <= 0.99


@pytest.mark.parametrize(("method", "repetitions"), [("interpolated", 300), ("fitted", 100)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_interval_of_the_data_efficiency_ratio_has_its_coverage(
    method: CurveMethod, repetitions: int, shift: float
) -> None:
    found = efficiency_study(ratio=1.0, shift=shift, repetitions=repetitions, method=method)
    assert 0.9 <= found.rate <= 0.99
    assert found.missing <= 0.02


def test_the_interval_of_the_crossover_has_its_coverage() -> None:
    found = crossover_study(ratio=1.0, noise=0.02, repetitions=300)
    assert found.found >= 0.95
    assert 0.9 <= found.coverage.rate <= 0.99


def test_the_best_of_equal_levels_has_a_probability_near_chance_and_that_of_the_bootstrap_is_not() -> None:
    for is_adaptive in (False, True):
        found = trial_study(effect=0.0, num_trials=24, is_adaptive=is_adaptive, repetitions=40)
        assert 1 / 3 <= found["surrogate"].mean <= 0.5
        assert found["bootstrap"].mean > 0.7
    assert 1 / 3 <= replicate_study(effect=0.0, num_levels=3, repetitions=100).mean <= 0.5
    assert 1 / 6 <= replicate_study(effect=0.0, num_levels=6, repetitions=100).mean <= 0.33


def test_a_level_stated_as_best_with_a_probability_is_best_at_least_that_often() -> None:
    effects = (0.0, 0.5, 2.0)
    replicates = [replicate_study(effect=effect, num_levels=3, repetitions=100) for effect in effects]
    trials = [
        trial_study(effect=effect, num_trials=24, is_adaptive=True, repetitions=40)["surrogate"] for effect in effects
    ]
    for studies in (replicates, trials):
        for count, stated, right in join(studies).bins():
            assert count < 10 or right >= stated - 2 * (0.25 / count) ** 0.5
    assert trials[-1].mean > 0.8
    assert replicates[-1].mean > 0.75


@pytest.mark.parametrize("name", SKEWED)
def test_the_interval_of_a_mean_covers_skewed_and_unequal_draws(name: str) -> None:
    found = mean_study(name=name, num_draws=5, repetitions=800)
    assert 0.91 <= found["percentage"].rate <= 0.99


def test_students_interval_covers_too_few_skewed_means() -> None:
    assert mean_study(name="skewed", num_draws=5, repetitions=800)["t"].rate < 0.91


@pytest.mark.parametrize("fraction", [0.02, 0.25, 0.5, 1.0])
def test_means_and_differences_cover_their_estimand_at_every_fraction(fraction: float) -> None:
    found = population_study(fraction=fraction, repetitions=300)
    assert 0.92 <= found["mean"].rate <= 1
    assert 0.92 <= found["difference"].rate <= 0.995


@pytest.mark.parametrize("num_images", [359, 1000])
def test_data_efficiency_covers_families_that_are_equal_on_new_test_images(num_images: int) -> None:
    found = efficiency_population_study(num_images=num_images, repetitions=150)
    assert 0.92 <= found["with test images"].rate <= 1
    assert found["plain"].rate < found["with test images"].rate


def test_draws_that_overlap_say_nothing_about_a_new_pool() -> None:
    assert population_study(fraction=0.5, repetitions=200)["plain, new pool"].rate < 0.85


def test_searches_of_equal_families_state_a_crossover_in_at_most_5_percent() -> None:
    found = null_crossover_study(repetitions=60)
    assert found["mean curves"] > 0.3
    assert found["report"] <= 0.05
