"""Data-efficiency ratio: training images of family B per image of family A, for equal error.

The ratio is n_B / n_A, if A with n_A images and B with n_B images have the same error. At 2.0, family A needs half of
the images. The ratio is computed at one given error, or averaged over all errors that both curves reach within their
measured sizes. The average is the geometric mean of n_B / n_A, with equal weight per step of error. In the figure it is
the mean horizontal distance between the curves on a logarithmic axis of images. Swapping A and B inverts the ratio.
Nothing outside the measured sizes is used. The definition is our own; there is no canonical source.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.curves.learning_curve import (
    LearningCurve,
    errors_on_common_draws,
    image_shifts,
    interpolate,
    isotonic_means,
    resampled_means,
)
from lkca_search.analysis.curves.power_law import fit_supported_law
from lkca_search.analysis.stats.bootstrap import (
    NUM_RESAMPLES,
    resample_draws,
    too_few_draws,
    widened_interval,
    widening_factor,
)
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval, NotEstimable, check_level
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import NO_SPREAD
from lkca_search.spec.base import FrozenModel

CurveMethod = Literal["interpolated", "fitted"]
"""Method to evaluate a curve between its sizes.

`interpolated`: power laws between neighboring means after isotonic regression; needs 2 sizes and assumes little.
`fitted`: the one power law fitted to all sizes; needs what `power_law` needs.
"""
NUM_STEPS = 400
"""Intervals of the grid on which curves are evaluated."""
LOG_TOLERANCE = 1e-9
"""Difference between logarithms of images that counts as a rounding error."""
BEYOND_SIZES = "both ends of the interval are beyond the measured sizes"


class DataEfficiency(FrozenModel):
    """Data-efficiency ratio n_B / n_A of two families."""

    ratio: Estimate
    """Above 1 if A needs fewer images. An end is open if the measured sizes of both curves cannot show such a ratio."""
    errors: tuple[float, float]
    """Smallest and largest error of the average; equal for a ratio at one error."""
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
    """Estimate the ratio of B to A, with a paired bootstrap interval over draws, widened on the log scale.

    Only draws that are complete in both curves count, and both share the resampled draws. The interval includes the
    sampling of test images if both curves have errors per image. Without it, the interval covers 93-95% at
    5 draws x 2 seeds (`benchmarks/known_truth.py`). With fewer than 4 draws there is none at 95%.

    Raises:
        NotEstimable: No error is reached by both curves, `at_error` is not reached by both, or a curve has fewer than 2
            sizes. For fitted curves also: the points do not support a power law.
    """
    check_level(level)
    errors_a, errors_b = errors_on_common_draws(curve_a, curve_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    grid_a, grid_b = log_grid(curve_a), log_grid(curve_b)
    factor = widening_factor(num_draws, level)
    shifts = image_shifts(curve_a, curve_b, num_resamples=num_resamples, factor=factor, generator=generator)
    a = evaluate_curve(curve_a, errors_a, draws, grid_a, method=method, shifts=shifts[0])
    b = evaluate_curve(curve_b, errors_b, draws, grid_b, method=method, shifts=shifts[1])
    if at_error is None:
        low, high = np.maximum(a[:, -1], b[:, -1]), np.minimum(a[:, 0], b[:, 0])
        _check_overlap(a[0], b[0], images=(math.exp(grid_a[0]), math.exp(grid_b[-1])), names=("A", "B"))
        _check_overlap(b[0], a[0], images=(math.exp(grid_b[0]), math.exp(grid_a[-1])), names=("B", "A"))
        logs = _mean_log_images(b, grid_b, low, high) - _mean_log_images(a, grid_a, low, high)
        if low[0] >= high[0]:
            raise NotEstimable(
                f"the error of a family is {low[0]:.4g} at every size, so it belongs to no number of images"
            )
        logs = np.where(low < high, logs, _log_ratio_without_overlap(a, b))
    else:
        low = high = np.full(len(a), at_error)
        _check_error(a[0], at_error, name="A")
        _check_error(b[0], at_error, name="B")
        with np.errstate(invalid="ignore"):
            logs = _log_images_at(b, grid_b, at_error) - _log_images_at(a, grid_a, at_error)
    return DataEfficiency(
        ratio=estimate_in_range(
            logs[~np.isnan(logs)],
            lowest=float(grid_b[0] - grid_a[-1]),
            highest=float(grid_b[-1] - grid_a[0]),
            num_draws=num_draws,
            level=level,
        ),
        errors=(float(low[0]), float(high[0])),
        method=method,
        num_draws=num_draws,
    )


def log_grid(*curves: LearningCurve) -> Floats:
    """Return the log images at which curves are evaluated, (401,), over the sizes that all curves span."""
    first = max(float(curve.log_images[0]) for curve in curves)
    last = min(float(curve.log_images[-1]) for curve in curves)
    if first >= last:
        sizes = [curve.num_train_images.tolist() for curve in curves]
        raise NotEstimable(f"curves must have a common range of training images to be compared, got sizes {sizes}")
    return np.linspace(first, last, NUM_STEPS + 1)


def evaluate_curve(
    curve: LearningCurve,
    errors: Floats,
    draws: NDArray[np.int64],
    log_images: Floats,
    *,
    method: CurveMethod,
    shifts: Floats | float = 0.0,
) -> Floats:
    """Return nonincreasing errors at `log_images`, (n,), of all draws, then of resamples: (1 + resamples, n).

    `shifts`, (resamples, sizes), are added to the resampled means.
    """
    if method == "fitted":
        law = fit_supported_law(curve, errors)
        return law.refit(errors, draws, alpha_is_bounded=True, shifts=shifts).evaluate(log_images)
    return interpolate(isotonic_means(resampled_means(errors, draws, shifts)), curve.log_images, log_images)


def estimate_in_range(logs: Floats, *, lowest: float, highest: float, num_draws: int, level: float) -> Estimate:
    """Return a number from its logarithms over all draws and over resamples, (1 + resamples,).

    An end of its interval is open if its logarithm is not within `lowest` and `highest`, which the measured sizes can
    show. There is no interval if both ends are open, or if there are too few draws.
    """
    value = float(logs[0])
    if float(np.abs(logs - value).max()) <= LOG_TOLERANCE:
        return Estimate(value=math.exp(value), reason=NO_SPREAD)
    if reason := too_few_draws(num_draws, level):
        return Estimate(value=math.exp(value), reason=reason)
    ends = widened_interval(value, logs, num_draws=num_draws, level=level)
    lower = None if ends.lower is None or ends.lower < lowest else math.exp(ends.lower)
    upper = None if ends.upper is None or ends.upper > highest else math.exp(ends.upper)
    if lower is None and upper is None:
        return Estimate(value=math.exp(value), reason=BEYOND_SIZES)
    return Estimate(value=math.exp(value), interval=Interval(lower=lower, upper=upper, level=level))


def _log_ratio_without_overlap(a: Floats, b: Floats) -> Floats:
    """Return the log ratio of rows without a common error, (rows,): infinite, as one family needs unmeasured sizes.

    It is NaN if a curve is flat within the range of the other, which gives no ratio.
    """
    return np.where(a[:, 0] <= b[:, -1], np.inf, np.where(b[:, 0] <= a[:, -1], -np.inf, np.nan))


def _mean_log_images(errors: Floats, grid: Floats, low: Floats, high: Floats) -> Floats:
    """Return the mean log images at which the curves, `errors` (rows, n), have errors from `low` to `high`, (rows,)."""
    middles = (grid[1:] + grid[:-1]) / 2
    falls = -np.diff(np.clip(errors, low[:, None], np.maximum(low, high)[:, None]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = falls @ middles / (high - low)
    return means


def _log_images_at(errors: Floats, grid: Floats, error: float) -> Floats:
    """Return the log images at which each row has the error, (rows,); infinite outside the measured sizes."""
    index = np.clip((errors > error).sum(axis=1), 1, len(grid) - 1)
    rows = np.arange(len(errors))
    before, after = errors[rows, index - 1], errors[rows, index]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(before > after, (before - error) / (before - after), 0.0)
    logs = grid[index - 1] + share * (grid[index] - grid[index - 1])
    result: Floats = np.where(errors[:, 0] < error, -np.inf, np.where(errors[:, -1] > error, np.inf, logs))
    return result


def _check_overlap(
    first_errors: Floats, second_errors: Floats, *, images: tuple[float, float], names: tuple[str, str]
) -> None:
    """Raise NotEstimable unless the largest error of the first curve is above the smallest error of the second."""
    if first_errors[0] <= second_errors[-1]:
        first, second = names
        raise NotEstimable(
            f"no error is reached by both curves: {first} has {first_errors[0]:.4g} at {images[0]:.0f} images, its "
            f"fewest, and {second} has {second_errors[-1]:.4g} at {images[1]:.0f}, its most, so {second} needs over "
            f"{images[1] / images[0]:.3g} times the images"
        )


def _check_error(errors: Floats, at_error: float, *, name: str) -> None:
    if not errors[-1] <= at_error <= errors[0]:
        raise NotEstimable(
            f"at_error must be within the measured errors of {name}, {errors[-1]:.4g} to {errors[0]:.4g}, "
            f"got {at_error:g}"
        )
