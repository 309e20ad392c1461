"""Simulation studies with a known truth: coverage of intervals, false rejections, and power analysis.

Each study is seeded and reproducible. `benchmarks/known_truth.py` prints all of them.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from scipy import special

from lkca_search.analysis.curves.crossover import crossover
from lkca_search.analysis.curves.data_efficiency import CurveMethod, data_efficiency
from lkca_search.analysis.curves.power_law import compare_exponents, fit_power_law
from lkca_search.analysis.stats.best_of_k import expected_best
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.analysis.stats.holm import holm
from lkca_search.analysis.stats.improvement import probability_of_improvement
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.analysis.stats.paired import bootstrap_difference, paired_difference
from lkca_search.analysis.stats.power import achieved_power, analyze_power, draws_needed
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.variance import VarianceComponents
from tests.support.statistics.simulated import (
    CROSSING_IMAGES,
    CROSSING_LAWS,
    SIZES,
    Law,
    simulate_curves,
    simulate_scores,
)

RATIOS = (0.25, 1.0, 4.0)
"""Ratios of the variance between draws to the variance between seeds."""
NUM_RESAMPLES = 400


class Coverage(NamedTuple):
    """Coverage of 95% intervals."""

    rate: float
    """Share of the intervals that contain the truth."""
    width: float
    """Median width of the intervals without an open end."""
    missing: float = 0.0
    """Share of repetitions without an estimate or without an interval; they do not count in the rate."""


class Tally:
    """Counts of covering intervals, by name."""

    def __init__(self) -> None:
        self._covered: dict[str, list[bool]] = defaultdict(list)
        self._widths: dict[str, list[float]] = defaultdict(list)
        self._missing: dict[str, int] = defaultdict(int)

    def add(self, name: str, estimate: Estimate | None, truth: float) -> bool | None:
        """Count an interval; return True if it contains the truth, None if there is no interval."""
        if estimate is None or estimate.interval is None:
            self._missing[name] += 1
            return None
        interval = estimate.interval
        if interval.lower is not None and interval.upper is not None:
            self._widths[name].append(interval.upper - interval.lower)
        return self.count(name, interval.contains(truth))

    def count(self, name: str, covered: bool) -> bool:
        """Count one repetition and return `covered`."""
        self._covered[name].append(covered)
        return covered

    def coverages(self) -> dict[str, Coverage]:
        """Return the coverage per name."""
        return {
            name: Coverage(
                rate=float(np.mean(covered)),
                width=float(np.median(self._widths[name])) if self._widths[name] else float("nan"),
                missing=self._missing[name] / (len(covered) + self._missing[name]),
            )
            for name, covered in self._covered.items()
        }


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


def fit_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of each parameter, of all three, and of the band at, between and beyond the sizes."""
    generator, tally = np.random.default_rng(seed), Tally()
    law = Law()
    images = np.array([*SIZES, 700, 6000, 4 * SIZES[-1]], dtype=np.float64)
    for _ in range(repetitions):
        (curve,) = simulate_curves(law, ratio=ratio, noise=noise, generator=generator)
        try:
            found = fit_power_law(curve, generator=generator, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            tally.add("alpha", None, 0.0)
            continue
        covered = [tally.add(name, getattr(found, name), getattr(law, name)) for name in law._fields]
        tally.count("all three", all(covered))
        lower, upper = found.band(images)
        inside = (lower <= law.errors(images)) & (law.errors(images) <= upper)
        for index in range(len(SIZES)):
            tally.count("band at a size", bool(inside[index]))
        tally.count("band between", bool(inside[-3]))
        tally.count("band between", bool(inside[-2]))
        tally.count("band at 4 n", bool(inside[-1]))
        tally.count("band at all sizes", bool(inside[: len(SIZES)].all()))
        tally.count("misfit below 0.05", found.misfit_p < 0.05)
    return tally.coverages()


def exponents_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> Coverage:
    """Return the coverage of the interval of the exponent difference."""
    generator, tally = np.random.default_rng(seed), Tally()
    laws = Law(), Law(0.05, 2.5, -0.25)
    for _ in range(repetitions):
        curves = simulate_curves(*laws, ratio=ratio, noise=noise, generator=generator)
        try:
            found = compare_exponents(*curves, generator=generator, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            found = None
        tally.add("", found, laws[0].gamma - laws[1].gamma)
    return tally.coverages()[""]


def efficiency_study(
    *,
    ratio: float,
    shift: float,
    repetitions: int,
    noise: float = 0.012,
    method: CurveMethod = "interpolated",
    at_error: float | None = None,
    seed: int = 0,
) -> Coverage:
    """Return the coverage of the data-efficiency ratio; the second family needs `shift` times the images."""
    generator, tally = np.random.default_rng(seed), Tally()
    laws = Law(), Law().shifted(shift)
    for _ in range(repetitions):
        a, b = simulate_curves(*laws, ratio=ratio, noise=noise, generator=generator)
        try:
            found = data_efficiency(
                a, b, generator=generator, method=method, at_error=at_error, num_resamples=NUM_RESAMPLES
            ).ratio
        except NotEstimable:
            found = None
        tally.add("", found, shift)
    return tally.coverages()[""]


class CrossoverStudy(NamedTuple):
    """Crossovers found and their coverage."""

    found: float
    """Share of repetitions that find a crossover in the right direction."""
    coverage: Coverage
    """Coverage of n* among these repetitions."""
    share: float
    """Mean share of bootstrap samples with a crossover."""


def crossover_study(
    *, ratio: float, noise: float, repetitions: int, method: CurveMethod = "interpolated", seed: int = 0
) -> CrossoverStudy:
    """Return the coverage of the crossover of two laws that cross once."""
    generator, tally = np.random.default_rng(seed), Tally()
    shares = []
    for _ in range(repetitions):
        a, b = simulate_curves(*CROSSING_LAWS, ratio=ratio, noise=noise, generator=generator)
        try:
            found = crossover(a, b, generator=generator, method=method, num_resamples=NUM_RESAMPLES)
        except NotEstimable:
            tally.add("", None, CROSSING_IMAGES)
            continue
        is_right = (found.better_at_smallest, found.better_at_largest) == ("b", "a")
        tally.add("", found.num_train_images if is_right else None, CROSSING_IMAGES)
        shares.append(found.bootstrap_share)
    coverage = tally.coverages()[""]
    return CrossoverStudy(found=1 - coverage.missing, coverage=coverage, share=float(np.mean(shares)))
