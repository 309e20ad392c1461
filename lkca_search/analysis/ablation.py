"""Effects of each hyperparameter on the leading metric, per family, from trials on validation images.

Kernel size, depth and width mean different things in different families, so nothing is pooled over families. A *block*
is a combination of levels of all other factors, including the number of training images. Effects are differences within
blocks, and their intervals are over blocks.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.analysis.stats.student import standard_error, student_mean, t_quantile
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SUBSET_NAMES, Scalar
from lkca_search.spec.metrics import MetricName

MAX_LEVELS = 8
"""Maximum number of levels of a hyperparameter; more distinct values are grouped into bins."""
NUM_BINS = 3
"""Bins of a hyperparameter with more distinct values."""
MIN_BLOCKS = 2
"""Blocks that an interval needs."""

BlockKey = tuple[tuple[str, Scalar], ...]
"""Levels of all other factors."""


class ParameterLevel(FrozenModel):
    """One value of a hyperparameter, or one bin of values."""

    label: str
    index: int
    """Index among the levels, from the smallest."""


class MarginalEffect(FrozenModel):
    """Effect of one level of a hyperparameter in one family, in the unit of the metric (points for an accuracy)."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    effect: Estimate
    """Mean over blocks of: mean of this level minus the unweighted mean of all levels in the block."""
    difference_from_reference: Estimate | None
    """Mean difference from the reference level over the blocks that have both; None for the reference itself."""
    num_blocks: int
    num_trials: int


class HeatMapEntry(FrozenModel):
    """Trials with one level and one number of training images; values in the unit of the metric."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    num_train_images: int
    best: float
    mean: float
    half_width: float | None
    """Half width of the 95% t interval of the mean over trials; None for a single trial."""
    num_trials: int


class BestLevel(FrozenModel):
    """Best level of a hyperparameter at one number of training images."""

    family: str
    hyperparameter: str
    num_train_images: int
    observed: ParameterLevel
    """Level of the best trial."""
    bootstrap_shares: tuple[float, ...]
    """Share of bootstrap samples of the trials in which each level has the best trial, by level index."""
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """All results on one hyperparameter in one family."""

    family: str
    hyperparameter: str
    metric: MetricName
    """Leading metric of the search; its direction decides which trial is best."""
    levels: tuple[ParameterLevel, ...]
    reference: ParameterLevel
    """Level that the others are compared with: the base level of a factor, else the smallest level that was tried."""
    effects: tuple[MarginalEffect, ...]
    heat_map: tuple[HeatMapEntry, ...]
    best_levels: tuple[BestLevel, ...]


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """One complete trial of a family."""

    level: ParameterLevel
    """Level of the hyperparameter."""
    block: BlockKey
    num_train_images: int
    value: float
    """Leading metric, in its unit."""


def compute_ablations(results: SearchResults, *, generator: np.random.Generator) -> tuple[Ablation, ...]:
    """Return one ablation per family and hyperparameter with at least two values among the family's complete trials."""
    names = [name for name in (*results.spec.factors, *results.spec.parameters) if name not in SUBSET_NAMES]
    complete = [record for record in results.trials if record.state is State.COMPLETE and record.facts]
    families = dict.fromkeys(record.spec.configuration.family for record in complete)
    return tuple(
        ablation
        for family in families
        for name in names
        if name != "family"
        and (
            ablation := _ablation(
                results,
                family,
                name,
                [record for record in complete if record.spec.configuration.family == family],
                generator,
            )
        )
    )


def _ablation(
    results: SearchResults, family: str, name: str, trials: Sequence[Record], generator: np.random.Generator
) -> Ablation | None:
    with_value = [record for record in trials if getattr(record.spec.configuration, name) is not None]
    if len({getattr(record.spec.configuration, name) for record in with_value}) < 2:
        return None
    observations = _observations(results, name, with_value)
    by_index = {observation.level.index: observation.level for observation in observations}
    levels = tuple(by_index[index] for index in sorted(by_index))
    base = _label(results.base_levels[name]) if name in results.base_levels else None
    reference = next((level for level in levels if level.label == base), levels[0])
    tolerance, sign = RELATIVE_TOLERANCE * results.metric.scale, results.metric.sign
    return Ablation(
        family=family,
        hyperparameter=name,
        metric=results.metric_name,
        levels=levels,
        reference=reference,
        effects=tuple(_effects(family, name, levels, reference, observations, tolerance)),
        heat_map=tuple(_heat_map(family, name, observations, sign)),
        best_levels=tuple(_best_levels(family, name, levels, observations, sign, generator)),
    )


