"""What a design can detect, and how many more draws or seeds would resolve a difference.

All of it is of the two-sided paired t test over draws, with its power from the noncentral t distribution (Cohen 1988,
Statistical Power Analysis for the Behavioral Sciences, chapter 2). Differences are in the scores' units. `power` is the
probability of finding a true difference of that size, 0.8 by custom; `level` is that of the confidence interval that is
to exclude 0, so a test at 5% is a level of 0.95. For several cells ask at 1 - 0.05 / cells: no correction costs more.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, check_level
from lkca_search.analysis.stats.student import t_quantile
from lkca_search.analysis.stats.variance import VarianceComponents, variance_components
from lkca_search.spec.base import FrozenModel

DEFAULT_POWER = 0.8
MAX_REPLICATES = 10_000
"""Most draws or seeds that are advised."""


class PowerAnalysis(FrozenModel):
    """How many more draws, or else more seeds, would resolve a difference, from the replicates at hand."""

    difference: float
    level: float
    power: float
    num_draws: int
    num_seeds: int
    """Of each draw, as it is."""
    detectable_difference: float
    """Minimum detectable difference of the design as it is."""
    additional_draws: int | None
    """With as many seeds each; 0 if there are enough; None if 10,000 are not enough."""
    additional_draws_interval: tuple[int | None, int | None]
    """The same at both ends of the chi-square interval of the variance: wide for few draws."""
    additional_seeds: int | None
    """Of each draw, with as many draws; None if no number is enough, or if one seed a draw does not show it."""


def achieved_power(
    components: VarianceComponents,
    *,
    difference: float,
    num_draws: int,
    num_seeds: int,
    level: float = CONFIDENCE_LEVEL,
) -> float:
    """Probability that a design finds a true difference; 0 for a single draw, which tests nothing."""
    check_level(level)
    return _power(difference, components.variance_of_mean(num_draws=num_draws, num_seeds=num_seeds), num_draws, level)


def minimum_detectable_difference(
    components: VarianceComponents,
    *,
    num_draws: int,
    num_seeds: int,
    level: float = CONFIDENCE_LEVEL,
    power: float = DEFAULT_POWER,
) -> float:
    """The smallest true difference that a design finds with the given power. ValueError for a single draw."""
    _check(level, power)
    if num_draws < 2:
        raise ValueError(f"a test over draws needs at least 2, got {num_draws}")
    variance = components.variance_of_mean(num_draws=num_draws, num_seeds=num_seeds)
    return math.sqrt(variance) * _noncentrality(num_draws, level, power)


def draws_needed(
    components: VarianceComponents,
    *,
    difference: float,
    num_seeds: int,
    level: float = CONFIDENCE_LEVEL,
    power: float = DEFAULT_POWER,
) -> int | None:
    """The fewest draws, at least 2, that find a true difference with the given power; None if 10,000 do not."""
    _check(level, power)
    if difference == 0:
        raise ValueError("no number of draws resolves a difference of 0")

    def is_enough(num_draws: int) -> bool:
        variance = components.variance_of_mean(num_draws=num_draws, num_seeds=num_seeds)
        return _power(difference, variance, num_draws, level) >= power

    if not is_enough(MAX_REPLICATES):
        return None
    few, enough = 1, MAX_REPLICATES
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if is_enough(middle) else (middle, enough)
    return enough


def seeds_needed(
    components: VarianceComponents,
    *,
    difference: float,
    num_draws: int,
    level: float = CONFIDENCE_LEVEL,
    power: float = DEFAULT_POWER,
) -> int | None:
    """The fewest seeds a draw that find a true difference with the given power; None if no number does.

    More seeds only bring the variance down to that of the draws: then more draws are needed. ValueError for a single
    draw, and where the seeds' variance is not known.
    """
    _check(level, power)
    if components.seed_variance is None:
        raise ValueError("one seed a draw does not show what more seeds would change")
    if num_draws < 2:
        raise ValueError(f"a test over draws needs at least 2, got {num_draws}")
    wanted = (abs(difference) / _noncentrality(num_draws, level, power)) ** 2  # variance of the mean
    left = num_draws * wanted - components.draw_variance
    if components.seed_variance == 0:
        return 1 if left >= 0 else None
    if left <= 0 or components.seed_variance / left > MAX_REPLICATES:
        return None
    return max(1, math.ceil(components.seed_variance / left - 1e-9))


def analyze_power(
    a: ArrayLike, b: ArrayLike, *, difference: float, level: float = CONFIDENCE_LEVEL, power: float = DEFAULT_POWER
) -> PowerAnalysis:
    """Advice from the scores of two families, (draws, seeds), NaN where one is missing.

    The variance is known as badly as draws are few: at 5 draws the number of draws needed is known within a factor of
    20 or so, hence the range, which holds it as often as `level` says. The advice itself is as likely too high as too
    low: the variance between draws' means is mostly too low for few of them (chi-square of 4 degrees of freedom has its
    median at 84% of its mean) and is scaled until it is so half of the time. Searches that follow advice from 5 draws
    to the letter reach a power of about 0.75 on average, and 0.8 every other time (`benchmarks/known_truth.py`).
    Errors as `variance_components`, and ValueError for a difference of 0.
    """
    _check(level, power)
    components = variance_components(a, b)
    num_draws, num_seeds = components.num_draws, max(1, round(components.seeds_per_draw))
    wanted = {"difference": difference, "level": level, "power": power}
    low, middle, high = (
        components.scale_draw_mean_variance((num_draws - 1) / float(special.chdtri(num_draws - 1, tail)))
        for tail in ((1 - level) / 2, 0.5, (1 + level) / 2)
    )
    # As long as the number of seeds stays, what a draw's mean varies by need not be split.
    least, more, most = (
        None if number is None else max(0, number - num_draws)
        for number in (
            draws_needed(likely.without_seed_variance(), num_seeds=1, **wanted) for likely in (low, middle, high)
        )
    )
    seeds = None if middle.seed_variance is None else seeds_needed(middle, num_draws=num_draws, **wanted)
    detectable = minimum_detectable_difference(
        middle.without_seed_variance(), num_draws=num_draws, num_seeds=1, level=level, power=power
    )
    return PowerAnalysis(
        **wanted,
        num_draws=num_draws,
        num_seeds=num_seeds,
        detectable_difference=detectable,
        additional_draws=more,
        additional_draws_interval=(least, most),
        additional_seeds=None if seeds is None else max(0, seeds - num_seeds),
    )


def _check(level: float, power: float) -> None:
    check_level(level)
    check_level(power)
    if power <= 1 - level:
        raise ValueError(f"power must be above {1 - level:.4g}, which no difference at all reaches, got {power}")


def _power(difference: float, variance: float, num_draws: int, level: float) -> float:
    """Of the two-sided t test of a mean with this variance."""
    if num_draws < 2:
        return 0.0
    if variance == 0:
        return 1.0 if difference else 1 - level
    return _power_at(abs(difference) / math.sqrt(variance), num_draws, level)


def _power_at(noncentrality: float, num_draws: int, level: float) -> float:
    freedom, limit = num_draws - 1, t_quantile(num_draws, level)
    above, below = (special.nctdtr(freedom, noncentrality, end) for end in (limit, -limit))
    # Where it underflows scipy's nctdtr is NaN at places.
    return 1 - float(np.nan_to_num(above)) + float(np.nan_to_num(below))


def _noncentrality(num_draws: int, level: float, power: float) -> float:
    """The true difference, in standard errors, that is found with the given power."""
    most = 2.0
    while _power_at(most, num_draws, level) < power:
        most *= 2

    def excess(noncentrality: float) -> float:
        return _power_at(noncentrality, num_draws, level) - power

    return float(optimize.brentq(excess, 0.0, most))
