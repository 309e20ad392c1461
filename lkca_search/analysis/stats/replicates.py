"""Scores of replicates: subset draws x seeds, paired across families.

A replicate of one family has a partner in another: the one with the same draw and the same seed. Seeds within a draw
share its images, so they are not independent of each other: the draw is the unit of every statistic here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lkca_search.analysis.stats.estimate import NotEstimable

Floats = NDArray[np.float64]
RELATIVE_TOLERANCE = 1e-12
"""Differences below this share of the largest score are round-off: 0.3 - 0.2 and 0.2 - 0.1 are the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The replicates of two families, A and B, that have a partner, on the draws that have any."""

    a: Floats
    """Scores of A, (draws, seeds); NaN where a replicate has no partner."""
    b: Floats
    """Scores of B, (draws, seeds); NaN at the same places."""
    num_draws_left_out: int
    """Draws on which no replicate of A has a partner in B."""
    num_replicates_left_out: int
    """Replicates, of either family, without a partner."""

    @property
    def num_draws(self) -> int:
        return len(self.a)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pairs of each draw, (draws,); at least one."""
        counts: NDArray[np.int64] = np.isfinite(self.a).sum(axis=1)
        return counts

    @property
    def differences(self) -> Floats:
        """A - B of each pair, (draws, seeds); NaN where there is none."""
        return self.a - self.b

    @property
    def draw_differences(self) -> Floats:
        """Mean difference of each draw, (draws,), over its pairs; every draw weighs the same, whatever its pairs."""
        means: Floats = np.nanmean(self.differences, axis=1)
        return means

    @property
    def tolerance(self) -> float:
        """Largest difference that may be an effect of rounding."""
        return RELATIVE_TOLERANCE * float(max(np.nanmax(np.abs(self.a)), np.nanmax(np.abs(self.b))))


def pair(a: ArrayLike, b: ArrayLike) -> Pairs:
    """Pair the scores of two families, each (draws, seeds), by draw and seed; NaN is a replicate that is missing.

    A replicate without a partner is left out, and so is a draw without a pair; both are counted. ValueError unless
    both have the same shape; Refusal if there is no pair at all.
    """
    scores_a, scores_b = check_scores(a), check_scores(b)
    if scores_a.shape != scores_b.shape:
        raise ValueError(f"paired scores must have the same shape, got {scores_a.shape} and {scores_b.shape}")
    both = np.isfinite(scores_a) & np.isfinite(scores_b)
    kept = both.any(axis=1)
    if not kept.any():
        raise NotEstimable("no replicate of one family has a partner, of the same draw and seed, in the other")
    return Pairs(
        a=np.where(both, scores_a, np.nan)[kept],
        b=np.where(both, scores_b, np.nan)[kept],
        num_draws_left_out=int((~kept).sum()),
        num_replicates_left_out=int((np.isfinite(scores_a) ^ np.isfinite(scores_b)).sum()),
    )


def check_scores(scores: ArrayLike) -> Floats:
    """Scores as floats, (draws, seeds); ValueError if they have another number of axes, or if one is infinite."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must have the shape (draws, seeds), neither of them 0, got {array.shape}")
    if np.isinf(array).any():
        raise ValueError("scores must be finite, or NaN where a replicate is missing, got an infinite one")
    return array
