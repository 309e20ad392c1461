"""Seeded simulation studies of power analysis: draws needed from known and from estimated variances."""

from typing import NamedTuple

import numpy as np
from scipy import special

from lkca_search.analysis.stats.power import achieved_power, analyze_power, draws_needed
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.variance import VarianceComponents
from tests.support.statistics.simulated import simulate_scores


class KnownVariances(NamedTuple):
    """Draws needed, from known variances."""

    computed: int
    """Draws needed according to the power analysis."""
    needed: int
    """Fewest draws with a simulated power of at least 0.8."""
    power: float
    """Simulated power with the computed number of draws."""


def known_variances_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> KnownVariances:
    """Return the draws of 2 seeds needed for a power of 0.8: computed, and by simulation of every number of draws."""
    components = VarianceComponents(draw_mean_variance=ratio + 0.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)
    computed = draws_needed(components, difference=difference, num_seeds=2)
    assert computed is not None
    powers = simulated_powers(ratio, difference, 2 * computed, repetitions, np.random.default_rng(seed))
    return KnownVariances(
        computed=computed, needed=int(np.argmax(powers >= 0.8)) + 1, power=float(powers[computed - 1])
    )


def simulated_powers(
    ratio: float, difference: float, num_draws: int, repetitions: int, generator: np.random.Generator
) -> Floats:
    """Return the share of simulated searches whose t test over 1, 2, ... draws of 2 seeds finds the difference."""
    numbers = np.arange(1, num_draws + 1)
    draws = np.sqrt(ratio) * generator.standard_normal((repetitions, num_draws))
    means = difference + draws + np.sqrt(0.5) * generator.standard_normal((repetitions, num_draws))
    sums, squares = np.cumsum(means, axis=1), np.cumsum(means**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = (squares - sums**2 / numbers) / (numbers - 1)
        found = np.abs(sums / numbers) > special.stdtrit(numbers - 1, 0.975) * np.sqrt(variances / numbers)
    return found.mean(axis=0)


class EstimatedVariances(NamedTuple):
    """Draws needed, from variances estimated on 5 draws x 2 seeds, over many searches."""

    needed: int
    """Draws needed according to the true variances."""
    quartiles: tuple[float, float, float]
    """Quartiles of estimated draws divided by needed draws."""
    coverage: float
    """Share of the intervals that contain the needed number."""
    power: float
    """Mean power of a search with the estimated number of draws."""


def estimated_variances_study(
    *, ratio: float, difference: float, repetitions: int, seed: int = 0
) -> EstimatedVariances:
    """Return the draws needed as estimated from simulated scores of 5 draws x 2 seeds."""
    generator = np.random.default_rng(seed)
    truth = VarianceComponents(draw_mean_variance=ratio + 0.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)
    needed = draws_needed(truth, difference=difference, num_seeds=2)
    assert needed is not None
    totals, covered, powers = [], [], []
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        found = analyze_power(a, b, difference=difference)
        assert found.additional_draws is not None
        low, high = found.additional_draws_interval
        assert low is not None
        total = 5 + found.additional_draws
        totals.append(total / needed)
        covered.append(low <= max(0, needed - 5) and (high is None or needed - 5 <= high))
        powers.append(achieved_power(truth, difference=difference, num_draws=total, num_seeds=2))
    first, second, third = np.quantile(totals, [0.25, 0.5, 0.75]).tolist()
    return EstimatedVariances(needed, (first, second, third), float(np.mean(covered)), float(np.mean(powers)))
