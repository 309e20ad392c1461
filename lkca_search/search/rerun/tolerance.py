"""Tolerance of a rerun: the interval of another training of the same configuration, from the spread of replicates.

A training whose rounding differs by one bit ends like one with another seed. So the values of trainings that differ by
their seed are the scale on which a repeat that is not identical is judged.
"""

import math
from collections.abc import Collection, Iterable
from statistics import fmean, variance

from scipy.stats import t

from lkca_search.records.rerun import Tolerance
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import METRICS, OwnMetric, find_metric, name_of

LEVEL = 0.95
MIN_DEGREES_OF_FREEDOM = 2
"""Smallest number of degrees of freedom: with one, an interval would be 25 standard deviations wide."""


NO_SPREAD = 1e-12
"""Spread up to this share of the largest value is a rounding error, so the values are equal."""
WIDE = 0.5
"""Share of all possible values from which on an interval is called too wide to decide anything."""
Bounds = tuple[float, float]
"""Smallest and largest possible value of a metric; infinite if there is none."""


class ReplicateValue(FrozenModel):
    """Value of the compared metric of one replicate of the repeated configuration."""

    draw: int
    seed: int
    value: float


def tolerance_of_repeat(recorded: float, replicates: Collection[ReplicateValue]) -> Tolerance | str:
    """Return the interval of a training on the same draw, around the recorded value; a reason if there is none.

    The recorded value of a best trial was selected, so trainings with other seeds tend to be worse: see
    `tolerance_of_fresh`.

    The difference of two trainings has a variance of twice that of one. The spread is that of seeds within a draw,
    pooled over draws; if no draw has several seeds, it is that of draws and seeds, which is wider.
    """
    by_draw = _by_draw(replicates)
    freedom = sum(len(values) - 1 for values in by_draw)
    if freedom >= MIN_DEGREES_OF_FREEDOM:
        spread, deviation = "seeds within a draw", math.sqrt(_variance_within(by_draw))
    else:
        freedom = len(by_draw) - 1
        if freedom < MIN_DEGREES_OF_FREEDOM:
            return _too_few(replicates)
        spread, deviation = "draws and seeds", math.sqrt(_variance_of_one(by_draw))
    return _interval(recorded, deviation * math.sqrt(2), freedom, replicates, spread, around="the recorded value")


def tolerance_of_fresh(draw: int, replicates: Collection[ReplicateValue]) -> Tolerance | str:
    """Return the prediction interval of a training with a fresh seed on a draw; a reason if there is none.

    Its center is a mean of replicates, which were not selected by their values. On a draw with several of them, that is
    their mean, with the spread of seeds. Otherwise it is the mean of all, with the spread of draws and seeds.
    """
    by_draw = _by_draw(replicates)
    freedom = sum(len(values) - 1 for values in by_draw)
    own = [each.value for each in replicates if each.draw == draw]
    if len(own) > 1 and freedom >= MIN_DEGREES_OF_FREEDOM:
        deviation = math.sqrt(_variance_within(by_draw) * (1 + 1 / len(own)))
        around = f"the mean of the replicates on draw {draw}"
        return _interval(fmean(own), deviation, freedom, replicates, "seeds within a draw", around=around)
    return _tolerance_of_new_draw(replicates)


def _tolerance_of_new_draw(replicates: Collection[ReplicateValue]) -> Tolerance | str:
    """Return the prediction interval of a training on another draw, around the mean of the replicates."""
    by_draw = _by_draw(replicates)
    freedom = len(by_draw) - 1
    if freedom < MIN_DEGREES_OF_FREEDOM:
        return _too_few(replicates)
    means = [fmean(values) for values in by_draw]
    deviation = math.sqrt(_variance_of_one(by_draw) + variance(means) / len(means))
    around = "the mean of the replicates"
    return _interval(fmean(means), deviation, freedom, replicates, "draws and seeds", around=around)


def bounds_of(metric: str, choices: Iterable[str | OwnMetric]) -> Bounds:
    """Return the bounds of a metric, as its values are recorded: 0 to 1 for an accuracy.

    `choices` are the metrics of the training, among which own ones are found.
    """
    found = next((find_metric(choice) for choice in choices if name_of(choice) == metric), METRICS.get(metric))
    return (-math.inf, math.inf) if found is None else (found.bounds[0] / found.scale, found.bounds[1] / found.scale)


def cut_to_bounds(tolerance: Tolerance, bounds: Bounds) -> Tolerance:
    """Return the interval without values that the metric cannot have."""
    cut = {"low": max(tolerance.low, bounds[0]), "high": min(tolerance.high, bounds[1])}
    return tolerance.model_copy(update=cut)


def describe_tolerance(tolerance: Tolerance, bounds: Bounds) -> str:
    """Return the interval and its source as text, and state if it is too wide to decide anything."""
    around = f" around {tolerance.around}" if tolerance.around else ""
    interval = f"95% interval of another training {tolerance.low:.4f} to {tolerance.high:.4f}{around}"
    replicates = f"{tolerance.num_replicates} replicates on {tolerance.num_draws} draws"
    text = f"{interval}, from the spread over {tolerance.spread} of {replicates}"
    if tolerance.high - tolerance.low < WIDE * (bounds[1] - bounds[0]) or math.isinf(bounds[1] - bounds[0]):
        return text
    share = (tolerance.high - tolerance.low) / (bounds[1] - bounds[0])
    return f"{text}; it holds {share:.0%} of all possible values, so it decides nothing: more replicates narrow it"


def _variance_within(by_draw: Collection[list[float]]) -> float:
    """Return the variance of seeds within a draw, pooled over the draws with several."""
    several = [values for values in by_draw if len(values) > 1]
    squares = sum((len(values) - 1) * variance(values) for values in several)
    return squares / sum(len(values) - 1 for values in several)


def _variance_of_one(by_draw: Collection[list[float]]) -> float:
    """Return the variance of one training over draws and seeds, from the means of draws and the spread within them."""
    several = [values for values in by_draw if len(values) > 1]
    within = fmean(variance(values) for values in several) if several else 0.0
    seeds = len(by_draw) / sum(1 / len(values) for values in by_draw)
    return variance([fmean(values) for values in by_draw]) + within * (1 - 1 / seeds)


def _interval(
    center: float, deviation: float, freedom: int, replicates: Collection[ReplicateValue], spread: str, *, around: str
) -> Tolerance | str:
    if deviation <= NO_SPREAD * max(abs(each.value) for each in replicates):
        return f"no 95% interval: {_count(replicates)} have no spread over {spread}"
    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * deviation
    return Tolerance(
        low=center - half,
        high=center + half,
        num_replicates=len(replicates),
        num_draws=len(_by_draw(replicates)),
        degrees_of_freedom=freedom,
        spread=spread,
        around=around,
    )


def _by_draw(replicates: Collection[ReplicateValue]) -> list[list[float]]:
    draws = sorted({replicate.draw for replicate in replicates})
    return [[each.value for each in replicates if each.draw == draw] for draw in draws]


def _too_few(replicates: Collection[ReplicateValue]) -> str:
    return f"too few replicates for a tolerance: {_count(replicates)}, at least 3 draws or 2 further seeds are needed"


def _count(replicates: Collection[ReplicateValue]) -> str:
    return f"{len(replicates)} replicates on {len(_by_draw(replicates))} draws"
