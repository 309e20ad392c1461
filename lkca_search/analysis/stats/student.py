"""Mean of independent values with Student's t interval, and the difference of two such means with Welch's interval."""

import math

import numpy as np
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats

SINGLE_DRAW = "a single draw has no spread for an interval"
NO_SPREAD = "every draw gives the same value, so there is no spread for an interval"


def t_quantile(num_draws: float, level: float) -> float:
    """Return the factor of the standard error in a two-sided t interval: 2.776 for 5 draws at 0.95."""
    return float(special.stdtrit(num_draws - 1, (1 + level) / 2))


def normal_quantile(level: float) -> float:
    """Return the factor of the standard error in a two-sided normal interval: 1.960 at 0.95."""
    return float(special.ndtri((1 + level) / 2))


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean of independent values, (n,) with n >= 2."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def has_spread(values: Floats, *, tolerance: float) -> bool:
    """Return True if the range of the values exceeds `tolerance`, the allowance for rounding errors."""
    return float(np.ptp(values)) > tolerance


def half_width(error: float, *, num_draws: float, level: float, sampling_variance: float = 0.0) -> float:
    """Return the half width of the interval of a mean over draws with this standard error over draws.

    `sampling_variance` is the variance of the mean that all draws share, from the sampling of test images. It is known
    from thousands of images, so it has the normal quantile. Both half widths are added in quadrature: this is the t
    interval if there is no shared variance, and the normal interval if there is nothing else. Source: Howe 1974,
    Approximate Confidence Limits on the Mean of X + Y Where X and Y Are Two Tabled Independent Random Variables.
    """
    return math.hypot(t_quantile(num_draws, level) * error, normal_quantile(level) * math.sqrt(sampling_variance))


def student_mean(
    values: Floats, *, level: float = CONFIDENCE_LEVEL, tolerance: float = 0.0, sampling_variance: float = 0.0
) -> Estimate:
    """Return the mean of independent values, (n,), with its t interval of n - 1 degrees of freedom.

    The interval is wider if the values share a `sampling_variance`, as in `half_width`. There is no interval for a
    single value, nor for values that are equal up to `tolerance`.
    """
    check_level(level)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    if not has_spread(values, tolerance=tolerance):
        return Estimate(value=mean, reason=NO_SPREAD)
    half = half_width(standard_error(values), num_draws=len(values), level=level, sampling_variance=sampling_variance)
    return Estimate(value=mean, interval=Interval(lower=mean - half, upper=mean + half, level=level))


def welch_difference(
    a: Floats, b: Floats, *, level: float = CONFIDENCE_LEVEL, tolerance: float = 0.0
) -> tuple[Estimate, float | None]:
    """Return the mean of A minus the mean of B, and the two-sided p that it is 0; values are independent, (n,), (m,).

    Unequal variances are allowed: Welch's t with the degrees of freedom of Satterthwaite (Welch 1947). There is neither
    an interval nor a p for a single value, nor if each side has equal values up to `tolerance`.
    """
    check_level(level)
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Estimate(value=difference, reason=SINGLE_DRAW), None
    if not has_spread(a, tolerance=tolerance) and not has_spread(b, tolerance=tolerance):
        return Estimate(value=difference, reason=NO_SPREAD), None
    squares = [standard_error(values) ** 2 for values in (a, b)]
    error = math.sqrt(sum(squares))
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(values) - 1) for square, values in zip(squares, (a, b), strict=True)
    )
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    interval = Interval(lower=difference - half, upper=difference + half, level=level)
    return Estimate(value=difference, interval=interval), float(2 * special.stdtr(freedom, -abs(difference) / error))
