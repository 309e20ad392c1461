"""Ablation views of one family's trials, on validation images: what each name does, and where its best value lies.

Kernel size, depth and width do not mean the same in two families, so nothing is pooled over families. A *block* is a
combination of the levels of all other factors, the size of the data among them: what a name does is looked at within
blocks, and the blocks are the units of its intervals.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.scores import PERCENT
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE
from lkca_search.analysis.stats.student import standard_error, student_mean, t_quantile
from lkca_search.records.record import Record, State
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SUBSET_NAMES, Scalar

MAX_LEVELS = 8
"""Distinct values of a name beyond which they are put into bins."""
NUM_BINS = 3
MIN_BLOCKS = 2

BlockKey = tuple[tuple[str, Scalar], ...]


class ParameterLevel(FrozenModel):
    """A value of a name, or a bin of them."""

    label: str
    index: int
    """Its place among the levels, from the smallest."""


class MarginalEffect(FrozenModel):
    """What one level of a name does in one family, in points of validation accuracy."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    effect: Estimate
    """Mean over blocks of the level's mean less that of all levels in the block, each level weighing the same."""
    difference_from_reference: Estimate | None
    """The same against the reference level, in blocks that have both: matched pairs. None for that level itself."""
    num_blocks: int
    num_trials: int


class HeatMapEntry(FrozenModel):
    """One field of a name x images heat map, in percent of validation accuracy."""

    family: str
    hyperparameter: str
    level: ParameterLevel
    num_train_images: int
    best: float
    mean: float
    half_width: float | None
    """Of the 95% t interval of the mean, over trials; None for a single trial."""
    num_trials: int


class BestLevel(FrozenModel):
    """Where the best value of a name lies at one size of the data."""

    family: str
    hyperparameter: str
    num_train_images: int
    observed: ParameterLevel
    """Of the best trial."""
    bootstrap_shares: tuple[float, ...]
    """Of the bootstrap samples of trials, the share in which each level holds the best; by the levels' places."""
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """All views of one name in one family."""

    family: str
    hyperparameter: str
    levels: tuple[ParameterLevel, ...]
    reference: ParameterLevel
    """What the others are held against: a factor's base level, else the smallest that was tried."""
    effects: tuple[MarginalEffect, ...]
    heat_map: tuple[HeatMapEntry, ...]
    best_levels: tuple[BestLevel, ...]


