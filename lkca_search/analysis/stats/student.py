"""The mean of independent numbers and Student's t interval: exact for normal numbers, however few."""

import math

import numpy as np
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats

SINGLE_DRAW = "a single draw has no spread to make an interval of"
NO_SPREAD = "every draw gives the same value, so there is no spread to make an interval of"


def t_quantile(num_draws: int, level: float) -> float:
    """The factor of the standard error in a two-sided t interval: 2.776 for 5 draws at 0.95."""
    return float(special.stdtrit(num_draws - 1, (1 + level) / 2))


def standard_error(values: Floats) -> float:
    """Of the mean of independent values, (n,) with n >= 2."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def has_spread(values: Floats, *, tolerance: float) -> bool:
    """Whether values differ by more than rounding makes them differ."""
    return float(np.ptp(values)) > tolerance


def student_mean(values: Floats, *, level: float = CONFIDENCE_LEVEL, tolerance: float = 0.0) -> Estimate:
    """The mean of independent values, (n,), with its t interval of n - 1 degrees of freedom.

    There is no interval for one value, nor for values that are all the same up to `tolerance`.
    """
    check_level(level)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    if not has_spread(values, tolerance=tolerance):
        return Estimate(value=mean, reason=NO_SPREAD)
    half = t_quantile(len(values), level) * standard_error(values)
    return Estimate(value=mean, interval=Interval(lower=mean - half, upper=mean + half, level=level))


def two_sided_p(values: Floats, *, tolerance: float = 0.0) -> float | None:
    """Probability of a mean as far from 0 as this one, were the true mean 0: by t, n - 1 degrees of freedom.

    None for a single value. Values without spread have no t: p is 1 where they are 0, and otherwise that of the
    sign-flip test, 2 / 2^n, which is the best that n values of one sign can do without a spread to go by.
    """
    if len(values) < 2:
        return None
    mean = float(values.mean())
    if not has_spread(values, tolerance=tolerance):
        return 1.0 if abs(mean) <= tolerance else 2.0 ** (1 - len(values))
    return float(2 * special.stdtr(len(values) - 1, -abs(mean) / standard_error(values)))
