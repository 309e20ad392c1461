"""The data-efficiency ratio: how many times the training images of one family another needs for the same error.

The ratio of B against A is n_B / n_A, where A at n_A images and B at n_B images have the same error; at 2.0 family A
does with half the images. It is read off the two curves at one error, or averaged over all errors that both curves
take within their measured sizes: the geometric mean of n_B / n_A, every step of error weighing the same. In the figure
it is the mean horizontal distance between the curves, with the images on a logarithmic axis. Swapping A and B inverts
it. Nothing outside the measured sizes is used. The number has no canonical source.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.curves.learning_curve import (
    LearningCurve,
    errors_on_common_draws,
    interpolate,
    isotonic_means,
    resampled_means,
)
from lkca_search.analysis.curves.power_law import fit_supported_law
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widened_interval
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, NotEstimable, check_level
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import NO_SPREAD
from lkca_search.spec.base import FrozenModel

CurveMethod = Literal["interpolated", "fitted"]
"""How a curve is read between its sizes: by power laws between neighbouring means, which were made to fall before, or
off the one law fitted to all. The first needs 2 sizes and assumes little; the second needs what `power_law` needs."""
NUM_STEPS = 400
"""Points at which a curve is read."""
LOG_TOLERANCE = 1e-9
"""Logarithms of images that differ by less are the same."""


class DataEfficiency(FrozenModel):
    """n_B / n_A for equal error."""

    ratio: Estimate
    """Above 1 where A needs fewer images. An open end: too many resamples have no error that both curves take."""
    errors: tuple[float, float]
    """The smallest and the largest error that both curves take, between which it is averaged; the one error twice."""
    method: CurveMethod
    num_draws: int


def data_efficiency(
    curve_a: LearningCurve,
    curve_b: LearningCurve,
    *,
    generator: np.random.Generator,
    at_error: float | None = None,
    method: CurveMethod = "interpolated",
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> DataEfficiency:
    """The ratio of B against A, with a paired bootstrap interval over draws, widened in its logarithm.

    Draws are those that both have at every size of theirs, and resampled ones are the same for both. At 5 draws x 2
    seeds `benchmarks/known_truth.py` finds that it covers 93-95%. Refusal where no error is taken by both curves, or
    `at_error` not by both, with the bound that this sets; where a curve has fewer than 2 sizes; and as `power_law` for
    the fitted ones.
    """
    check_level(level)
    errors_a, errors_b = errors_on_common_draws(curve_a, curve_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    grid_a, grid_b = log_grid(curve_a), log_grid(curve_b)
    a = evaluate_curve(curve_a, errors_a, draws, grid_a, method=method)
    b = evaluate_curve(curve_b, errors_b, draws, grid_b, method=method)
    if at_error is None:
        least, most = np.maximum(a[:, -1], b[:, -1]), np.minimum(a[:, 0], b[:, 0])
        _check_overlap(a[0], b[0], images=(math.exp(grid_a[0]), math.exp(grid_b[-1])), names=("A", "B"))
        _check_overlap(b[0], a[0], images=(math.exp(grid_b[0]), math.exp(grid_a[-1])), names=("B", "A"))
        logs = _mean_log_images(b, grid_b, least, most) - _mean_log_images(a, grid_a, least, most)
        if least[0] >= most[0]:
            raise NotEstimable(
                f"the error of a family is {least[0]:.4g} at every size, so it has it at no size in particular"
            )
        logs = np.where(least < most, logs, _beyond(a, b))
    else:
        least = most = np.full(len(a), at_error)
        _check_error(a[0], at_error, name="A")
        _check_error(b[0], at_error, name="B")
        with np.errstate(invalid="ignore"):
            logs = _log_images_at(b, grid_b, at_error) - _log_images_at(a, grid_a, at_error)
    return DataEfficiency(
        ratio=_ratio(logs, num_draws=num_draws, level=level),
        errors=(float(least[0]), float(most[0])),
        method=method,
        num_draws=num_draws,
    )


def log_grid(*curves: LearningCurve) -> Floats:
    """Logarithms of numbers of images at which curves are read, (401,), over the sizes that all of them span."""
    first = max(float(curve.log_images[0]) for curve in curves)
    last = min(float(curve.log_images[-1]) for curve in curves)
    if first >= last:
        sizes = [curve.num_train_images.tolist() for curve in curves]
        raise NotEstimable(f"curves are compared over a common range of training images, which these lack: {sizes}")
    return np.linspace(first, last, NUM_STEPS + 1)


def evaluate_curve(
    curve: LearningCurve, errors: Floats, draws: NDArray[np.int64], log_images: Floats, *, method: CurveMethod
) -> Floats:
    """Errors at logarithms `at`, (n,), of all draws and of resampled ones: (1 + resamples, n), none of them rising."""
    if method == "fitted":
        return fit_supported_law(curve, errors).refit(errors, draws, alpha_is_bounded=True).evaluate(log_images)
    return interpolate(isotonic_means(resampled_means(errors, draws)), curve.log_images, log_images)


def _beyond(a: Floats, b: Floats) -> Floats:
    """The logarithm of the ratio without a common error, (rows,): one family needs more images than were measured.

    NaN where a curve is flat within the range of the other, and says nothing.
    """
    return np.where(a[:, 0] <= b[:, -1], np.inf, np.where(b[:, 0] <= a[:, -1], -np.inf, np.nan))


def _mean_log_images(errors: Floats, grid: Floats, least: Floats, most: Floats) -> Floats:
    """Mean over errors from `least` to `most`, (rows,), of the logarithm of the images that `errors` take them at."""
    middles = (grid[1:] + grid[:-1]) / 2
    falls = -np.diff(np.clip(errors, least[:, None], np.maximum(least, most)[:, None]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = falls @ middles / (most - least)
    return means


def _log_images_at(errors: Floats, grid: Floats, level: float) -> Floats:
    """Logarithm of the images at which each row takes an error, (rows,); infinite where it does so in none measured."""
    place = np.clip((errors > level).sum(axis=1), 1, len(grid) - 1)
    rows = np.arange(len(errors))
    before, after = errors[rows, place - 1], errors[rows, place]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(before > after, (before - level) / (before - after), 0.0)
    logs = grid[place - 1] + share * (grid[place] - grid[place - 1])
    found: Floats = np.where(errors[:, 0] < level, -np.inf, np.where(errors[:, -1] > level, np.inf, logs))
    return found


def _check_overlap(ours: Floats, theirs: Floats, *, images: tuple[float, float], names: tuple[str, str]) -> None:
    """Refusal if the first family's largest error is not above the other's smallest."""
    if ours[0] <= theirs[-1]:
        first, second = names
        raise NotEstimable(
            f"no error is taken by both curves: {first} at its fewest images, {images[0]:.0f}, has {ours[0]:.4g} and "
            f"{second} at its most, {images[1]:.0f}, has {theirs[-1]:.4g}, so {second} needs over "
            f"{images[1] / images[0]:.3g} times the images"
        )


def _check_error(errors: Floats, level: float, *, name: str) -> None:
    if not errors[-1] <= level <= errors[0]:
        raise NotEstimable(
            f"family {name} has errors from {errors[-1]:.4g} to {errors[0]:.4g} as measured, {level:g} was asked"
        )


def _ratio(logs: Floats, *, num_draws: int, level: float) -> Estimate:
    """From logarithms of the ratio, of all draws and of resamples, (1 + resamples,)."""
    value, resamples = float(logs[0]), logs[~np.isnan(logs)]
    if float(np.abs(resamples - value).max()) <= LOG_TOLERANCE:
        return Estimate(value=math.exp(value), reason=NO_SPREAD)
    ends = widened_interval(value, resamples, num_draws=num_draws, level=level)
    lower, upper = (None if end is None else math.exp(end) for end in (ends.lower, ends.upper))
    return Estimate(value=math.exp(value), interval=Interval(lower=lower, upper=upper, level=level))