def compute_ablations(results: SearchResults, *, generator: np.random.Generator) -> tuple[Ablation, ...]:
    """Every name that takes at least two values in a family's complete trials, family by family."""
    names = [name for name in (*results.spec.factors, *results.spec.parameters) if name not in SUBSET_NAMES]
    complete = [record for record in results.trials if record.state is State.COMPLETE and record.facts]
    families = dict.fromkeys(record.spec.configuration.family for record in complete)
    return tuple(
        found
        for family in families
        for name in names
        if name != "family"
        and (
            found := _ablation(
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
    given = [record for record in trials if getattr(record.spec.configuration, name) is not None]
    values = [getattr(record.spec.configuration, name) for record in given]
    if len(set(values)) < 2:
        return None
    placed = _levels(values)
    levels = tuple(sorted({level.index: level for level in placed}.values(), key=lambda level: level.index))
    pairs = list(zip(given, placed, strict=True))
    base = _label(results.base[name]) if name in results.base else None
    reference = next((level for level in levels if level.label == base), levels[0])
    return Ablation(
        family=family,
        hyperparameter=name,
        levels=levels,
        reference=reference,
        effects=tuple(_effects(results, family, name, levels, reference, pairs)),
        heat_map=tuple(_heat_map(family, name, pairs)),
        best_levels=tuple(_best_levels(family, name, levels, pairs, generator)),
    )


def _levels(values: Sequence[Scalar]) -> list[ParameterLevel]:
    """The level of each value: the value itself, or where there are many distinct numbers a bin of as many each."""
    distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    if len(distinct) <= MAX_LEVELS:
        return [ParameterLevel(label=_label(value), index=distinct.index(value)) for value in values]
    numbers = np.array([float(value) for value in values])
    edges = np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, NUM_BINS - 1)
    labels = [f"{edges[place]:.2g} to {edges[place + 1]:.2g}" for place in range(NUM_BINS)]
    return [ParameterLevel(label=labels[place], index=int(place)) for place in places]


def _label(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _effects(
    results: SearchResults,
    family: str,
    hyperparameter: str,
    levels: Sequence[ParameterLevel],
    reference: ParameterLevel,
    pairs: Sequence[tuple[Record, ParameterLevel]],
) -> Iterator[MarginalEffect]:
    means = _block_means(results, hyperparameter, pairs)
    compared = [found for found in means.values() if len(found) > 1]
    for level in levels:
        own = [found for found in compared if level.index in found]
        centered = [found[level.index] - float(np.mean([*found.values()])) for found in own]
        matched = [found[level.index] - found[reference.index] for found in own if reference.index in found]
        if centered:
            yield MarginalEffect(
                family=family,
                hyperparameter=hyperparameter,
                level=level,
                effect=_mean(centered),
                difference_from_reference=_mean(matched) if matched and level != reference else None,
                num_blocks=len(centered),
                num_trials=sum(other.index == level.index for _, other in pairs),
            )


def _block_means(
    results: SearchResults, name: str, pairs: Sequence[tuple[Record, ParameterLevel]]
) -> Mapping[BlockKey, dict[int, float]]:
    """Mean accuracy of each level in each block."""
    cells = {
        cell.key: tuple((key, value) for key, value in cell.levels.items() if key != name) for cell in results.cells
    }
    found: dict[BlockKey, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record, level in pairs:
        found[cells[record.cell]][level.index].append(_accuracy(record))
    return {block: {place: float(np.mean(values)) for place, values in inner.items()} for block, inner in found.items()}


def _heat_map(family: str, name: str, pairs: Sequence[tuple[Record, ParameterLevel]]) -> Iterator[HeatMapEntry]:
    grouped: dict[tuple[int, int], list[tuple[Record, ParameterLevel]]] = defaultdict(list)
    for record, level in pairs:
        assert record.facts is not None
        grouped[level.index, record.facts.num_train_images].append((record, level))
    for (_, images), inner in sorted(grouped.items()):
        values = np.array([_accuracy(record) for record, _ in inner])
        half = t_quantile(len(values), CONFIDENCE_LEVEL) * standard_error(values) if len(values) > 1 else None
        yield HeatMapEntry(
            family=family,
            hyperparameter=name,
            level=inner[0][1],
            num_train_images=images,
            best=float(values.max()),
            mean=float(values.mean()),
            half_width=half,
            num_trials=len(values),
        )


def _best_levels(
    family: str,
    hyperparameter: str,
    levels: Sequence[ParameterLevel],
    pairs: Sequence[tuple[Record, ParameterLevel]],
    generator: np.random.Generator,
) -> Iterator[BestLevel]:
    by_size: dict[int, list[tuple[Record, ParameterLevel]]] = defaultdict(list)
    for record, level in pairs:
        assert record.facts is not None
        by_size[record.facts.num_train_images].append((record, level))
    for images, inner in sorted(by_size.items()):
        accuracies = np.array([_accuracy(record) for record, _ in inner])
        places = np.array([level.index for _, level in inner])
        picks = generator.integers(len(inner), size=(NUM_RESAMPLES, len(inner)))
        best = places[picks[np.arange(NUM_RESAMPLES), accuracies[picks].argmax(axis=1)]]
        yield BestLevel(
            family=family,
            hyperparameter=hyperparameter,
            num_train_images=images,
            observed=inner[int(accuracies.argmax())][1],
            bootstrap_shares=tuple(float((best == level.index).mean()) for level in levels),
            num_trials=len(inner),
        )


def _accuracy(record: Record) -> float:
    return PERCENT * record.curve[-1].val_accuracy


def _mean(values: Sequence[float]) -> Estimate:
    array = np.array(values)
    if len(array) < MIN_BLOCKS:
        return Estimate(value=float(array.mean()), reason="a single block has no spread to make an interval of")
    return student_mean(array, tolerance=RELATIVE_TOLERANCE * PERCENT)
