"""Agreement of two samples of accuracies: the same searches must find models of the same quality."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu


def describe_sample(accuracies: Sequence[float]) -> str:
    """Return lower quartile, median, upper quartile and maximum in percent."""
    low, median, high = np.percentile(accuracies, (25, 50, 75))
    return f"{100 * low:.1f} / {100 * median:.1f} / {100 * high:.1f} / {100 * max(accuracies):.1f}"


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the p-value of the Mann-Whitney test that both samples come from one distribution."""
    return float(mannwhitneyu(first, second, alternative="two-sided").pvalue)


def superiority(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability that a value of the first sample is above one of the second, ties counted half.

    It is 0.5 for equal distributions.
    """
    one, other = np.asarray(first)[:, None], np.asarray(second)
    return float(((one > other) + 0.5 * (one == other)).mean())
