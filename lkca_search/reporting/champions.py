"""Champions of a round: one replicate per cell, and the best cell, chosen by validation images alone.

Test images decide nothing, not even which model is recommended: a model chosen by its test result would have a test
result that is too good.
"""

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import Round
from lkca_search.spec.cells import dataset_levels


@dataclass(frozen=True, kw_only=True)
class Champions:
    """Replicates that stand for the cells of a round."""

    replicates: Mapping[str, str]
    """Id of the replicate with the best validation value, by the key of its compared cell."""
    values: Mapping[str, float]
    """Mean validation value over the replicates of the best configuration, by the same key, in the metric's unit."""
    cells: Mapping[str | None, str]
    """Key of the cell with the best mean, by dataset; the dataset is None for a search with one."""


def choose_champions(results: SearchResults, sealed: Round, kept: Collection[str]) -> Champions:
    """Return the champions of a round among the replicates whose models are kept.

    The values are those of the leading metric on validation images, at the end of the training of each replicate. The
    mean of a cell is over the replicates of its best configuration. That value of the search's own trial would favor
    cells whose best trial was lucky. Ties go to the lower validation loss, then to the first in order.
    """
    by_cell: dict[str, list[Record]] = {}
    best = {pick.trial_id for pick in sealed.picks if pick.rank == 1}
    planned = {each.replicate_id for pick, each in sealed.replications() if pick.trial_id in best}
    for record in results.replicates:
        is_scored = record.state is State.COMPLETE and math.isfinite(results.metric_value(record))
        if record.trial_id in planned and is_scored:
            by_cell.setdefault(results.compared_cells[record.cell].key, []).append(record)
    chosen = {
        key: min((record for record in records if record.trial_id in kept), key=lambda each: _loss(results, each))
        for key, records in by_cell.items()
        if any(record.trial_id in kept for record in records)
    }
    means = {key: _mean_loss(results, records) for key, records in by_cell.items()}
    several = len(dataset_levels(results.spec)) > 1
    cells: dict[str | None, str] = {}
    for key in sorted(chosen, key=lambda key: means[key]):
        cells.setdefault(chosen[key].spec.configuration.dataset if several else None, key)
    return Champions(
        replicates={key: record.trial_id for key, record in chosen.items()},
        values={key: -results.metric.sign * loss for key, (loss, _) in means.items()},
        cells=cells,
    )


def _loss(results: SearchResults, record: Record) -> tuple[float, float]:
    """Return the validation value of a replicate, lower is better, and its validation loss."""
    return -results.metric.sign * results.metric_value(record), record.curve[-1].val_loss


def _mean_loss(results: SearchResults, records: Collection[Record]) -> tuple[float, float]:
    losses = [_loss(results, record) for record in records]
    return statistics.fmean(loss for loss, _ in losses), statistics.fmean(val_loss for _, val_loss in losses)
