"""Complete trials of one family, as the analysis of one hyperparameter needs them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lkca_search.analysis.ablation.levels import ParameterLevel, assign_levels, is_binned
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SIZE_NAMES, Scalar
from lkca_search.spec.domains import Fixed

BlockKey = tuple[tuple[str, Scalar], ...]
"""Levels of all factors but one."""


class DataSize(FrozenModel):
    """Number of training images, or a range of numbers if the size is searched on a range."""

    smallest: int
    largest: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One complete trial of a family, which has the hyperparameter."""

    level: ParameterLevel
    """Level of the hyperparameter."""
    block: BlockKey
    """Levels of all other factors."""
    size: DataSize
    trial_id: str
    value: float
    """Leading metric, in its unit."""


def assign_sizes(results: SearchResults, trials: Sequence[Record]) -> dict[str, DataSize]:
    """Return the size of each complete trial, by its id; a size that is searched on a range has three bins."""
    numbers = {record.trial_id: record.facts.num_train_images for record in trials if record.facts}
    for name in SIZE_NAMES:
        domain = results.spec.parameters.get(name)
        if is_binned(domain):
            levels = assign_levels([getattr(record.spec.configuration, name) for record in trials], domain)
            groups: dict[int, list[int]] = defaultdict(list)
            for record, level in zip(trials, levels, strict=True):
                groups[level.index].append(numbers[record.trial_id])
            bins = {index: DataSize(smallest=min(group), largest=max(group)) for index, group in groups.items()}
            return {record.trial_id: bins[level.index] for record, level in zip(trials, levels, strict=True)}
    return {trial_id: DataSize(smallest=number, largest=number) for trial_id, number in numbers.items()}


def observe(
    results: SearchResults, name: str, trials: Sequence[Record], sizes: Mapping[str, DataSize]
) -> list[Observation]:
    """Return one observation per trial that has the hyperparameter; none if it is a fixed value."""
    domain = results.spec.parameters.get(name)
    if isinstance(domain, Fixed):
        return []
    with_value = [record for record in trials if getattr(record.spec.configuration, name) is not None]
    levels = assign_levels([getattr(record.spec.configuration, name) for record in with_value], domain)
    blocks = {
        cell.key: tuple((key, value) for key, value in cell.levels.items() if key != name) for cell in results.cells
    }
    return [
        Observation(
            level=level,
            block=blocks[record.cell],
            size=sizes[record.trial_id],
            trial_id=record.trial_id,
            value=results.metric_value(record),
        )
        for record, level in zip(with_value, levels, strict=True)
    ]


def distinct_levels(observations: Sequence[Observation]) -> tuple[ParameterLevel, ...]:
    """Return the levels of the observations, from the smallest."""
    by_index = {observation.level.index: observation.level for observation in observations}
    return tuple(by_index[index] for index in sorted(by_index))


def distinct_sizes(observations: Sequence[Observation]) -> list[DataSize]:
    """Return the sizes of the observations, from the smallest."""
    return sorted({observation.size for observation in observations}, key=lambda size: size.smallest)
