"""Mean of independent values with Student's t interval, which is exact for any number of normal values."""

import math

import numpy as np
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats

SINGLE_DRAW = "a single draw has no spread to make an interval of"
NO_SPREAD = "every draw gives the same value, so there is no spread to make an interval of"


def t_quantile(num_draws: int, level: float) -> float:
    """Return the factor of the standard error in a two-sided t interval: 2.776 for 5 draws at 0.95."""
    return float(special.stdtrit(num_draws - 1, (1 + level) / 2))


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean of independent values, (n,) with n >= 2."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def has_spread(values: Floats, *, tolerance: float) -> bool:
    """Return True if the range of the values exceeds `tolerance`, the allowance for rounding errors."""
    return float(np.ptp(values)) > tolerance


def student_mean(values: Floats, *, level: float = CONFIDENCE_LEVEL, tolerance: float = 0.0) -> Estimate:
    """Return the mean of independent values, (n,), with its t interval of n - 1 degrees of freedom.

    There is no interval for a single value, nor for values that are equal up to `tolerance`.
    """
    check_level(level)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    if not has_spread(values, tolerance=tolerance):
        return Estimate(value=mean, reason=NO_SPREAD)
    half = t_quantile(len(values), level) * standard_error(values)
    return Estimate(value=mean, interval=Interval(lower=mean - half, upper=mean + half, level=level))
