"""Variance components: between draws of training images, between seeds of one draw, and between test images."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import Floats, pair
from lkca_search.spec.base import FrozenModel


class VarianceComponents(FrozenModel):
    """Variance components of the paired difference A - B, in squared units of the scores."""

    draw_mean_variance: float
    """Variance between the means of draws: `draw_variance` plus `seed_variance` divided by the seeds per draw."""
    seed_variance: float | None
    """Variance between seeds of one draw; None with one seed per draw, which does not separate the two components."""
    num_draws: int
    seeds_per_draw: float
    """Pairs per draw; for unequal numbers, the effective number in the expected variance between draws."""

    @property
    def draw_variance(self) -> float:
        """Variance between draws, which more seeds cannot reduce; includes the seed variance with one seed per draw."""
        return (
            self.draw_mean_variance
            if self.seed_variance is None
            else max(0.0, self.draw_mean_variance - self.seed_variance / self.seeds_per_draw)
        )

    def variance_of_mean(self, *, num_draws: int, num_seeds: int) -> float:
        """Return the variance of the mean difference; raise ValueError if it needs an unknown seed variance."""
        if num_draws < 1 or num_seeds < 1:
            raise ValueError(f"a design must have at least 1 draw and 1 seed, got {num_draws} and {num_seeds}")
        if self.seed_variance is None and num_seeds != 1:
            raise ValueError(f"one seed per draw does not show the effect of {num_seeds} seeds")
        return (self.draw_variance + (self.seed_variance or 0.0) / num_seeds) / num_draws

    def scale_draw_mean_variance(self, factor: float) -> "VarianceComponents":
        """Return a copy with the variance between the means of draws multiplied by `factor`."""
        return self.model_copy(update={"draw_mean_variance": factor * self.draw_mean_variance})

    def without_seed_variance(self) -> "VarianceComponents":
        """Return a copy that treats the mean of a draw as one replicate."""
        return self.model_copy(update={"seed_variance": None, "seeds_per_draw": 1.0})


def variance_components(a: ArrayLike, b: ArrayLike) -> VarianceComponents:
    """Estimate the variance components of the differences of scores (draws, seeds); NaN marks a missing replicate.

    Method of moments: one-way analysis of variance with unequal numbers of seeds (Searle, Casella & McCulloch 1992,
    Variance Components, section 3.6). A negative estimate of the draw variance becomes 0.

    Raises:
        ValueError: As for `pair`.
        NotEstimable: There is a single draw, or as for `pair`.
    """
    pairs = pair(a, b)
    if pairs.num_draws < 2:
        raise NotEstimable("a single draw does not show the spread between draws")
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


def image_variance(scores: Floats) -> float:
    """Return the variance of the grand mean of scores, (units, images), from the sampling of the images.

    Every model is tested on every image, so the difficulty of the images moves all scores together, and the spread
    between units does not show it. This is the variance component of images divided by their number, by the method of
    moments in the two-way layout with one value per cell (Searle, Casella & McCulloch 1992, Variance Components,
    section 4.3). The interaction of units and images is left out, because the spread between the means of units
    contains it. A negative estimate becomes 0. For a single unit, the result includes the interaction.
    """
    num_units, num_images = scores.shape
    if num_images < 2:
        return 0.0
    image_means = scores.mean(axis=0)
    between = num_units * float(image_means.var(ddof=1))
    if num_units == 1:
        return float(between / num_images)
    residuals = scores - image_means - scores.mean(axis=1, keepdims=True) + scores.mean()
    interaction = float((residuals**2).sum()) / ((num_units - 1) * (num_images - 1))
    return float(max(0.0, between - interaction) / (num_units * num_images))


def image_means(scores: NDArray[Any], present: NDArray[np.bool_], *, by_seed: bool) -> Floats:
    """Return the mean per test image over the trainings of each unit, (units, images), of (draws, seeds, images).

    Units are the draws with a replicate that is present, (draws, seeds), or with `by_seed` such trainings.
    """
    if by_seed:
        scores, present = scores.reshape(-1, 1, scores.shape[2]), present.reshape(-1, 1)
    kept = present.any(axis=1)
    counts = present[kept].sum(axis=1)[:, None]
    sums = np.einsum("dsi,ds->di", scores[kept].astype(np.float64), present[kept].astype(np.float64))
    return np.asarray(sums / counts)


def sampling_variance(scores: NDArray[Any], present: NDArray[np.bool_], *, by_seed: bool) -> float:
    """Return the image variance of scores, (draws, seeds, images), by the units of `image_means`."""
    return image_variance(image_means(scores, present, by_seed=by_seed))


def difference_variance(
    a: NDArray[Any] | None, b: NDArray[Any] | None, present: NDArray[np.bool_], *, scale: float, by_seed: bool
) -> float | None:
    """Return the image variance of `scale` times A - B, as in `sampling_variance`; None if either is unknown."""
    if a is None or b is None:
        return None
    return sampling_variance(scale * (a.astype(np.float32) - b), present, by_seed=by_seed)
