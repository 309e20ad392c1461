"""Learning curve of one family: error against training images, and interpolation between its sizes.

Isotonic regression is written here because `scipy.optimize.isotonic_regression` takes one curve at a time; the
bootstrap needs thousands at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats, check_scores
from lkca_search.analysis.stats.student import has_spread, standard_error

MIN_RELATIVE_ERROR = 1e-6
"""Smallest error, as a share of the largest one, in interpolation: an error of 0 has no logarithm."""
SIGNIFICANCE_LEVEL = 0.05
"""Largest p at which an error counts as decreasing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LearningCurve:
    """Errors of one family at several sizes of the training set. Subsets of one draw are nested over the sizes."""

    num_train_images: NDArray[np.int64]
    """Training images per size, (sizes,), ascending."""
    draw_errors: Floats
    """Mean error over the seeds of each draw, (sizes, draws); NaN for a draw without a replicate at that size."""
    image_errors: Floats | None = None
    """Mean error per test image over all replicates, (sizes, images), in the same unit; None if it is unknown."""

    @property
    def log_images(self) -> Floats:
        """Natural logarithms of the training images, (sizes,)."""
        return np.log(self.num_train_images)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """True per draw with an error at every size, (draws,); curves use only these draws."""
        complete: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.draw_errors), axis=0)
        return complete

    @property
    def num_draws_left_out(self) -> int:
        """Draws without an error at some size."""
        return int((~self.complete).sum())


def learning_curve(
    num_train_images: Sequence[int], errors: Sequence[ArrayLike], *, image_errors: Floats | None = None
) -> LearningCurve:
    """Return the curve of one family from the errors of its replicates per size, (draws, seeds), with NaN if missing.

    `image_errors` are the mean errors per test image, (sizes, images).

    Raises:
        ValueError: Sizes are not positive and ascending, numbers of draws differ, or an error is negative.
    """
    sizes = np.asarray(num_train_images, dtype=np.int64)
    if sizes.ndim != 1 or not len(sizes) or sizes[0] < 1 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"num_train_images must be positive and ascending, got {list(num_train_images)}")
    arrays = [check_scores(scores) for scores in errors]
    draws = {len(scores) for scores in arrays}
    if len(arrays) != len(sizes) or len(draws) != 1:
        raise ValueError(f"every size must have errors of the same draws, got {[scores.shape for scores in arrays]}")
    if any((scores < 0).any() for scores in arrays):
        raise ValueError(f"errors must be at least 0, got {min(float(np.nanmin(scores)) for scores in arrays)}")
    draw_errors = np.stack([_mean_over_seeds(scores) for scores in arrays])
    return LearningCurve(num_train_images=sizes, draw_errors=draw_errors, image_errors=image_errors)


def errors_on_common_draws(*curves: LearningCurve) -> list[Floats]:
    """Return the errors of each curve, (sizes, draws), on the draws that are complete in all curves.

    Raises:
        ValueError: The curves have different numbers of draws.
        NotEstimable: Fewer than 2 draws are complete in all curves.
    """
    draws = {curve.draw_errors.shape[1] for curve in curves}
    if len(draws) != 1:
        raise ValueError(f"curves must have equal numbers of draws, got {sorted(draws)}")
    common = np.logical_and.reduce([curve.complete for curve in curves])
    if common.sum() < 2:
        raise NotEstimable(
            f"at least 2 draws must have an error at every size, {int(common.sum())} of {draws.pop()} have"
        )
    return [curve.draw_errors[:, common] for curve in curves]


def resampled_means(errors: Floats, draws: NDArray[np.int64], shifts: Floats | float = 0.0) -> Floats:
    """Return mean errors, (1 + resamples, sizes): row 0 over all draws, then over `draws`, (resamples, draws).

    `shifts`, (resamples, sizes), are added to the resamples.
    """
    means = errors[:, draws].mean(axis=2).T + shifts
    return np.concatenate([errors.mean(axis=1)[None], np.maximum(means, 0.0)])


