"""Crossover n*, the number of training images at which the better of two families changes.

n* is the crossing of the mean curves between two sizes at which different families are better. Mean curves of two equal
families cross as well, so a report estimates n* only between sizes at which a test decides each way
(`curve_analysis`). Curves that run close may cross several times. n* is then the crossing that separates the largest
leads: there the area between the curves, with images on a logarithmic axis, has its extremum. The definition is our
own; there is no canonical source.
"""

import math
from typing import Literal

import numpy as np

from lkca_search.analysis.curves.data_efficiency import (
    NUM_STEPS,
    CurveMethod,
    estimate_in_range,
    evaluate_curve,
    log_grid,
)
from lkca_search.analysis.curves.learning_curve import LearningCurve, errors_on_common_draws, image_shifts
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widening_factor
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, NotEstimable, check_level
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.spec.base import FrozenModel

Side = Literal["a", "b"]
"""One of the two compared families."""


class Crossover(FrozenModel):
    """Crossover of two families between two sizes."""

    num_train_images: Estimate
    """n*. An end of the interval that is not between the two sizes is open."""
    better_below: Side
    """Family with the smaller error at the smaller size; the other one has it at the larger size."""
    between: tuple[int, int]
    """The two sizes, in training images."""
    method: CurveMethod
    num_draws: int


def crossover(
    curve_a: LearningCurve,
    curve_b: LearningCurve,
    *,
    generator: np.random.Generator,
    between: tuple[int, int] | None = None,
    method: CurveMethod = "interpolated",
    level: float = CONFIDENCE_LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Crossover:
    """Estimate the crossover of two curves, with a paired bootstrap interval over draws, widened on the log scale.

    `between` are two numbers of training images, by default the ends of the common range. If one family is better at
    all sizes of a resample, n* is beyond them. The sampling of test images counts as in `data_efficiency`. Without it,
    the interval covers 92-94% of the crossovers that exist at 5 draws x 2 seeds. With fewer than 4 draws there is none.

    Raises:
        NotEstimable: The same family is better at both sizes, the families are equal at one of them, there are fewer
            than 2 common draws, or the curves have no common range of images. For fitted curves also: the points do not
            support a power law.
    """
    check_level(level)
    errors_a, errors_b = errors_on_common_draws(curve_a, curve_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    grid = (
        log_grid(curve_a, curve_b)
        if between is None
        else np.linspace(math.log(between[0]), math.log(between[1]), NUM_STEPS + 1)
    )
    factor = widening_factor(num_draws, level)
    shifts = image_shifts(curve_a, curve_b, num_resamples=num_resamples, factor=factor, generator=generator)
    lead = evaluate_curve(curve_b, errors_b, draws, grid, method=method, shifts=shifts[1])
    lead -= evaluate_curve(curve_a, errors_a, draws, grid, method=method, shifts=shifts[0])  # above 0 if A is better
    lead[np.abs(lead) <= RELATIVE_TOLERANCE * max(float(errors_a.max()), float(errors_b.max()))] = 0.0
    first, last = np.sign(lead[:, 0]), np.sign(lead[:, -1])
    if first[0] * last[0] >= 0:
        raise NotEstimable("no family is better at one end of the sizes and worse at the other")
    # Without a crossing, n* is above the sizes if the first leader stays ahead, else below them.
    beyond = np.where(first == first[0], np.inf, -np.inf)
    is_known = (first != 0) & (last != 0) & ((first == first[0]) | (last == last[0]))
    resamples = np.where(first * last < 0, _log_crossings(lead, grid), beyond)[is_known]
    return Crossover(
        num_train_images=estimate_in_range(
            resamples, lowest=float(grid[0]), highest=float(grid[-1]), num_draws=num_draws, level=level
        ),
        better_below="a" if first[0] > 0 else "b",
        between=(round(math.exp(grid[0])), round(math.exp(grid[-1]))),
        method=method,
        num_draws=num_draws,
    )


def _log_crossings(lead: Floats, grid: Floats) -> Floats:
    """Return the log images of the crossing, (rows,): the sign change at which the integral of `lead` peaks."""
    rows = np.arange(len(lead))
    oriented = np.where(lead[:, :1] >= 0, 1.0, -1.0) * lead
    index = np.minimum(np.argmax(np.cumsum(oriented, axis=1), axis=1), lead.shape[1] - 2)
    before, after = oriented[rows, index], oriented[rows, index + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(before > after, before / (before - after), 0.0)
    crossings: Floats = grid[index] + np.clip(share, 0.0, 1.0) * (grid[index + 1] - grid[index])
    return crossings
