"""Mean of percentages with an interval for skewed values that stays between 0 and 100.

Accuracies near their bound are skewed, and so are those of trainings that fail now and then. Student's t interval then
covers only 82-90% at 5 draws, and it may leave the scale. The interval here is that of the mean on the scale of
log odds, by the delta method. Each end is the further one of two: of Student's t, and from 5 draws on of the
bootstrap-t (Davison & Hinkley 1997, section 5.2.2), which follows the skewness but is too narrow for unequal variances.
No end is further than twice Student's t. `benchmarks/known_truth.py` shows both.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import (
    NO_SPREAD,
    SINGLE_DRAW,
    has_spread,
    normal_quantile,
    standard_error,
    t_quantile,
)

PERCENT = 100.0
MIN_RESAMPLED = 5
"""Fewest values for the bootstrap-t; with fewer, too many resamples have no spread."""
MAX_ENUMERATED = 7
"""Most values of which all resamples are enumerated."""
MIN_RELATIVE_SPREAD = 1e-6
"""Standard error of a resample, as a share of the range, from which it counts as spread and not as rounding."""
MAX_RATIO = 2.0
"""Longest end, as a multiple of Student's t.

If three of five values are nearly equal, the bootstrap-t has an end of any length; if they are equal, an infinite one.
"""
NUM_RANDOM_RESAMPLES = 4000
RESAMPLE_SEED = 21


def mean_percentage(values: Floats, *, level: float = CONFIDENCE_LEVEL, sampling_variance: float = 0.0) -> Estimate:
    """Return the mean of independent percentages, (n,), with an interval within 0 and 100.

    `sampling_variance` is the variance of the mean that all values share, from the sampling of test images; its half
    width is added in quadrature. There is no interval for a single value, nor for equal values.
    """
    return _mean(values, _quantiles, level, sampling_variance)


def student_percentage(values: Floats, *, level: float = CONFIDENCE_LEVEL, sampling_variance: float = 0.0) -> Estimate:
    """Return the same mean with an interval by Student's t alone, on the scale of log odds.

    It is for shares of few images, whose values are often nearly equal: resamples of them have almost no spread, so the
    bootstrap-t has very long intervals. The sampling of images dominates there, and it is nearly normal.
    """
    return _mean(values, _student_quantiles, level, sampling_variance)


def _mean(
    values: Floats,
    quantiles: Callable[[Floats, float], tuple[float, float]],
    level: float,
    sampling_variance: float,
) -> Estimate:
    """Return the mean with its interval; `quantiles` are the distances of its ends in standard errors."""
    check_level(level)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    if not has_spread(values, tolerance=RELATIVE_TOLERANCE * PERCENT):
        return Estimate(value=mean, reason=NO_SPREAD)
    below, above = quantiles(values, level)
    slope = PERCENT / (mean * (PERCENT - mean))
    error, sampling = slope * standard_error(values), slope * normal_quantile(level) * math.sqrt(sampling_variance)
    center = math.log(mean / (PERCENT - mean))
    lower, upper = center - math.hypot(below * error, sampling), center + math.hypot(above * error, sampling)
    interval = Interval(
        lower=PERCENT * float(special.expit(lower)), upper=PERCENT * float(special.expit(upper)), level=level
    )
    return Estimate(value=mean, interval=interval)


def _student_quantiles(values: Floats, level: float) -> tuple[float, float]:
    student = t_quantile(len(values), level)
    return student, student


def _quantiles(values: Floats, level: float) -> tuple[float, float]:
    """Return the distances of the lower and the upper end from the mean, in standard errors."""
    student = t_quantile(len(values), level)
    if len(values) < MIN_RESAMPLED:
        return student, student
    counts, probabilities = _resamples(len(values))
    centered = values - values.mean()
    shifts = counts @ centered / len(values)
    errors = np.sqrt(np.maximum(counts @ centered**2 / len(values) - shifts**2, 0.0) / (len(values) - 1))
    errors[errors <= MIN_RELATIVE_SPREAD * np.abs(centered).max()] = 0.0
    studentized = _studentize(values.mean() + shifts, errors, float(values.mean()))
    high, low = (_quantile(side, probabilities, (1 + level) / 2) for side in (studentized, -studentized))
    below, above = (min(max(end, student), MAX_RATIO * student) for end in (high, low))
    return below, above


def _quantile(values: Floats, probabilities: Floats, level: float) -> float:
    """Return the smallest value whose cumulated probability is at least `level`."""
    order = np.argsort(values)
    index = np.searchsorted(np.cumsum(probabilities[order]), level)
    return float(values[order[min(int(index), len(order) - 1)]])


def _studentize(means: Floats, errors: Floats, mean: float) -> Floats:
    """Return (log odds of each resampled mean - log odds of the mean) / standard error; infinite without spread."""
    inside = np.clip(means, RELATIVE_TOLERANCE * PERCENT, PERCENT * (1 - RELATIVE_TOLERANCE))
    shifts = np.log(inside / (PERCENT - inside)) - math.log(mean / (PERCENT - mean))
    slopes = PERCENT / (inside * (PERCENT - inside))
    infinite = np.where(shifts == 0, 0.0, np.copysign(np.inf, shifts))
    studentized: Floats = np.divide(shifts, slopes * errors, where=errors > 0, out=infinite)
    return studentized


@lru_cache(maxsize=32)
def _resamples(num_values: int) -> tuple[Floats, Floats]:
    """Return how often each value is in each resample, (resamples, values), and the probabilities of the resamples."""
    if num_values > MAX_ENUMERATED:
        generator = np.random.default_rng(RESAMPLE_SEED)
        shares = np.full(num_values, 1 / num_values)
        counts = generator.multinomial(num_values, shares, size=NUM_RANDOM_RESAMPLES)
        return counts.astype(np.float64), np.full(NUM_RANDOM_RESAMPLES, 1 / NUM_RANDOM_RESAMPLES)
    chosen = np.array(list(combinations_with_replacement(range(num_values), num_values)))
    counts = (chosen[:, :, None] == np.arange(num_values)).sum(axis=1).astype(np.float64)
    logs = special.gammaln(num_values + 1) - special.gammaln(counts + 1).sum(axis=1) - num_values * np.log(num_values)
    return counts, np.exp(logs)
