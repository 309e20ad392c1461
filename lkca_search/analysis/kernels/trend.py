"""Change of a radius with the number of training images: one slope per draw, and an interval over draws.

The subsets of one draw are nested, so the sizes of a draw are not independent of each other. Draws are.
"""

import math
from collections.abc import Sequence

import numpy as np

from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean


def slope_per_tenfold(images: Sequence[int], values: Sequence[Floats], *, maximum: float = math.inf) -> Estimate:
    """Return the change of a value per tenfold number of training images, with a t interval over draws.

    Args:
        images: Training images of each size.
        values: Values at each size, (draws, seeds), NaN where missing. Seeds are averaged, then a line in the logarithm
            of the images is fitted per draw by least squares; draws with a single size are left out.
        maximum: Largest possible value. Values from 0 to it have no steeper lines, so the interval is cut there.

    Raises:
        NotEstimable: There are fewer than two sizes, or no draw has values at two sizes.
    """
    if len(set(images)) < 2:
        raise NotEstimable("there is a single size of the training data")
    logs = np.log10(np.asarray(images, dtype=np.float64))
    means = np.stack([_seed_means(each) for each in values], axis=1)
    lines = [_line(logs, row, maximum) for row in means if len(set(logs[np.isfinite(row)])) > 1]
    if not lines:
        raise NotEstimable("no draw has values at two sizes of the training data")
    slopes = np.array([slope for slope, _ in lines])
    steepest = float(np.mean([each for _, each in lines]))
    tolerance = RELATIVE_TOLERANCE * float(np.nanmax(np.abs(means)))
    return student_mean(slopes, tolerance=tolerance).within(-steepest, steepest)


def _seed_means(values: Floats) -> Floats:
    """Return the mean over the seeds with a value, (draws,); NaN for a draw without any."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    means: Floats = np.divide(sums, counts, where=counts > 0, out=np.full(len(values), np.nan))
    return means


def _line(logs: Floats, values: Floats, maximum: float) -> tuple[float, float]:
    """Return the slope of the line through the known values, and that of the steepest line through possible ones."""
    known = np.isfinite(values)
    centered = logs[known] - logs[known].mean()
    squares = float(centered @ centered)
    return float(centered @ values[known] / squares), maximum * float(centered[centered > 0].sum()) / squares
