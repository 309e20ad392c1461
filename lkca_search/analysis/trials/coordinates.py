"""Complete trials of one family on parallel axes: hyperparameters, training images, and the leading metric."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.trials.axes import Axis, count_axis, value_axis
from lkca_search.analysis.trials.training_curves import evenly_spaced
from lkca_search.records.objectives import rank_trials
from lkca_search.records.record import Record
from lkca_search.spec.configuration import SUBSET_NAMES, Scalar
from lkca_search.spec.domains import Fixed

SIZE = "training images"
"""Label of the axis with the size of the data."""
MAX_LINES = 300
"""Maximum number of trials of a family that are drawn."""
_MAX_MARKED = 8
"""Marked trials that a reader can tell apart."""
_LEAST = 2
"""Hyperparameters with several values that a family needs: one alone is compared better by its effect."""


@dataclass(frozen=True, kw_only=True)
class FamilyTrials:
    """Trials of a family with the axes of their hyperparameters and of the number of training images."""

    family: str
    trial_ids: tuple[str, ...]
    """Trials, the worst first."""
    axes: tuple[Axis, ...]
    values: tuple[float, ...]
    """Leading metric of each trial, in its unit."""
    hyperparameters: tuple[str, ...]
    num_complete: int
    """Complete trials of the family, drawn or not."""
    best: frozenset[str]
    """Best trial of each group."""
    groups: str
    """Groups with a best trial: `of each cell`, or larger ones if there are many."""


def family_trials(results: SearchResults) -> dict[str, FamilyTrials | NotEstimable]:
    """Return the trials of each family with complete trials, or the reason why there is no figure."""
    complete = [
        record
        for record in rank_trials(results.trials, results.spec.search)
        if math.isfinite(results.metric_value(record))
    ]
    families = [record.spec.configuration.family for record in results.trials]
    return {
        family: _family_trials(
            results, family, [record for record in complete if record.spec.configuration.family == family]
        )
        for family in dict.fromkeys(families)
    }


def _family_trials(results: SearchResults, family: str, ranked: Sequence[Record]) -> FamilyTrials | NotEstimable:
    if len(ranked) < 2:
        return NotEstimable(f"{len(ranked)} complete trials, 2 are needed" if ranked else "no trial is complete")
    names = [name for name in _searched_names(results) if len({_value(record, name) for record in ranked}) > 1]
    if len(names) < _LEAST:
        varied = f"only {names[0]} varies" if names else "no hyperparameter varies"
        return NotEstimable(f"{varied} among its complete trials")
    groups, kept = _best_of_groups(ranked)
    in_order = sorted(ranked, key=lambda record: (record.cell, record.number))
    drawn = _sample(kept, [record.trial_id for record in in_order], MAX_LINES)
    records = [record for record in reversed(ranked) if record.trial_id in drawn]
    return FamilyTrials(
        family=family,
        trial_ids=tuple(record.trial_id for record in records),
        axes=tuple(_axes(results, names, records)),
        values=tuple(results.metric_value(record) for record in records),
        hyperparameters=tuple(names),
        num_complete=len(ranked),
        best=frozenset(kept),
        groups=groups,
    )


def _best_of_groups(ranked: Sequence[Record]) -> tuple[str, set[str]]:
    """Return the best trial of each cell; of each size, or of all, if there are too many to see."""
    by_cell: dict[object, str] = {}
    by_size: dict[object, str] = {}
    for record in ranked:
        by_cell.setdefault(record.cell, record.trial_id)
        by_size.setdefault(record.facts and record.facts.num_train_images, record.trial_id)
    for name, best in (("of each cell", by_cell), ("of each number of training images", by_size)):
        if len(best) <= _MAX_MARKED:
            return name, set(best.values())
    return "of all", {ranked[0].trial_id}


def _sample(kept: Collection[str], items: Sequence[str], limit: int) -> set[str]:
    """Return all items that are kept, and evenly spaced ones of the others, at most `limit` in total if possible."""
    others = [item for item in items if item not in kept]
    room = limit - (len(items) - len(others))
    return {*kept, *(evenly_spaced(others, room) if room >= 2 else ())}


def _searched_names(results: SearchResults) -> list[str]:
    """Return the names of factors and searched parameters, without those that decide the images."""
    parameters = results.spec.parameters
    searched = [name for name, domain in parameters.items() if not isinstance(domain, Fixed)]
    return [name for name in (*results.spec.factors, *searched) if name not in (*SUBSET_NAMES, "family")]


def _axes(results: SearchResults, names: Sequence[str], records: Sequence[Record]) -> Iterator[Axis]:
    for name in names:
        yield value_axis(name, [_value(record, name) for record in records], results.spec.parameters.get(name))
    counts = [record.facts.num_train_images for record in records if record.facts]
    if len(set(counts)) > 1:
        yield count_axis(SIZE, counts)


def _value(record: Record, name: str) -> Scalar | None:
    value: Scalar | None = getattr(record.spec.configuration, name)
    return value
