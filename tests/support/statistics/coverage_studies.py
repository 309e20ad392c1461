"""Simulations with a known truth: coverage of intervals, error rates, and quality of the advice on draws.

Each study is seeded and returns the same rates in every run. `benchmarks.known_truth` prints all of them.
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
    """Coverage of nominal 95% intervals."""

    rate: float
    """Share of intervals that contain the truth."""
    width: float
    """Median width of the intervals with two finite limits."""
    missing: float = 0.0
    """Share of repetitions without an estimate or an interval; they do not count in `rate`."""


class Tally:
    """Counter of intervals that contain the truth, by name."""

    def __init__(self) -> None:
        self._is_covered: dict[str, list[bool]] = defaultdict(list)
        self._widths: dict[str, list[float]] = defaultdict(list)
        self._missing: dict[str, int] = defaultdict(int)

    def add(self, name: str, estimate: Estimate | None, truth: float) -> bool | None:
        """Return True if the interval contains the truth, None if there is no interval; count either."""
        if estimate is None or estimate.interval is None:
            self._missing[name] += 1
            return None
        interval = estimate.interval
        if interval.lower is not None and interval.upper is not None:
            self._widths[name].append(interval.upper - interval.lower)
        return self.count(name, interval.contains(truth))

    def count(self, name: str, held: bool) -> bool:
        self._is_covered[name].append(held)
        return held

    def coverages(self) -> dict[str, Coverage]:
        return {
            name: Coverage(
                rate=float(np.mean(held)),
                width=float(np.median(self._widths[name])) if self._widths[name] else float("nan"),
                missing=self._missing[name] / (len(held) + self._missing[name]),
            )
            for name, held in self._is_covered.items()
        }


def difference_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return coverages of the t interval and of the hierarchical bootstrap for a paired difference."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        tally.add("t", paired_difference(a, b).difference, difference)
        resampled = bootstrap_difference(a, b, generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("hierarchical bootstrap", resampled, difference)
    return tally.coverages()


def luck_study(*, luck: float, ratio: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return coverages of the t interval for the mean difference of two families over many searches.

    `luck` is the standard deviation, in points, between the configurations that searches of one family find. With one
    search, all draws share a configuration. With repeats, each draw has the configuration of its own search.
    """
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=2.0, ratio=ratio, generator=generator)
        for name, num_searches in (("one search", 1), ("repeats", len(a))):
            found = luck * generator.standard_normal((2, num_searches, 1))
            tally.add(name, paired_difference(a + found[0], b + found[1]).difference, 2.0)
    return tally.coverages()


class Errors(NamedTuple):
    """Rates of false positives: shares of repetitions in which a test rejects in some cell without a difference."""

    holm: float
    uncorrected: float
    power: float
    """Share of cells with a difference in which the test with Holm's correction rejects; NaN without such cells."""


