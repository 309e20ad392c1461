"""Probability of improvement: P(A > B) for one training of each family on the same images."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats, Pairs, pair
from lkca_search.analysis.stats.student import SINGLE_DRAW
from lkca_search.spec.base import FrozenModel


class Improvement(FrozenModel):
    """Estimate of P(A > B): a training of A scores above a training of B on the same draw of images."""

    probability: Estimate
    """Mean over draws of the share of all seed pairs (seed of A, seed of B) in which A is better; a tie counts half."""
    num_draws: int
    """Draws with at least one pair."""
    num_draws_left_out: int
    """Draws on which no replicate has a partner."""


def probability_of_improvement(a: ArrayLike, b: ArrayLike, *, level: float = CONFIDENCE_LEVEL) -> Improvement:
    """Estimate P(A > B) from scores (draws, seeds). Larger scores are better, and NaN marks a missing replicate.

    The estimate is that of Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the Statistical Precipice,
    section 4.3), with draws as tasks and seeds as runs; rliable gives the same number.

    The interval is Wilson's score interval for an effective number of independent draws. This number follows from the
    spread between draws; it is at least the number of draws and at most the number of pairs. Sources: Korn & Graubard
    1998, Confidence intervals for proportions with small expected number of positive counts estimated from survey data;
    Dean & Pagano 2015. The interval covers 90-98% at 5 draws x 2 seeds. rliable's bootstrap interval is not used: it is
    [1, 1] if A wins on every draw, and covers only 27-37% at 5 draws if P is 0.97.

    Raises:
        ValueError: As for `pair`.
        NotEstimable: As for `pair`.
    """
    check_level(level)
    pairs = pair(a, b)
    shares = shares_of_wins(pairs)
    return Improvement(
        probability=_estimate(shares, pairs, level=level),
        num_draws=pairs.num_draws,
        num_draws_left_out=pairs.num_draws_left_out,
    )


def shares_of_wins(pairs: Pairs) -> Floats:
    """Return the share of seed pairs in which A is better, per draw, (draws,)."""
    a, b = pairs.a[:, :, None], pairs.b[:, None, :]
    wins = np.where(np.abs(a - b) <= pairs.tolerance, 0.5, a > b)
    wins[~(np.isfinite(a) & np.isfinite(b))] = np.nan
    shares: Floats = np.nanmean(wins, axis=(1, 2))
    return shares


def _estimate(shares: Floats, pairs: Pairs, *, level: float) -> Estimate:
    mean = float(shares.mean())
    if len(shares) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    variance, maximum = float(shares.var(ddof=1)), mean * (1 - mean)
    # If A wins all pairs or none, the spread between draws is unknown: each draw counts as one trial.
    ratio = variance / maximum if maximum > 0 else 1.0
    effective = len(shares) / min(max(ratio, 1 / float(pairs.counts.mean())), 1.0)
    return share_with_interval(mean, effective, level=level)


def share_with_interval(share: float, num_trials: float, *, level: float = CONFIDENCE_LEVEL) -> Estimate:
    """Return a share with its score interval for an effective number of independent trials."""
    lower, upper = _wilson(share, num_trials, level=level)
    return Estimate(value=share, interval=Interval(lower=lower, upper=upper, level=level))


def _wilson(share: float, num_trials: float, *, level: float) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share. scipy's `binomtest` takes only integer numbers of trials."""
    squared = float(special.ndtri((1 + level) / 2)) ** 2
    middle = (share + squared / (2 * num_trials)) / (1 + squared / num_trials)
    spread = share * (1 - share) / num_trials + squared / (4 * num_trials**2)
    half = math.sqrt(squared * spread) / (1 + squared / num_trials)
    return max(middle - half, 0.0), min(middle + half, 1.0)
