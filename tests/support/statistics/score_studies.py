"""Seeded simulation studies of scores: paired differences, Holm's correction, improvement, means, best of k."""

from typing import NamedTuple

import numpy as np
from scipy import special

from lkca_search.analysis.stats.best_of_k import expected_best
from lkca_search.analysis.stats.improvement import probability_of_improvement
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.analysis.stats.p_values import holm
from lkca_search.analysis.stats.paired import bootstrap_difference, paired_difference
from lkca_search.analysis.stats.replicates import Floats
from tests.support.statistics.coverage import NUM_RESAMPLES, Coverage, Tally
from tests.support.statistics.simulated import simulate_scores


def difference_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of the t interval and of the hierarchical bootstrap of a paired difference."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        tally.add("t", paired_difference(a, b).difference, difference)
        resampled = bootstrap_difference(a, b, generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("hierarchical bootstrap", resampled, difference)
    return tally.coverages()


def search_variance_study(*, spread: float, ratio: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of the t interval for the difference between two families in the mean over searches.

    The scores of the configurations that searches of one family find have the standard deviation `spread`, in points.
    With one search, the same configuration is trained on every draw. With repeats, each draw has its own search.
    """
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=2.0, ratio=ratio, generator=generator)
        for name, num_searches in (("one search", 1), ("repeats", len(a))):
            found = spread * generator.standard_normal((2, num_searches, 1))
            tally.add(name, paired_difference(a + found[0], b + found[1]).difference, 2.0)
    return tally.coverages()


class Errors(NamedTuple):
    """Shares of repetitions with at least one false rejection."""

    holm: float
    uncorrected: float
    power: float
    """Share of true differences that the test with Holm's correction finds; NaN if there are none."""


def holm_study(*, differences: Floats, ratio: float, is_shared: bool, repetitions: int, seed: int = 0) -> Errors:
    """Return the error rates over cells with these differences.

    If `is_shared`, the effect of a draw is equal in all cells, as nested subsets may cause.
    """
    generator = np.random.default_rng(seed)
    null = differences == 0
    rejected = np.zeros((2, repetitions, len(differences)), dtype=bool)
    for repetition in range(repetitions):
        effects = generator.standard_normal(5) if is_shared else None
        scores = [
            simulate_scores(difference=difference, ratio=ratio, generator=generator, draw_effects=effects)
            for difference in differences
        ]
        p_values = [paired_difference(a, b).p_value for a, b in scores]
        rejected[0, repetition] = np.array(holm(p_values)) <= 0.05
        rejected[1, repetition] = np.array(p_values) <= 0.05
    false = rejected[:, :, null].any(axis=2).mean(axis=1)
    found = float(rejected[0][:, ~null].mean()) if (~null).any() else float("nan")
    return Errors(holm=float(false[0]), uncorrected=float(false[1]), power=found)


def improvement_study(*, ratio: float, probability: float, repetitions: int, seed: int = 0) -> Coverage:
    """Return the coverage of the interval of the probability of improvement."""
    generator, tally = np.random.default_rng(seed), Tally()
    difference = float(special.ndtri(probability)) * np.sqrt(1 + ratio)
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        tally.add("", probability_of_improvement(a, b).probability, probability)
    return tally.coverages()[""]


def interquartile_mean_study(*, ratio: float, repetitions: int, seed: int = 0) -> Coverage:
    """Return the coverage for one family with variance 4 + ratio / 2 between draws and 1 / 2 between seeds."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, _ = simulate_scores(difference=0.0, ratio=ratio, generator=generator)
        tally.add("", interquartile_mean(a, generator=generator, num_resamples=NUM_RESAMPLES), 70.0)
    return tally.coverages()[""]


class BestOfKStudy(NamedTuple):
    """Expected best of skewed values, like validation accuracies of random configurations."""

    bias: float
    """Mean of the estimates minus the truth, in standard errors of the mean."""
    bias_with_replacement: float
    """Bias of the estimate with replacement, in standard errors of the mean."""
    coverage: Coverage


def best_of_k_study(*, num_trials: int, k: int, repetitions: int, seed: int = 0) -> BestOfKStudy:
    """Return bias and coverage of the expected best of k trials."""
    generator, tally = np.random.default_rng(seed), Tally()
    truth = _mean_best(k)
    estimates, with_replacement = [], []
    quantiles = np.arange(num_trials + 1) / num_trials
    for _ in range(repetitions):
        values = generator.beta(8, 2, size=num_trials)
        (best,) = expected_best(values, ks=[k], generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("", best.expected, truth)
        estimates.append(best.expected.value)
        with_replacement.append(float(np.sort(values) @ np.diff(quantiles**k)))
    biases = [
        (np.mean(found) - truth) / (np.std(found) / np.sqrt(repetitions)) for found in (estimates, with_replacement)
    ]
    return BestOfKStudy(float(biases[0]), float(biases[1]), tally.coverages()[""])


def _mean_best(k: int) -> float:
    """Return the expected maximum of k Beta(8, 2) values: the integral of 1 - F^k."""
    grid = np.linspace(0, 1, 100_001)
    return float(np.trapezoid(1 - special.betainc(8, 2, grid) ** k, grid))