def holm_study(*, differences: Floats, ratio: float, is_shared: bool, repetitions: int, seed: int = 0) -> Errors:
    """Return error rates over cells with these differences.

    With `is_shared`, the effect of a draw is equal in all cells, as it may be for nested subsets.
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
    """Advice on draws from known variances."""

    advised: int
    needed: int
    """Smallest number of draws with a simulated power of at least 0.8."""
    power: float
    """Simulated power with the advised number of draws."""


def known_variances_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> KnownVariances:
    """Return the advised and the needed number of draws of 2 seeds for a power of 0.8."""
    components = VarianceComponents(draw_mean_variance=ratio + 0.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)
    advised = draws_needed(components, difference=difference, num_seeds=2)
    assert advised is not None
    powers = simulated_powers(ratio, difference, 2 * advised, repetitions, np.random.default_rng(seed))
    return KnownVariances(advised=advised, needed=int(np.argmax(powers >= 0.8)) + 1, power=float(powers[advised - 1]))


def simulated_powers(
    ratio: float, difference: float, num_draws: int, repetitions: int, generator: np.random.Generator
) -> Floats:
    """Return the power of a t test over 1, 2, ... draws of 2 seeds, simulated with NumPy alone."""
    numbers = np.arange(1, num_draws + 1)
    draws = np.sqrt(ratio) * generator.standard_normal((repetitions, num_draws))
    means = difference + draws + np.sqrt(0.5) * generator.standard_normal((repetitions, num_draws))
    sums, squares = np.cumsum(means, axis=1), np.cumsum(means**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = (squares - sums**2 / numbers) / (numbers - 1)
        found = np.abs(sums / numbers) > special.stdtrit(numbers - 1, 0.975) * np.sqrt(variances / numbers)
    return found.mean(axis=0)


class EstimatedVariances(NamedTuple):
    """Advice on draws from variances estimated with 5 draws x 2 seeds, over many searches."""

    needed: int
    """Needed number of draws, from the true variances."""
    quartiles: tuple[float, float, float]
    """Quartiles of the ratio of advised to needed draws."""
    held: float
    """Share of the advised ranges that contain the needed number."""
    power: float
    """Mean power with the advised number of draws."""


def estimated_variances_study(
    *, ratio: float, difference: float, repetitions: int, seed: int = 0
) -> EstimatedVariances:
    generator = np.random.default_rng(seed)
    truth = VarianceComponents(draw_mean_variance=ratio + 0.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)
    needed = draws_needed(truth, difference=difference, num_seeds=2)
    assert needed is not None
    totals, held, powers = [], [], []
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        advice = analyze_power(a, b, difference=difference)
        assert advice.additional_draws is not None
        low, high = advice.additional_draws_interval
        assert low is not None
        total = 5 + advice.additional_draws
        totals.append(total / needed)
        held.append(low <= max(0, needed - 5) and (high is None or needed - 5 <= high))
        powers.append(achieved_power(truth, difference=difference, num_draws=total, num_seeds=2))
    first, second, third = np.quantile(totals, [0.25, 0.5, 0.75]).tolist()
    return EstimatedVariances(needed, (first, second, third), float(np.mean(held)), float(np.mean(powers)))


def improvement_study(*, ratio: float, probability: float, repetitions: int, seed: int = 0) -> Coverage:
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
    """Quality of the best-of-k estimate for skewed values, such as accuracies of random configurations."""

    bias: float
    """Mean error of the estimates, in standard errors of this mean."""
    bias_with_replacement: float
    """Mean error of the estimates with replacement, in the same unit."""
    coverage: Coverage


def best_of_k_study(*, num_trials: int, k: int, repetitions: int, seed: int = 0) -> BestOfKStudy:
    generator, tally = np.random.default_rng(seed), Tally()
    truth = _mean_best(k)
    estimates, replaced = [], []
    positions = np.arange(num_trials + 1) / num_trials
    for _ in range(repetitions):
        values = generator.beta(8, 2, size=num_trials)
        (best,) = expected_best(values, ks=[k], generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("", best.expected, truth)
        estimates.append(best.expected.value)
        replaced.append(float(np.sort(values) @ np.diff(positions**k)))
    biases = [(np.mean(found) - truth) / (np.std(found) / np.sqrt(repetitions)) for found in (estimates, replaced)]
    return BestOfKStudy(float(biases[0]), float(biases[1]), tally.coverages()[""])


def _mean_best(k: int) -> float:
    """Return the expected maximum of k Beta(8, 2) values: the integral of 1 - F^k."""
    grid = np.linspace(0, 1, 100_001)
    return float(np.trapezoid(1 - special.betainc(8, 2, grid) ** k, grid))


def fit_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return coverages of each parameter, of all three at once, and of the band at, between and beyond the sizes."""
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
        held = [tally.add(name, getattr(found, name), getattr(law, name)) for name in law._fields]
        tally.count("all three", all(held))
        lower, upper = found.band(images)
        inside = (lower <= law.errors(images)) & (law.errors(images) <= upper)
        for place in range(len(SIZES)):
            tally.count("band at a size", bool(inside[place]))
        tally.count("band between", bool(inside[-3]))
        tally.count("band between", bool(inside[-2]))
        tally.count("band at 4 n", bool(inside[-1]))
        tally.count("band at all sizes", bool(inside[: len(SIZES)].all()))
        tally.count("misfit below 0.05", found.misfit_p < 0.05)
    return tally.coverages()


def exponents_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> Coverage:
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
    """Return the coverage of the data efficiency for two curves, the second of which needs `shift` times the images."""
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
    found: float
    """Share of repetitions that find a crossover in the right direction."""
    coverage: Coverage
    """Coverage of the interval of the crossover, where it was found in the right direction."""
    share: float
    """Mean share of bootstrap samples with a crossover."""


def crossover_study(
    *, ratio: float, noise: float, repetitions: int, method: CurveMethod = "interpolated", seed: int = 0
) -> CrossoverStudy:
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
