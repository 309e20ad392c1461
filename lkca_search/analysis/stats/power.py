"""Power analysis of the two-sided paired t test over draws: detectable difference, draws and seeds needed.

The power comes from the noncentral t distribution (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences,
chapter 2). Differences are in the unit of the scores. `power` is the probability to find a true difference, 0.8 by
default. `level` is the confidence level of the interval that must exclude 0: a test at 5% has the level 0.95. For
several cells, use the level 1 - 0.05 / cells, which corresponds to the first and strictest step of Holm's correction.
"""

import bisect
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, NotEstimable, check_level
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.analysis.stats.student import NO_SPREAD, normal_quantile, t_quantile
from lkca_search.analysis.stats.variance import VarianceComponents, variance_components
from lkca_search.spec.base import FrozenModel

DEFAULT_POWER = 0.8
MIN_DRAWS = 4
"""Fewest draws for a power analysis: the 95% interval of the standard deviation of 3 draws spans a factor of 12."""
MAX_DETECTABLE = 100.0
"""Detectable difference, in points, from which nothing is known: no two accuracies differ by more."""
MAX_REPLICATES = 10_000
"""Largest number of draws or seeds that is considered."""


class PowerAnalysis(FrozenModel):
    """Additional draws, or additional seeds, that a design needs to detect a difference."""

    difference: float
    """Difference to detect, in the unit of the scores."""
    level: float
    power: float
    num_draws: int
    """Draws of the present design."""
    num_seeds: int
    """Seeds per draw of the present design, rounded."""
    detectable_difference: float
    """Minimum detectable difference of the present design."""
    additional_draws: int | None
    """Draws to add with the same seeds per draw; 0 if the design is sufficient; None if 10,000 are not enough."""
    additional_draws_interval: tuple[int | None, int | None]
    """Draws to add at both ends of the chi-square interval of the variance, which is wide for few draws."""
    additional_seeds: int | None
    """Seeds per draw to add with the same draws; None if no number is enough, or for one seed per draw."""


def achieved_power(
    components: VarianceComponents,
    *,
    difference: float,
    num_draws: int,
    num_seeds: int,
    level: float = CONFIDENCE_LEVEL,
) -> float:
    """Return the probability that a design finds a true difference; 0 for a single draw, which allows no test."""
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
    """Return the smallest true difference that a design finds with the given power; raise ValueError for one draw."""
    _check(level, power)
    if num_draws < 2:
        raise ValueError(f"num_draws must be at least 2 for a test over draws, got {num_draws}")
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
    """Return the fewest draws, at least 2, that find a difference with the given power; None if 10,000 do not."""
    _check(level, power)
    if difference == 0:
        raise ValueError("difference must not be 0: no number of draws can detect it")

    def is_enough(num_draws: int) -> bool:
        variance = components.variance_of_mean(num_draws=num_draws, num_seeds=num_seeds)
        return _power(difference, variance, num_draws, level) >= power

    numbers = range(2, MAX_REPLICATES + 1)
    index = bisect.bisect_left(numbers, True, key=is_enough)
    return numbers[index] if index < len(numbers) else None


def seeds_needed(
    components: VarianceComponents,
    *,
    difference: float,
    num_draws: int,
    level: float = CONFIDENCE_LEVEL,
    power: float = DEFAULT_POWER,
) -> int | None:
    """Return the fewest seeds per draw that find a difference with the given power; None if no number does.

    More seeds reduce the variance only down to that of the draws.

    Raises:
        ValueError: There is a single draw, or the variance between seeds is unknown.
    """
    _check(level, power)
    if components.seed_variance is None:
        raise ValueError("one seed per draw does not show the effect of more seeds")
    if num_draws < 2:
        raise ValueError(f"num_draws must be at least 2 for a test over draws, got {num_draws}")
    target = (abs(difference) / _noncentrality(num_draws, level, power)) ** 2  # variance of the mean
    left = num_draws * target - components.draw_variance
    if components.seed_variance == 0:
        return 1 if left >= 0 else None
    if left <= 0 or components.seed_variance / left > MAX_REPLICATES:
        return None
    return max(1, math.ceil(components.seed_variance / left - 1e-9))


