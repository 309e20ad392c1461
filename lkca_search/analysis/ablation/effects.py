"""Marginal effect of each level of a hyperparameter, from differences within blocks.

A *block* is a combination of levels of all other factors, including the number of training images. All blocks are
evaluated on the same validation images, and a small training set is a part of a larger one. Blocks are therefore not
independent, and an average over blocks has no interval over blocks.

Repeats of the search (factor `draw`) have their own training images, sampler and seeds: they are the units if there are
any. Otherwise the units are the trials within blocks, if the sampler chose them without regard to earlier results. The
interval is then about other trials on the same images.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from lkca_search.analysis.ablation.levels import ParameterLevel
from lkca_search.analysis.ablation.observations import BlockKey, Observation, distinct_levels
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, Interval
from lkca_search.analysis.stats.student import student_mean
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.components import dependence_reason
from lkca_search.spec.factors import DRAW
from lkca_search.spec.sections import SearchSection

Unit = Literal["repeats", "trials"]
"""Units that an interval is over."""
NO_SPREAD = "all units have the same value, so there is no spread for an interval"


class MarginalEffect(FrozenModel):
    """Effect of one level of a hyperparameter in one family, in the unit of the metric (points for an accuracy)."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    effect: Estimate
    """Mean over blocks of: mean of this level minus the unweighted mean of all levels in the block."""
    difference_from_reference: Estimate | None
    """Mean difference from the reference level over the blocks that have both; None for the reference itself."""
    unit: Unit | None
    """Units that the intervals are over; None without an interval."""
    num_blocks: int
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Trials of one block with at least two levels."""

    draw: object
    """Draw of the block; None if the search was not repeated."""
    means: Mapping[int, float]
    """Mean value per level index."""
    counts: Mapping[int, int]
    """Trials per level index."""
    variance: float
    """Pooled variance of trials within levels; NaN if no level has two trials."""
    degrees: int
    """Degrees of freedom of the variance."""

    def contrast(self, weights: Mapping[int, float]) -> tuple[float, float]:
        """Return a weighted sum of level means, and its variance over trials."""
        value = sum(weight * self.means[index] for index, weight in weights.items())
        return value, self.variance * sum(weight**2 / self.counts[index] for index, weight in weights.items())


_Contrast = Callable[[_Block], Mapping[int, float]]
"""Weights of the levels of a block."""


def marginal_effects(
    family: str,
    name: str,
    reference: ParameterLevel,
    observations: Sequence[Observation],
    search: SearchSection,
    *,
    tolerance: float,
    bounds: tuple[float, float],
) -> Iterator[MarginalEffect]:
    """Yield the effect of each level that shares a block with another level.

    Differences up to `tolerance` are rounding errors, and they are within `bounds`.
    """
    blocks = list(_blocks(observations))
    for level in distinct_levels(observations):
        own = [block for block in blocks if level.index in block.means]
        matched = [block for block in own if reference.index in block.means and level != reference]
        if not own:
            continue
        effect = _average(own, _centered(level.index), search, tolerance).within(*bounds)
        difference = (
            _average(matched, _difference(level.index, reference.index), search, tolerance).within(*bounds)
            if matched
            else None
        )
        has_interval = effect.interval is not None or (difference is not None and difference.interval is not None)
        yield MarginalEffect(
            family=family,
            hyperparameter=name,
            level=level,
            effect=effect,
            difference_from_reference=difference,
            unit=_unit(own) if has_interval else None,
            num_blocks=len(own),
            num_trials=sum(observation.level.index == level.index for observation in observations),
        )


def _blocks(observations: Sequence[Observation]) -> Iterator[_Block]:
    groups: dict[BlockKey, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for observation in observations:
        groups[observation.block][observation.level.index].append(observation.value)
    for key, by_level in groups.items():
        if len(by_level) < 2:
            continue
        degrees = sum(len(values) - 1 for values in by_level.values())
        squares = sum(float(np.var(values)) * len(values) for values in by_level.values())
        yield _Block(
            draw=dict(key).get(DRAW),
            means={index: float(np.mean(values)) for index, values in by_level.items()},
            counts={index: len(values) for index, values in by_level.items()},
            variance=squares / degrees if degrees else math.nan,
            degrees=degrees,
        )


def _centered(level: int) -> _Contrast:
    return lambda block: {index: (index == level) - 1 / len(block.means) for index in block.means}


def _difference(level: int, reference: int) -> _Contrast:
    return lambda block: {level: 1.0, reference: -1.0}


def _unit(blocks: Sequence[_Block]) -> Unit:
    return "repeats" if len({block.draw for block in blocks}) > 1 else "trials"


def _average(blocks: Sequence[_Block], contrast: _Contrast, search: SearchSection, tolerance: float) -> Estimate:
    """Return the mean of a contrast over blocks, with an interval over repeats or over trials."""
    found = [block.contrast(contrast(block)) for block in blocks]
    if _unit(blocks) == "repeats":
        by_draw: dict[object, list[float]] = defaultdict(list)
        for block, (value, _) in zip(blocks, found, strict=True):
            by_draw[block.draw].append(value)
        estimate = student_mean(np.array([np.mean(values) for values in by_draw.values()]), tolerance=tolerance)
        return estimate if estimate.interval else estimate.model_copy(update={"reason": NO_SPREAD})
    mean = float(np.mean([value for value, _ in found]))
    if reason := dependence_reason(search.sampler.name):
        return Estimate(value=mean, reason=f"{reason}, and blocks share images")
    if search.pruner.name != "none":
        reason = f"pruner {search.pruner.name} leaves out trials by their results, and blocks share images"
        return Estimate(value=mean, reason=reason)
    if search.start:
        return Estimate(value=mean, reason="the space file gives the first trials, and blocks share images")
    if not all(block.degrees for block in blocks):
        return Estimate(value=mean, reason="a block has no level with two trials, and blocks share images")
    variances = np.array([variance for _, variance in found]) / len(blocks) ** 2
    error = math.sqrt(float(variances.sum()))
    if error <= tolerance:
        return Estimate(value=mean, reason=NO_SPREAD)
    # Satterthwaite's degrees of freedom: variances differ between blocks.
    degrees = float(variances.sum()) ** 2 / float((variances**2 / [block.degrees for block in blocks]).sum())
    half = float(special.stdtrit(degrees, (1 + CONFIDENCE_LEVEL) / 2)) * error
    return Estimate(value=mean, interval=Interval(lower=mean - half, upper=mean + half, level=CONFIDENCE_LEVEL))