def _observations(results: SearchResults, name: str, trials: Sequence[Record]) -> list[_Observation]:
    """Return one observation per trial; all trials have the hyperparameter."""
    blocks = {
        cell.key: tuple((key, value) for key, value in cell.levels.items() if key != name) for cell in results.cells
    }
    levels = _levels([getattr(record.spec.configuration, name) for record in trials])
    return [
        _Observation(
            level=level,
            block=blocks[record.cell],
            num_train_images=record.facts.num_train_images,
            value=results.metric_value(record),
        )
        for record, level in zip(trials, levels, strict=True)
        if record.facts
    ]


def _levels(values: Sequence[Scalar]) -> list[ParameterLevel]:
    """Return the level of each value: the value itself, or its bin if there are more than MAX_LEVELS distinct values.

    Bins have equal numbers of values.
    """
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if len(distinct) <= MAX_LEVELS:
        return [ParameterLevel(label=_label(value), index=distinct.index(value)) for value in values]
    numbers = np.array([float(value) for value in values])
    edges = np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1))
    bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, NUM_BINS - 1).tolist()
    labels = [f"{edges[index]:.2g} to {edges[index + 1]:.2g}" for index in range(NUM_BINS)]
    return [ParameterLevel(label=labels[index], index=index) for index in bins]


def _label(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _effects(
    family: str,
    name: str,
    levels: Sequence[ParameterLevel],
    reference: ParameterLevel,
    observations: Sequence[_Observation],
    tolerance: float,
) -> Iterator[MarginalEffect]:
    compared = [means for means in _block_means(observations).values() if len(means) > 1]
    for level in levels:
        blocks = [means for means in compared if level.index in means]
        centered = [means[level.index] - float(np.mean([*means.values()])) for means in blocks]
        matched = [means[level.index] - means[reference.index] for means in blocks if reference.index in means]
        if centered:
            has_difference = matched and level != reference
            yield MarginalEffect(
                family=family,
                hyperparameter=name,
                level=level,
                effect=_mean_over_blocks(centered, tolerance),
                difference_from_reference=_mean_over_blocks(matched, tolerance) if has_difference else None,
                num_blocks=len(centered),
                num_trials=sum(observation.level.index == level.index for observation in observations),
            )


def _block_means(observations: Sequence[_Observation]) -> Mapping[BlockKey, dict[int, float]]:
    """Return the mean value per block and level index."""
    values_by_block: dict[BlockKey, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for observation in observations:
        values_by_block[observation.block][observation.level.index].append(observation.value)
    return {
        block: {index: float(np.mean(values)) for index, values in by_level.items()}
        for block, by_level in values_by_block.items()
    }


def _heat_map(family: str, name: str, observations: Sequence[_Observation], sign: int) -> Iterator[HeatMapEntry]:
    groups: dict[tuple[int, int], list[_Observation]] = defaultdict(list)
    for observation in observations:
        groups[observation.level.index, observation.num_train_images].append(observation)
    for (_, num_train_images), group in sorted(groups.items()):
        values = np.array([observation.value for observation in group])
        half = t_quantile(len(values), CONFIDENCE_LEVEL) * standard_error(values) if len(values) > 1 else None
        yield HeatMapEntry(
            family=family,
            hyperparameter=name,
            level=group[0].level,
            num_train_images=num_train_images,
            best=float(values[(sign * values).argmax()]),
            mean=float(values.mean()),
            half_width=half,
            num_trials=len(values),
        )


def _best_levels(
    family: str,
    name: str,
    levels: Sequence[ParameterLevel],
    observations: Sequence[_Observation],
    sign: int,
    generator: np.random.Generator,
) -> Iterator[BestLevel]:
    by_size: dict[int, list[_Observation]] = defaultdict(list)
    for observation in observations:
        by_size[observation.num_train_images].append(observation)
    for num_train_images, group in sorted(by_size.items()):
        scores = sign * np.array([observation.value for observation in group])
        indices = np.array([observation.level.index for observation in group])
        samples = generator.integers(len(group), size=(NUM_RESAMPLES, len(group)))
        best = indices[samples[np.arange(NUM_RESAMPLES), scores[samples].argmax(axis=1)]]
        yield BestLevel(
            family=family,
            hyperparameter=name,
            num_train_images=num_train_images,
            observed=group[int(scores.argmax())].level,
            bootstrap_shares=tuple(float((best == level.index).mean()) for level in levels),
            num_trials=len(group),
        )


def _mean_over_blocks(values: Sequence[float], tolerance: float) -> Estimate:
    array = np.array(values)
    if len(array) < MIN_BLOCKS:
        return Estimate(value=float(array.mean()), reason="a single block has no spread to make an interval of")
    estimate = student_mean(array, tolerance=tolerance)
    if estimate.interval is None:
        reason = "every block has the same value, so there is no spread to make an interval of"
        return estimate.model_copy(update={"reason": reason})
    return estimate
