"""Scores of replicates, (draws, seeds), and their pairing across families.

The partner of a replicate is the replicate of another family with the same draw and the same seed. Seeds of one draw
share its images and are not independent, so the draw is the unit of every statistic here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lkca_search.analysis.stats.estimate import NotEstimable

Floats = NDArray[np.float64]
RELATIVE_TOLERANCE = 1e-12
"""Differences below this share of the largest score are rounding errors: 0.3 - 0.2 equals 0.2 - 0.1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Replicates of two families, A and B, that have a partner, on the draws with at least one pair."""

    a: Floats
    """Scores of A, (draws, seeds); NaN for a replicate without a partner."""
    b: Floats
    """Scores of B, (draws, seeds); NaN at the same positions."""
    num_draws_left_out: int
    """Draws without a pair."""
    num_replicates_left_out: int
    """Replicates of both families without a partner."""

    @property
    def num_draws(self) -> int:
        """Draws with at least one pair."""
        return len(self.a)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pairs per draw, (draws,); at least one."""
        counts: NDArray[np.int64] = np.isfinite(self.a).sum(axis=1)
        return counts

    @property
    def differences(self) -> Floats:
        """A - B per pair, (draws, seeds); NaN without a pair."""
        return self.a - self.b

    @property
    def draw_differences(self) -> Floats:
        """Mean difference per draw over its pairs, (draws,)."""
        means: Floats = np.nanmean(self.differences, axis=1)
        return means

    @property
    def tolerance(self) -> float:
        """Largest difference that counts as a rounding error."""
        return RELATIVE_TOLERANCE * float(max(np.nanmax(np.abs(self.a)), np.nanmax(np.abs(self.b))))


def pair(a: ArrayLike, b: ArrayLike) -> Pairs:
    """Pair the scores of two families, each (draws, seeds), by draw and seed. NaN marks a missing replicate.

    Replicates without a partner and draws without a pair are left out and counted.

    Raises:
        ValueError: The shapes differ, or as for `check_scores`.
        NotEstimable: There is no pair.
    """
    scores_a, scores_b = check_scores(a), check_scores(b)
    if scores_a.shape != scores_b.shape:
        raise ValueError(f"paired scores must have the same shape, got {scores_a.shape} and {scores_b.shape}")
    both = np.isfinite(scores_a) & np.isfinite(scores_b)
    kept = both.any(axis=1)
    if not kept.any():
        raise NotEstimable("no replicate of one family has a partner with the same draw and seed in the other")
    return Pairs(
        a=np.where(both, scores_a, np.nan)[kept],
        b=np.where(both, scores_b, np.nan)[kept],
        num_draws_left_out=int((~kept).sum()),
        num_replicates_left_out=int((np.isfinite(scores_a) ^ np.isfinite(scores_b)).sum()),
    )


def check_scores(scores: ArrayLike) -> Floats:
    """Return the scores as floats, (draws, seeds); raise ValueError for other shapes and for infinite scores."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must have the shape (draws, seeds), both at least 1, got {array.shape}")
    if np.isinf(array).any():
        raise ValueError("scores must be finite, or NaN for a missing replicate, got an infinite score")
    return array