def analyze_power(
    a: ArrayLike,
    b: ArrayLike,
    *,
    difference: float,
    level: float = CONFIDENCE_LEVEL,
    power: float = DEFAULT_POWER,
    sampling_variance: float = 0.0,
) -> PowerAnalysis:
    """Return the power analysis of scores of two families, (draws, seeds); NaN marks a missing replicate.

    The variance is uncertain for few draws: at 5 draws the draws needed are uncertain by a factor of about 20. The
    reported interval contains the true number as often as `level` states. The estimate itself is median-unbiased: the
    variance between draw means is corrected by the median of its chi-square distribution. Searches that follow the
    estimate from 5 draws reach a mean power of about 0.75, and at least 0.8 in half of the cases
    (`benchmarks/known_truth.py`). `sampling_variance` is the variance of the difference from the sampling of test
    images, which no number of draws or seeds reduces.

    Raises:
        ValueError: The difference is 0, or as for `variance_components`.
        NotEstimable: There are fewer than 4 draws, the draws have no spread, the detectable difference exceeds 100
            points, or as for `variance_components`.
    """
    _check(level, power)
    components = variance_components(a, b)
    num_draws, num_seeds = components.num_draws, max(1, round(components.seeds_per_draw))
    _check_spread(components)
    sampling = (normal_quantile(level) + float(special.ndtri(power))) * math.sqrt(sampling_variance)
    # The half widths are added in quadrature, so the part of the sampling is subtracted in quadrature.
    target = {"difference": math.sqrt(max(0.0, difference**2 - sampling**2)), "level": level, "power": power}
    is_within_reach = target["difference"] > 0 or difference == 0
    low, middle, high = (
        components.scale_draw_mean_variance((num_draws - 1) / float(special.chdtri(num_draws - 1, tail)))
        for tail in ((1 - level) / 2, 0.5, (1 + level) / 2)
    )
    fewest, estimate, most = (
        _additional_draws(likely, num_draws, target) if is_within_reach else None for likely in (low, middle, high)
    )
    has_seeds = middle.seed_variance is not None and is_within_reach
    seeds = seeds_needed(middle, num_draws=num_draws, **target) if has_seeds else None
    detectable = math.hypot(
        minimum_detectable_difference(
            middle.without_seed_variance(), num_draws=num_draws, num_seeds=1, level=level, power=power
        ),
        sampling,
    )
    if detectable > MAX_DETECTABLE:
        raise NotEstimable(f"the design detects only differences above {MAX_DETECTABLE:g} points")
    return PowerAnalysis(
        difference=difference,
        level=level,
        power=power,
        num_draws=num_draws,
        num_seeds=num_seeds,
        detectable_difference=detectable,
        additional_draws=estimate,
        additional_draws_interval=(fewest, most),
        additional_seeds=None if seeds is None else max(0, seeds - num_seeds),
    )


def _check_spread(components: VarianceComponents) -> None:
    """Raise NotEstimable if the spread between draws is not known well enough."""
    if components.num_draws < MIN_DRAWS:
        number = components.num_draws
        raise NotEstimable(f"the spread between draws must be known from {MIN_DRAWS} draws, there are {number}")
    if components.draw_mean_variance <= RELATIVE_TOLERANCE**2:
        raise NotEstimable(NO_SPREAD)


def _additional_draws(components: VarianceComponents, num_draws: int, target: Mapping[str, float]) -> int | None:
    """Return the draws to add; with a constant number of seeds, variances need not be split into components."""
    number = draws_needed(components.without_seed_variance(), num_seeds=1, **target)
    return None if number is None else max(0, number - num_draws)


def _check(level: float, power: float) -> None:
    check_level(level)
    check_level(power)
    if power <= 1 - level:
        raise ValueError(f"power must be above {1 - level:.4g}, the power at a difference of 0, got {power}")


def _power(difference: float, variance: float, num_draws: int, level: float) -> float:
    """Return the power of the two-sided t test of a mean with this variance."""
    if num_draws < 2:
        return 0.0
    if variance == 0:
        return 1.0 if difference else 1 - level
    return _power_at(abs(difference) / math.sqrt(variance), num_draws, level)


def _power_at(noncentrality: float, num_draws: int, level: float) -> float:
    freedom, limit = num_draws - 1, t_quantile(num_draws, level)
    above, below = (special.nctdtr(freedom, noncentrality, end) for end in (limit, -limit))
    # scipy's nctdtr returns NaN for some arguments at which it underflows.
    return 1 - float(np.nan_to_num(above)) + float(np.nan_to_num(below))


def _noncentrality(num_draws: int, level: float, power: float) -> float:
    """Return the true difference, in standard errors, that is found with the given power."""
    upper = 2.0
    while _power_at(upper, num_draws, level) < power:
        upper *= 2

    def excess(noncentrality: float) -> float:
        return _power_at(noncentrality, num_draws, level) - power

    return float(optimize.brentq(excess, 0.0, upper))
