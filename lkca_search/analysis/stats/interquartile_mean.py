"""Interquartile mean of scores: the mean of the middle half of all replicates, robust against outliers.

`scipy.stats.trim_mean` does not handle missing values row by row, as resamples with unequal numbers of seeds need.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widened_interval
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, NotEstimable, check_level
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats, check_scores
from lkca_search.analysis.stats.student import NO_SPREAD, SINGLE_DRAW, normal_quantile

TRIMMED_SHARE = 0.25
"""Share of the values that is removed at each end."""


def interquartile_mean(
    scores: ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    sampling_variance: float = 0.0,
    bounds: tuple[float, float] = (0.0, PERCENT),
) -> Estimate:
    """Return the 25% trimmed mean of scores (draws, seeds) of one family, with a bootstrap interval over draws.

    The estimate is that of Agarwal et al. 2021 (section 4.3) and of rliable for a single task. The interval is that of
    `bootstrap`: seeds stay with their draw. It covers 95-97% at 5 draws x 2 seeds. NaN marks a missing replicate, and
    draws without a score are left out. `sampling_variance`, from the sampling of test images, widens the interval in
    quadrature. Its ends are within `bounds`, by default those of percentages.

    Raises:
        ValueError: As for `check_scores`.
        NotEstimable: There is no score.
    """
    check_level(level)
    array = check_scores(scores)
    array = array[np.isfinite(array).any(axis=1)]
    if not len(array):
        raise NotEstimable("there is no score for an interquartile mean")
    value = float(trimmed_mean(array.reshape(1, -1))[0])
    if len(array) < 2:
        return Estimate(value=value, reason=SINGLE_DRAW)
    draws = resample_draws(len(array), num_resamples=num_resamples, generator=generator)
    resamples = trimmed_mean(array[draws].reshape(num_resamples, -1))
    if np.ptp(resamples) <= RELATIVE_TOLERANCE * float(np.nanmax(np.abs(array))):
        return Estimate(value=value, reason=NO_SPREAD)
    interval = widened_interval(value, resamples, num_draws=len(array), level=level)
    assert interval.lower is not None
    assert interval.upper is not None
    sampling = normal_quantile(level) * math.sqrt(sampling_variance)
    lower = max(bounds[0], value - math.hypot(value - interval.lower, sampling))
    upper = min(bounds[1], value + math.hypot(interval.upper - value, sampling))
    return Estimate(value=value, interval=Interval(lower=lower, upper=upper, level=level))


def trimmed_mean(values: Floats) -> Floats:
    """Return the mean of each row of (rows, values) without NaN and without int(0.25 n) values at each end."""
    ordered = np.sort(values, axis=1)  # NaN sorts last
    counts = np.isfinite(ordered).sum(axis=1, keepdims=True)
    trimmed = (TRIMMED_SHARE * counts).astype(np.int64)
    ranks = np.arange(ordered.shape[1])
    kept = (ranks >= trimmed) & (ranks < counts - trimmed)
    means: Floats = np.where(kept, ordered, 0.0).sum(axis=1) / kept.sum(axis=1)
    return means
