"""Bootstrap over draws, with percentile intervals widened for small numbers of draws.

Draws are resampled with replacement; each keeps all of its seeds. The spread between draw means already contains the
spread between seeds, so resampling seeds as well would count it twice. Sources: Davison & Hinkley 1997, Bootstrap
Methods and their Application, section 3.8, the first of two strategies; Field & Welsh 2007, Bootstrapping clustered
data.

At 5 draws a plain 95% percentile interval covers only 83-84%: the resampled mean has (n - 1) / n of the variance, and 5
draws estimate the variance poorly. Percentiles further out (Hesterberg 2015, What Teachers Should Know About the
Bootstrap) do not help: even the range of 5 draws contains the mean in only 93.8%. Therefore the distance of each
percentile from the estimate is multiplied by a factor. The factor is calibrated (Loh 1987) so that the interval of the
mean of normal draws covers its level: 1.65 for 5 draws at 95%. Other statistics then cover 92-97% at 5 draws x 2 seeds
(`benchmarks/known_truth.py`). `scipy.stats.bootstrap` has no such correction, and it cannot share resampled draws
between families and sizes. Therefore this code is our own.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lkca_search.analysis.stats.estimate import Interval, check_level
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import t_quantile

NUM_RESAMPLES = 2000
MAX_CALIBRATED_DRAWS = 20
"""Largest number of draws with a simulated factor; above it, sqrt(n / (n - 1)) t / z is equal within 2%."""
CALIBRATION_SAMPLES = 10_000
CALIBRATION_CHUNK = 1000
"""Samples in memory at once."""
CALIBRATION_SEED = 20


def resample_draws(num_draws: int, *, num_resamples: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return draw indices with replacement, (resamples, draws). Use the same ones for all families and sizes."""
    return generator.integers(num_draws, size=(num_resamples, num_draws))


@lru_cache(maxsize=256)
def widening_factor(num_draws: int, level: float) -> float:
    """Return the factor by which the distances of percentiles from the estimate are multiplied."""
    check_level(level)
    if num_draws > MAX_CALIBRATED_DRAWS:
        normal = float(special.ndtri((1 + level) / 2))
        return math.sqrt(num_draws / (num_draws - 1)) * t_quantile(num_draws, level) / normal
    generator = np.random.default_rng(CALIBRATION_SEED)
    draws = resample_draws(num_draws, num_resamples=NUM_RESAMPLES, generator=generator)
    shares = (draws[:, :, None] == np.arange(num_draws)).mean(axis=1)  # (resamples, draws)
    needed = [
        _factors_needed(generator.standard_normal((CALIBRATION_CHUNK, num_draws)), shares, level)
        for _ in range(CALIBRATION_SAMPLES // CALIBRATION_CHUNK)
    ]
    return float(np.quantile(np.concatenate(needed), level))


def too_few_draws(num_draws: int, level: float) -> str | None:
    """Return the reason why so few draws give no bootstrap interval; None if they give one.

    A resample that repeats a single draw has no spread between draws. If the share of these resamples exceeds the tail
    of the interval, they alone can set its end: 11% of the resamples of 3 draws, and 1.6% of those of 4.
    """
    share = float(num_draws) ** (1 - num_draws)
    if share <= (1 - level) / 2:
        return None
    return f"too many resamples of {num_draws} draws have no spread for an interval at the level {level}"


def widened_bounds(
    values: Floats,
    resamples: Floats,
    *,
    num_draws: int,
    level: float,
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> tuple[Floats, Floats]:
    """Return lower and upper bounds of `values`, (...), from their `resamples`, (resamples, ...).

    Bounds are clipped to [minimum, maximum]. A resample is infinite if it sets no bound; a bound may then be infinite.
    """
    ends = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    bounds = np.clip(values + widening_factor(num_draws, level) * (ends - values), minimum, maximum)
    return bounds[0], bounds[1]


def widened_interval(value: float, resamples: Floats, *, num_draws: int, level: float) -> Interval:
    """Return the interval of one value from its resamples, (resamples,); an infinite end becomes None."""
    bounds = widened_bounds(np.array(value), resamples, num_draws=num_draws, level=level)
    lower, upper = (float(bound) if math.isfinite(bound) else None for bound in bounds)
    return Interval(lower=lower, upper=upper, level=level)


def _factors_needed(samples: Floats, shares: Floats, level: float) -> Floats:
    """Return the factor at which the interval of each sample's mean just contains 0, the true mean, (samples,).

    `samples` are (samples, draws). `shares` are (resamples, draws): the share of each draw in each resample.
    """
    means = samples @ shares.T
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=1, method="inverted_cdf")
    mean = samples.mean(axis=1)
    needed: Floats = np.where(mean > 0, mean / (mean - low), mean / (mean - high))
    return needed
