"""Complete trials of one family, as the analysis of one hyperparameter needs them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lkca_search.analysis.ablation.levels import ParameterLevel, assign_levels
from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Fixed

BlockKey = tuple[tuple[str, Scalar], ...]
"""Levels of all factors but one."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One complete trial of a family, which has the hyperparameter."""

    level: ParameterLevel
    """Level of the hyperparameter."""
    block: BlockKey
    """Levels of all other factors."""
    num_train_images: int
    trial_id: str
    value: float
    """Leading metric, in its unit."""


def observe(results: SearchResults, name: str, trials: Sequence[Record]) -> list[Observation]:
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
            num_train_images=record.facts.num_train_images,
            trial_id=record.trial_id,
            value=results.metric_value(record),
        )
        for record, level in zip(with_value, levels, strict=True)
        if record.facts
    ]


def distinct_levels(observations: Sequence[Observation]) -> tuple[ParameterLevel, ...]:
    """Return the levels of the observations, from the smallest."""
    by_index = {observation.level.index: observation.level for observation in observations}
    return tuple(by_index[index] for index in sorted(by_index))
