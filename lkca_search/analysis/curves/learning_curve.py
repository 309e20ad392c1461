"""Error against training images: the points, as they are and made to fall, and curves through them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, NotEstimable
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats, check_scores
from lkca_search.analysis.stats.student import has_spread, standard_error, student_mean
from lkca_search.spec.base import FrozenModel

MIN_RELATIVE_ERROR = 1e-6
"""An error smaller than this share of the largest is taken for it: a test set of any size cannot tell."""
SIGNIFICANCE_LEVEL = 0.05
"""An error that falls as much as this one by chance alone, more often than this share, is not said to fall."""


class Point(FrozenModel):
    """The error at one size of the training set."""

    num_train_images: int
    error: Estimate
    """Mean over draws, in the errors' units, with its t interval."""
    draw_errors: tuple[float, ...]
    """Mean over the seeds of each draw that has any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LearningCurve:
    """The errors of one family at several sizes of the training set; draw i is the same at every size, and nested."""

    num_train_images: NDArray[np.int64]
    """Sizes, (sizes,), ascending."""
    draw_errors: Floats
    """Mean error over the seeds of each draw, (sizes, draws); NaN where a draw has none at that size."""

    @property
    def log_images(self) -> Floats:
        return np.log(self.num_train_images)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Draws with an error at every size, (draws,): those that curves are made of."""
        complete: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.draw_errors), axis=0)
        return complete

    @property
    def num_draws_left_out(self) -> int:
        return int((~self.complete).sum())

    def points(self, *, level: float = CONFIDENCE_LEVEL) -> tuple[Point, ...]:
        """Each size with all of its draws; Refusal for a size without any."""
        return tuple(
            _point(int(images), errors[np.isfinite(errors)], level=level)
            for images, errors in zip(self.num_train_images, self.draw_errors, strict=True)
        )


def learning_curve(num_train_images: Sequence[int], errors: Sequence[ArrayLike]) -> LearningCurve:
    """The curve of one family: at each size the errors of its replicates, (draws, seeds), NaN where one is missing.

    ValueError unless sizes are positive and ascend, every size has an array of errors, all with as many draws, and no
    error is negative.
    """
    sizes = np.asarray(num_train_images, dtype=np.int64)
    if sizes.ndim != 1 or not len(sizes) or sizes[0] < 1 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"numbers of training images must be positive and ascend, got {list(num_train_images)}")
    arrays = [check_scores(scores) for scores in errors]
    draws = {len(scores) for scores in arrays}
    if len(arrays) != len(sizes) or len(draws) != 1:
        raise ValueError(f"every size must have errors of the same draws, got {[scores.shape for scores in arrays]}")
    if any((scores < 0).any() for scores in arrays):
        raise ValueError(f"an error must be at least 0, got {min(float(np.nanmin(scores)) for scores in arrays)}")
    return LearningCurve(num_train_images=sizes, draw_errors=np.stack([_mean_over_seeds(scores) for scores in arrays]))


def errors_on_common_draws(*curves: LearningCurve) -> list[Floats]:
    """The errors of each curve, (sizes, draws), on the draws that all have at every size of theirs.

    ValueError unless the curves have as many draws; Refusal for fewer than 2 in common.
    """
    draws = {curve.draw_errors.shape[1] for curve in curves}
    if len(draws) != 1:
        raise ValueError(f"curves must have the same draws, got {sorted(draws)} of them")
    common = np.logical_and.reduce([curve.complete for curve in curves])
    if common.sum() < 2:
        raise NotEstimable(
            f"at least 2 draws must have an error at every size, {int(common.sum())} of {draws.pop()} have"
        )
    return [curve.draw_errors[:, common] for curve in curves]


def resampled_means(errors: Floats, draws: NDArray[np.int64]) -> Floats:
    """Mean errors, (1 + resamples, sizes): over all draws, then over resampled ones, the same at every size."""
    return np.concatenate([errors.mean(axis=1)[None], errors[:, draws].mean(axis=2).T])


def isotonic_means(means: Floats) -> Floats:
    """Mean errors, (..., sizes), made to fall or stay, by the least change in squares.

    Neighbours that rise are replaced by their mean: isotonic regression by its min-max formula (Barlow et al. 1972,
    Statistical Inference under Order Restrictions, section 1.4).
    """
    sizes = means.shape[-1]
    sums = np.concatenate([np.zeros((*means.shape[:-1], 1)), np.cumsum(means, axis=-1)], axis=-1)
    result = np.empty_like(means)
    for place in range(sizes):
        highest = [
            np.max([(sums[..., end + 1] - sums[..., start]) / (end + 1 - start) for end in range(place, sizes)], axis=0)
            for start in range(place + 1)
        ]
        result[..., place] = np.min(highest, axis=0)
    return result


def interpolate(means: Floats, log_images: Floats, at: Floats) -> Floats:
    """Errors at the logarithms `at`, (n,), by power laws between neighbouring sizes: (rows, sizes) -> (rows, n).

    On axes that are both logarithmic these are straight lines. Straight in the error itself they would lie above what
    bends, by a quarter of the images where sizes lie a factor of 18 apart.
    """
    left = np.clip(np.searchsorted(log_images, at, side="right") - 1, 0, len(log_images) - 2)
    share = (at - log_images[left]) / (log_images[left + 1] - log_images[left])
    logs = np.log(np.maximum(means, MIN_RELATIVE_ERROR * (means.max() or 1.0)))  # 0 has no logarithm
    errors: Floats = np.exp(logs[:, left] * (1 - share) + logs[:, left + 1] * share)
    return errors


def check_error_decreases(log_images: Floats, errors: Floats) -> None:
    """Refusal unless errors, (sizes, draws), fall with more images: a one-sided t test of draws' slopes on log n."""
    centered = log_images - log_images.mean()
    slopes = centered @ errors / (centered @ centered)
    slope = float(slopes.mean())
    if has_spread(slopes, tolerance=RELATIVE_TOLERANCE * float(np.abs(errors).max())):
        p = float(special.stdtr(len(slopes) - 1, slope / standard_error(slopes)))
    else:
        p = 0.0 if slope < 0 else 1.0
    if p > SIGNIFICANCE_LEVEL:
        raise NotEstimable(
            f"the error does not fall significantly with more images: p is {p:.2g}, at most 0.05 is asked for"
        )


def _point(images: int, errors: Floats, *, level: float) -> Point:
    if not len(errors):
        raise NotEstimable(f"there is no replicate at {images} training images")
    error = student_mean(errors, level=level, tolerance=RELATIVE_TOLERANCE * float(errors.max()))
    return Point(num_train_images=images, error=error, draw_errors=tuple(errors.tolist()))


def _mean_over_seeds(scores: Floats) -> Floats:
    counts = np.isfinite(scores).sum(axis=1)
    means: Floats = np.where(counts, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)
    return means
