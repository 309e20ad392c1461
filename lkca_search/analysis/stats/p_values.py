"""p-values of the t test over draws, and Holm's correction for multiple tests, which scipy does not have."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import half_width, has_spread, standard_error

MIN_LOG_P = math.log(1e-15)
"""Logarithm of the smallest p of a test with a sampling variance."""


def two_sided_p(values: Floats, *, tolerance: float = 0.0, sampling_variance: float = 0.0) -> float | None:
    """Return the two-sided p-value of the t test that the true mean is 0; None for a single value.

    p is 1 minus the level at which the interval of `student_mean` just contains 0. Values without spread have no t
    statistic. p is then 1 if they are all 0, else at least that of the sign-flip test, 2 / 2^n: the smallest p that n
    values of one sign can reach.
    """
    if len(values) < 2:
        return None
    mean = abs(float(values.mean()))
    if not has_spread(values, tolerance=tolerance):
        flips = 2.0 ** (1 - len(values))
        return 1.0 if mean <= tolerance else max(flips, p_of_error(0.0, mean, len(values), sampling_variance))
    return p_of_error(standard_error(values), mean, len(values), sampling_variance)


def p_of_error(error: float, mean: float, num_draws: float, sampling_variance: float) -> float:
    """Return p of a mean of at least 0 with this standard error over draws, of `num_draws` - 1 degrees of freedom."""
    if sampling_variance == 0:
        return float(2 * special.stdtr(num_draws - 1, -mean / error)) if error else 0.0

    def excess(log_p: float) -> float:
        level = 1 - math.exp(log_p)
        return mean - half_width(error, num_draws=num_draws, level=level, sampling_variance=sampling_variance)

    return math.exp(MIN_LOG_P if excess(MIN_LOG_P) > 0 else float(optimize.brentq(excess, MIN_LOG_P, 0.0)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the adjusted p-values in the given order. None marks a comparison without a test and does not count.

    If all hypotheses with an adjusted p of at most 0.05 are rejected, the probability of any false rejection is at most
    0.05. No assumption on the dependence between the tests is needed (Holm 1979, A Simple Sequentially Rejective
    Multiple Test Procedure).

    Raises:
        ValueError: A p-value is not between 0 and 1.
    """
    tested = [index for index, p in enumerate(p_values) if p is not None]
    values = np.array([p_values[index] for index in tested], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"a p-value must be between 0 and 1, got {[p for p in values.tolist() if not 0 <= p <= 1]}")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    # The smallest p is multiplied by the number of tests, the next by one less; the results may not decrease.
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    result: list[float | None] = [None] * len(p_values)
    for index, p in zip(tested, adjusted.tolist(), strict=True):
        result[index] = p
    return result
