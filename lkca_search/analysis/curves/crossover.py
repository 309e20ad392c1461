"""The crossover n*: the number of training images at which the lead passes from one family to the other.

There is one if the family with the smaller error at the smallest common size is not the one at the largest. Curves
that cross several times, as raw means do where they run close, have it where the leads before and after it are largest:
n* is the crossing at which the area between the curves, images on a logarithmic axis, turns. It lies within the
measured sizes; the number has no canonical source.
"""

import math
from typing import Literal

import numpy as np

from lkca_search.analysis.curves.data_efficiency import LEAST_LOG, Reading, measured_range, read_curve
from lkca_search.analysis.curves.learning_curve import LearningCurve, draws_in_common
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widened_interval
from lkca_search.analysis.stats.estimate import LEVEL, Estimate, Interval, check_level
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import NO_SPREAD
from lkca_search.spec.base import FrozenModel

Leader = Literal["a", "b"]


class Crossover(FrozenModel):
    """Where the lead passes from one family to the other, if it does."""

    num_train_images: Estimate | None
    """n*; None where the leader at the smallest common size leads at the largest, too. An open end of the interval: too
    many resamples have the same leader throughout for that side to be told."""
    first_leader: Leader
    """The family with the smaller error at the smallest common size."""
    last_leader: Leader
    """The same at the largest."""
    share: float
    """Share of the bootstrap samples in which the lead passes, in this direction if there is a crossover."""
    reading: Reading
    num_draws: int


def crossover(
    curve_a: LearningCurve,
    curve_b: LearningCurve,
    *,
    generator: np.random.Generator,
    reading: Reading = "interpolated",
    level: float = LEVEL,
    num_resamples: int = NUM_RESAMPLES,
) -> Crossover:
    """The crossover of two curves, with a paired bootstrap interval over draws, widened in its logarithm.

    A resample in which one family leads throughout puts n* beyond the sizes measured, on the side where that family
    would lose its lead. Where a crossover was found the interval covers 92-94% at 5 draws x 2 seeds. Refusal for fewer
    than 2 common draws, for curves without a common range of images, and as `power_law` for the fitted ones.
    """
    check_level(level)
    errors_a, errors_b = draws_in_common(curve_a, curve_b)
    num_draws = errors_a.shape[1]
    draws = resample_draws(num_draws, num_resamples=num_resamples, generator=generator)
    grid = measured_range(curve_a, curve_b)
    lead = read_curve(curve_b, errors_b, draws, grid, reading=reading)
    lead -= read_curve(curve_a, errors_a, draws, grid, reading=reading)  # above 0 where A leads
    first, last = lead[:, 0] >= 0, lead[:, -1] > 0
    passes = first != last
    direction = passes & (first == first[0])
    logs = _log_crossings(lead, grid)
    found = None
    if passes[0]:
        ahead = np.where(first == first[0], np.inf, -np.inf)  # the first leader leads throughout, or the last does
        resamples = np.where(direction, logs, ahead)[direction | ~passes]
        found = _estimate(float(logs[0]), resamples, grid, num_draws=num_draws, level=level)
    return Crossover(
        num_train_images=found,
        first_leader="a" if first[0] else "b",
        last_leader="a" if last[0] else "b",
        share=float((direction if passes[0] else passes)[1:].mean()),
        reading=reading,
        num_draws=num_draws,
    )


def _log_crossings(lead: Floats, grid: Floats) -> Floats:
    """Where the lead, (rows, n), passes for good, (rows,): the sign change at which its integral turns."""
    rows = np.arange(len(lead))
    oriented = np.where(lead[:, :1] >= 0, 1.0, -1.0) * lead
    place = np.minimum(np.argmax(np.cumsum(oriented, axis=1), axis=1), lead.shape[1] - 2)
    before, after = oriented[rows, place], oriented[rows, place + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(before > after, before / (before - after), 0.0)
    crossings: Floats = grid[place] + np.clip(share, 0.0, 1.0) * (grid[place + 1] - grid[place])
    return crossings


def _estimate(value: float, resamples: Floats, grid: Floats, *, num_draws: int, level: float) -> Estimate:
    """n* from its logarithm, with the ends of its interval open where they leave the sizes measured."""
    if float(np.abs(resamples - value).max()) <= LEAST_LOG:
        return Estimate(value=math.exp(value), reason=NO_SPREAD)
    ends = widened_interval(value, resamples, num_draws=num_draws, level=level)
    lower = None if ends.lower is None or ends.lower < grid[0] else math.exp(ends.lower)
    upper = None if ends.upper is None or ends.upper > grid[-1] else math.exp(ends.upper)
    return Estimate(value=math.exp(value), interval=Interval(lower=lower, upper=upper, level=level))