def image_shifts(
    curve_a: LearningCurve, curve_b: LearningCurve, *, num_resamples: int, factor: float, generator: np.random.Generator
) -> tuple[Floats | float, Floats | float]:
    """Return the shifts of both curves that other test images would cause, (resamples, sizes) each; 0 if unknown.

    Both curves share the images, so their shifts are correlated. The mean over thousands of images is normal, so the
    shifts are drawn from their joint normal distribution. They are divided by `factor`, by which the bootstrap widens
    its intervals: the number of images is not small. The spread between draws per image is included, which makes them
    slightly too large.
    """
    if curve_a.image_errors is None or curve_b.image_errors is None:
        return 0.0, 0.0
    both = np.concatenate([curve_a.image_errors, curve_b.image_errors])
    centered = both - both.mean(axis=1, keepdims=True)
    num_images = both.shape[1]
    values, vectors = np.linalg.eigh(centered @ centered.T / (num_images * max(num_images - 1, 1)))
    normal = generator.standard_normal((num_resamples, len(both)))
    shifts = normal @ (vectors * np.sqrt(np.maximum(values, 0.0))).T / factor
    num_sizes = len(curve_a.image_errors)
    return shifts[:, :num_sizes], shifts[:, num_sizes:]


def isotonic_means(means: Floats) -> Floats:
    """Return the nonincreasing means closest to `means`, (..., sizes), in least squares.

    Isotonic regression by its min-max formula (Barlow et al. 1972, Statistical Inference under Order Restrictions,
    section 1.4).
    """
    sizes = means.shape[-1]
    sums = np.concatenate([np.zeros((*means.shape[:-1], 1)), np.cumsum(means, axis=-1)], axis=-1)
    result = np.empty_like(means)
    for index in range(sizes):
        highest = [
            np.max([(sums[..., end + 1] - sums[..., start]) / (end + 1 - start) for end in range(index, sizes)], axis=0)
            for start in range(index + 1)
        ]
        result[..., index] = np.min(highest, axis=0)
    return result


def interpolate(means: Floats, log_sizes: Floats, log_images: Floats) -> Floats:
    """Return errors at `log_images`, (n,), from means, (rows, sizes), at `log_sizes`, (sizes,): (rows, n).

    Neighboring sizes are joined by power laws, which are straight lines on two logarithmic axes. Linear interpolation
    of the error itself would be above a convex curve: by a quarter of the images for sizes a factor of 18 apart.
    """
    left = np.clip(np.searchsorted(log_sizes, log_images, side="right") - 1, 0, len(log_sizes) - 2)
    share = (log_images - log_sizes[left]) / (log_sizes[left + 1] - log_sizes[left])
    logs = np.log(np.maximum(means, MIN_RELATIVE_ERROR * (means.max() or 1.0)))
    errors: Floats = np.exp(logs[:, left] * (1 - share) + logs[:, left + 1] * share)
    return errors


def check_error_decreases(log_images: Floats, errors: Floats) -> None:
    """Raise NotEstimable unless errors, (sizes, draws), decrease: a one-sided t test of the draws' slopes on log n."""
    centered = log_images - log_images.mean()
    slopes = centered @ errors / (centered @ centered)
    slope = float(slopes.mean())
    if has_spread(slopes, tolerance=RELATIVE_TOLERANCE * float(np.abs(errors).max())):
        p = float(special.stdtr(len(slopes) - 1, slope / standard_error(slopes)))
    else:
        p = 0.0 if slope < 0 else 1.0
    if p > SIGNIFICANCE_LEVEL:
        raise NotEstimable(
            f"the error does not fall significantly with more images: p is {p:.2g}, above {SIGNIFICANCE_LEVEL}"
        )


def _mean_over_seeds(scores: Floats) -> Floats:
    counts = np.isfinite(scores).sum(axis=1)
    means: Floats = np.where(counts, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)
    return means
