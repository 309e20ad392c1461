"""The probability of improvement: how often a training of one family beats one of another on the same images."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats, Pairs, pair
from lkca_search.analysis.stats.student import SINGLE_DRAW
from lkca_search.spec.base import FrozenModel


class Improvement(FrozenModel):
    """P(A > B): the probability that a training of A scores above a training of B, on the same draw of images."""

    probability: Estimate
    """Mean over draws of the share of seed pairs, every seed of A with every seed of B, that A wins; a tie is half."""
    num_draws: int
    num_draws_left_out: int
    """Draws on which no replicate has a partner."""


def probability_of_improvement(a: ArrayLike, b: ArrayLike, *, level: float = CONFIDENCE_LEVEL) -> Improvement:
    """P(A > B) for scores (draws, seeds), larger ones better, NaN where one is missing.

    As in Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the Statistical Precipice, section 4.3) with
    draws for tasks and seeds for runs: rliable gives the same number. Its bootstrap interval is not used: where A wins
    on every draw it is [1, 1], and at 5 draws it covers 27-37% of the time where P is 0.97. Here it is Wilson's score
    interval for as many independent draws as the spread between draws amounts to, at least their number and at most
    the number of pairs (Korn & Graubard 1998, Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data; Dean & Pagano 2015): 90-98% at 5 draws x 2 seeds. Errors as `pair`.
    """
    check_level(level)
    pairs = pair(a, b)
    shares = _shares(pairs)
    return Improvement(
        probability=_estimate(shares, pairs, level=level),
        num_draws=pairs.num_draws,
        num_draws_left_out=pairs.num_draws_left_out,
    )


def _shares(pairs: Pairs) -> Floats:
    """Share of A's wins on each draw, (draws,), over all pairs of its seeds."""
    ours, theirs = pairs.a[:, :, None], pairs.b[:, None, :]
    wins = np.where(np.abs(ours - theirs) <= pairs.tolerance, 0.5, ours > theirs)
    wins[~(np.isfinite(ours) & np.isfinite(theirs))] = np.nan
    shares: Floats = np.nanmean(wins, axis=(1, 2))
    return shares


def _estimate(shares: Floats, pairs: Pairs, *, level: float) -> Estimate:
    mean = float(shares.mean())
    if len(shares) < 2:
        return Estimate(value=mean, reason=SINGLE_DRAW)
    variance, most = float(shares.var(ddof=1)), mean * (1 - mean)
    # Where all is won, or all is lost, nothing shows how draws spread: they count as one trial each.
    ratio = variance / most if most > 0 else 1.0
    effective = len(shares) / min(max(ratio, 1 / float(pairs.counts.mean())), 1.0)
    lower, upper = _wilson(mean, effective, level=level)
    return Estimate(value=mean, interval=Interval(lower=lower, upper=upper, level=level))


def _wilson(share: float, num_trials: float, *, level: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share among independent trials."""
    squared = float(special.ndtri((1 + level) / 2)) ** 2
    middle = (share + squared / (2 * num_trials)) / (1 + squared / num_trials)
    spread = share * (1 - share) / num_trials + squared / (4 * num_trials**2)
    half = math.sqrt(squared * spread) / (1 + squared / num_trials)
    return max(middle - half, 0.0), min(middle + half, 1.0)
