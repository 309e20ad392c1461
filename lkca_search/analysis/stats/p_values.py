"""p-values of the t test over draws, and Holm's correction for multiple tests, which scipy does not have."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import has_spread, standard_error


def two_sided_p(values: Floats, *, tolerance: float = 0.0) -> float | None:
    """Return the two-sided p-value of the t test that the true mean is 0; None for a single value.

    Values without spread have no t statistic. p is then 1 if they are all 0, else that of the sign-flip test, 2 / 2^n:
    the smallest p that n values of one sign can reach.
    """
    if len(values) < 2:
        return None
    mean = float(values.mean())
    if not has_spread(values, tolerance=tolerance):
        return 1.0 if abs(mean) <= tolerance else 2.0 ** (1 - len(values))
    return float(2 * special.stdtr(len(values) - 1, -abs(mean) / standard_error(values)))


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
