"""How often intervals hold a known truth, errors are kept and advice is right: simulated many times over.

Each study is seeded, so that it gives the same rates again. `benchmarks/known_truth.py` prints them all.
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
"""Variance between draws, as a multiple of that between seeds."""
NUM_RESAMPLES = 400


class Coverage(NamedTuple):
    """Of intervals meant to hold the truth in 95%."""

    rate: float
    """Share that did."""
    width: float
    """Median, of those that are closed."""
    missing: float = 0.0
    """Share of repetitions in which the statistic was refused, or had no interval; they are not in the rate."""


class Tally:
    """Counts of what intervals held."""

    def __init__(self) -> None:
        self._held: dict[str, list[bool]] = defaultdict(list)
        self._widths: dict[str, list[float]] = defaultdict(list)
        self._missing: dict[str, int] = defaultdict(int)

    def add(self, name: str, estimate: Estimate | None, truth: float) -> bool | None:
        """Whether the interval holds the truth; None, and counted as missing, if there is none."""
        if estimate is None or estimate.interval is None:
            self._missing[name] += 1
            return None
        interval = estimate.interval
        if interval.lower is not None and interval.upper is not None:
            self._widths[name].append(interval.upper - interval.lower)
        return self.count(name, interval.contains(truth))

    def count(self, name: str, held: bool) -> bool:
        self._held[name].append(held)
        return held

    def coverages(self) -> dict[str, Coverage]:
        return {
            name: Coverage(
                rate=float(np.mean(held)),
                width=float(np.median(self._widths[name])) if self._widths[name] else float("nan"),
                missing=self._missing[name] / (len(held) + self._missing[name]),
            )
            for name, held in self._held.items()
        }


def difference_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """The t interval and the hierarchical bootstrap of a paired difference."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=difference, ratio=ratio, generator=generator)
        tally.add("t", paired_difference(a, b).difference, difference)
        resampled = bootstrap_difference(a, b, generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("hierarchical bootstrap", resampled, difference)
    return tally.coverages()


def luck_study(*, luck: float, ratio: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """The t interval of the difference that two families have in the mean over searches, which vary by `luck`.

    The standard deviation, in points, of what the configurations are worth that searches of one family find: once, the
    same configuration is trained on every draw; repeated, each draw has that of a search of its own.
    """
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b = simulate_scores(difference=2.0, ratio=ratio, generator=generator)
        for name, num_searches in (("one search", 1), ("repeats", len(a))):
            found = luck * generator.standard_normal((2, num_searches, 1))
            tally.add(name, paired_difference(a + found[0], b + found[1]).difference, 2.0)
    return tally.coverages()


class Errors(NamedTuple):
    """Shares of repetitions in which some cell without a difference was said to have one."""

    holm: float
    uncorrected: float
    power: float
    """Share of the cells with a difference in which Holm's correction finds it; NaN if there are none."""


def holm_study(*, differences: Floats, ratio: float, is_shared: bool, repetitions: int, seed: int = 0) -> Errors:
    """Cells with these differences; where `is_shared`, a draw moves all of them by as much, as nested subsets may."""
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
    """Advice from variances that are known."""

    advised: int
    needed: int
    """The fewest draws whose simulated power is at least 0.8."""
    power: float
    """Simulated, with as many draws as advised."""


def known_variances_study(*, ratio: float, difference: float, repetitions: int, seed: int = 0) -> KnownVariances:
    """Draws of 2 seeds that find a difference with a power of 0.8, advised and by trying every number of them."""
    components = VarianceComponents(draw_mean_variance=ratio + 0.5, seed_variance=1.0, num_draws=5, seeds_per_draw=2.0)
    advised = draws_needed(components, difference=difference, num_seeds=2)
    assert advised is not None
    powers = simulated_powers(ratio, difference, 2 * advised, repetitions, np.random.default_rng(seed))
    return KnownVariances(advised=advised, needed=int(np.argmax(powers >= 0.8)) + 1, power=float(powers[advised - 1]))


def simulated_powers(
    ratio: float, difference: float, num_draws: int, repetitions: int, generator: np.random.Generator
) -> Floats:
    """Share of searches whose t test over 1, 2, ... draws of 2 seeds finds the difference, by numpy alone."""
    numbers = np.arange(1, num_draws + 1)
    draws = np.sqrt(ratio) * generator.standard_normal((repetitions, num_draws))
    means = difference + draws + np.sqrt(0.5) * generator.standard_normal((repetitions, num_draws))
    sums, squares = np.cumsum(means, axis=1), np.cumsum(means**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = (squares - sums**2 / numbers) / (numbers - 1)
        found = np.abs(sums / numbers) > special.stdtrit(numbers - 1, 0.975) * np.sqrt(variances / numbers)
    return found.mean(axis=0)


class EstimatedVariances(NamedTuple):
    """Advice from the variances that 5 draws x 2 seeds show, over many searches."""

    needed: int
    """From the true variances."""
    quartiles: tuple[float, float, float]
    """Of the number of draws advised, as a multiple of the number needed."""
    held: float
    """Share of the ranges that hold the number needed."""
    power: float
    """Mean power of following the advice to the letter."""


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
    """Of one family, whose scores have variance 4 + ratio / 2 between draws and 1 / 2 between seeds."""
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, _ = simulate_scores(difference=0.0, ratio=ratio, generator=generator)
        tally.add("", interquartile_mean(a, generator=generator, num_resamples=NUM_RESAMPLES), 70.0)
    return tally.coverages()[""]


class BestOfKStudy(NamedTuple):
    """Of skewed values, as validation accuracies of random configurations are."""

    bias: float
    """Mean of the estimates minus the truth, in standard errors of that mean."""
    bias_with_replacement: float
    """The same for the estimate with replacement."""
    coverage: Coverage


def best_of_k_study(*, num_trials: int, k: int, repetitions: int, seed: int = 0) -> BestOfKStudy:
    generator, tally = np.random.default_rng(seed), Tally()
    truth = _mean_best(k)
    estimates, replaced = [], []
    places = np.arange(num_trials + 1) / num_trials
    for _ in range(repetitions):
        values = generator.beta(8, 2, size=num_trials)
        (best,) = expected_best(values, ks=[k], generator=generator, num_resamples=NUM_RESAMPLES)
        tally.add("", best.expected, truth)
        estimates.append(best.expected.value)
        replaced.append(float(np.sort(values) @ np.diff(places**k)))
    biases = [(np.mean(found) - truth) / (np.std(found) / np.sqrt(repetitions)) for found in (estimates, replaced)]
    return BestOfKStudy(float(biases[0]), float(biases[1]), tally.coverages()[""])


def _mean_best(k: int) -> float:
    """Of the largest of k Beta(8, 2) values: the integral of 1 - F^k."""
    grid = np.linspace(0, 1, 100_001)
    return float(np.trapezoid(1 - special.betainc(8, 2, grid) ** k, grid))


def fit_study(*, ratio: float, noise: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Each parameter, all three at once, the band at each size, between two of them and at 4 times the largest."""
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
    """Two curves, the second of a family that needs `shift` times the images."""
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
    """Share of the repetitions that find a crossover in the right direction."""
    coverage: Coverage
    """Of n*, where one was found in that direction."""
    share: float
    """Mean share of bootstrap samples that has one."""


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
