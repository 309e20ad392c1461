"""What the spread of paired differences comes from: the draw of images, or the seed."""

import numpy as np
from numpy.typing import ArrayLike

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import pair
from lkca_search.spec.base import FrozenModel


class VarianceComponents(FrozenModel):
    """Variances of the difference A - B of a pair, in squared units of the scores."""

    draw_mean_variance: float
    """Between the means of draws: that of the draw, and that of the seeds over their number."""
    seed_variance: float | None
    """Between seeds of one draw; None at one seed a draw, where it cannot be told from the draw's."""
    num_draws: int
    seeds_per_draw: float
    """Pairs of a draw; where draws have unequal numbers, the one that counts for the variance."""

    @property
    def draw_variance(self) -> float:
        """Between draws, what more seeds cannot reduce; at one seed a draw it holds the seed's variance too."""
        return (
            self.draw_mean_variance
            if self.seed_variance is None
            else max(0.0, self.draw_mean_variance - self.seed_variance / self.seeds_per_draw)
        )

    def variance_of_mean(self, *, num_draws: int, num_seeds: int) -> float:
        """Variance of the mean difference of a design; ValueError for several seeds if theirs is not known."""
        if num_draws < 1 or num_seeds < 1:
            raise ValueError(f"a design must have at least 1 draw and 1 seed, got {num_draws} and {num_seeds}")
        if self.seed_variance is None and num_seeds != 1:
            raise ValueError(f"one seed a draw does not show what {num_seeds} seeds would change")
        return (self.draw_variance + (self.seed_variance or 0.0) / num_seeds) / num_draws

    def scale_draw_mean_variance(self, factor: float) -> "VarianceComponents":
        """The same with another variance between the means of draws, `factor` times this one."""
        return self.model_copy(update={"draw_mean_variance": factor * self.draw_mean_variance})

    def without_seed_variance(self) -> "VarianceComponents":
        """The same as if a draw's mean were one replicate."""
        return self.model_copy(update={"seed_variance": None, "seeds_per_draw": 1.0})


def variance_components(a: ArrayLike, b: ArrayLike) -> VarianceComponents:
    """Method-of-moments components of the differences of scores (draws, seeds), NaN where one is missing.

    One-way analysis of variance with unequal numbers of seeds (Searle, Casella & McCulloch 1992, Variance Components,
    section 3.6); a draw's variance that comes out negative is 0. Errors as `pair`, and Refusal for a single draw.
    """
    pairs = pair(a, b)
    if pairs.num_draws < 2:
        raise NotEstimable("a single draw does not show how much draws differ")
    values, counts, means = pairs.differences, pairs.counts, pairs.draw_differences
    total, num_draws = int(counts.sum()), pairs.num_draws
    grand = float((counts * means).sum()) / total
    between = float((counts * (means - grand) ** 2).sum()) / (num_draws - 1)
    seeds_per_draw = (total - float((counts**2).sum()) / total) / (num_draws - 1)
    seed_variance = None
    if total > num_draws:
        seed_variance = float(np.nansum((values - means[:, None]) ** 2)) / (total - num_draws)
    return VarianceComponents(
        draw_mean_variance=between / seeds_per_draw,
        seed_variance=seed_variance,
        num_draws=num_draws,
        seeds_per_draw=seeds_per_draw,
    )
