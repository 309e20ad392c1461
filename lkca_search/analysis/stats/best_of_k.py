"""Expected best value of k trials, an estimate of the result of a shorter search."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import t_quantile
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Direction

TRIALS_PER_K = 4
"""Trials per k that an interval needs."""


class BestOfK(FrozenModel):
    """Expected best value of k trials."""

    k: int
    """Number of trials."""
    expected: Estimate
    num_trials: int
    """Trials that the estimate uses."""


def expected_best(
    values: ArrayLike,
    *,
    ks: Sequence[int],
    goal: Direction = "maximize",
    generator: np.random.Generator,
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[BestOfK, ...]:
    """Return the expected best of k trials per k in `ks`, from the values of n independent trials, (n,).

    The estimate holds for random and quasi-random samplers only: TPE and similar samplers learn from earlier trials.
    It is the mean of the best over all subsets of k trials, which is unbiased (Tang et al. 2020, Showing Your Work
    Doesn't Always Work, section 3.2). The version with replacement (Dodge et al. 2019, Show Your Work, section 3.1) is
    biased: too low for a maximum.

    The interval is t times the bootstrap standard error. Its coverage falls as k grows: 93-96% at k = 2, 85-92% at
    k = n / 4. There is no interval above n / 4, because the best value of a sample carries little information on its
    spread. Its ends are within `bounds`, the smallest and largest possible value.

    Raises:
        ValueError: k is not in 1 to n, or a value is not finite. A failed trial has no value: the caller decides
            whether it counts as the worst value or not at all.
    """
    check_level(level)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"values must be finite numbers, one per trial, got shape {array.shape} of {array.tolist()}")
    for k in ks:
        if not 1 <= k <= len(array):
            raise ValueError(f"k must be at least 1 and at most the number of trials, {len(array)}, got {k}")
    sign = 1.0 if goal == "maximize" else -1.0
    ordered = np.sort(sign * array)
    weights = np.stack([_weights(len(array), k) for k in ks], axis=1)  # (trials, ks)
    picks = generator.integers(len(array), size=(num_resamples, len(array)))
    resamples = np.sort(ordered[picks], axis=1) @ weights  # (resamples, ks)
    return tuple(
        BestOfK(k=k, expected=_estimate(sign, best, resampled, k, len(array), level, bounds), num_trials=len(array))
        for k, best, resampled in zip(ks, (ordered @ weights).tolist(), resamples.T, strict=True)
    )


def _weights(num_trials: int, k: int) -> Floats:
    """Return the share of subsets of k trials with the i-th smallest as best, C(i - 1, k - 1) / C(n, k), (trials,)."""
    ranks = np.arange(k, num_trials + 1)
    logs = _log_choose(ranks - 1, k - 1) - _log_choose(np.array(num_trials), k)
    return np.concatenate([np.zeros(k - 1), np.exp(logs)])


def _log_choose(n: np.ndarray, k: int) -> Floats:
    logs: Floats = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return logs


def _estimate(
    sign: float,
    best: float,
    resampled: Floats,
    k: int,
    num_trials: int,
    level: float,
    bounds: tuple[float, float],
) -> Estimate:
    value = sign * best
    if num_trials < 2 or TRIALS_PER_K * k > num_trials:
        reason = f"an interval for the best of {k} needs {max(TRIALS_PER_K * k, 2)} trials, there are {num_trials}"
        return Estimate(value=value, reason=reason)
    error = float(resampled.std(ddof=1)) * math.sqrt(num_trials / (num_trials - 1))
    if error <= RELATIVE_TOLERANCE * abs(value):
        return Estimate(value=value, reason="all trials have the same value, so there is no spread for an interval")
    half = t_quantile(num_trials, level) * error
    lower, upper = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Estimate(value=value, interval=Interval(lower=lower, upper=upper, level=level))
