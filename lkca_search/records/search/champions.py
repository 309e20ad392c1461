"""Champions of a confirmation: one replicate per cell, and the best cell, chosen by validation images alone.

The champion is the model of a search: its alias in MLflow, and what `predict`, `export` and `rerun` take by its name.
Test images decide nothing, not even which model is recommended: a model chosen by its test result would have a test
result that is too good.
"""

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State
from lkca_search.records.rounds import Round, scan_rounds
from lkca_search.spec.cells import compared_cells, dataset_levels
from lkca_search.spec.search_spec import SearchSpec


@dataclass(frozen=True, kw_only=True)
class Champions:
    """Replicates that stand for the cells of a round."""

    replicates: Mapping[str, str]
    """Id of the replicate with the best validation value, by the key of its compared cell."""
    values: Mapping[str, float]
    """Mean validation value over the replicates of the best configuration, by the same key, in the metric's unit."""
    cells: Mapping[str | None, str]
    """Key of the cell with the best mean, by dataset; the dataset is None for a search with one."""


def choose_champions(spec: SearchSpec, replicates: Sequence[Record], sealed: Round, kept: Collection[str]) -> Champions:
    """Return the champions of a round among the replicates whose models are kept.

    The values are those of the leading metric on validation images, at the end of the training of each replicate. The
    mean of a cell is over the replicates of its best configuration. That value of the search's own trial would favor
    cells whose best trial was lucky. Ties go to the lower validation loss, then to the first in order.
    """
    by_cell: dict[str, list[Record]] = {}
    best = {pick.trial_id for pick in sealed.picks if pick.rank == 1}
    planned = {each.replicate_id for pick, each in sealed.replications() if pick.trial_id in best}
    compared = compared_cells(spec)
    for record in replicates:
        is_planned = record.trial_id in planned and record.state is State.COMPLETE
        if is_planned and math.isfinite(_loss(spec, record)[0]):
            by_cell.setdefault(compared[record.cell].key, []).append(record)
    chosen = {
        key: min((record for record in records if record.trial_id in kept), key=lambda each: _loss(spec, each))
        for key, records in by_cell.items()
        if any(record.trial_id in kept for record in records)
    }
    means = {key: _mean_loss(spec, records) for key, records in by_cell.items()}
    several = len(dataset_levels(spec)) > 1
    cells: dict[str | None, str] = {}
    for key in sorted(chosen, key=lambda key: means[key]):
        cells.setdefault(chosen[key].spec.configuration.dataset if several else None, key)
    return Champions(
        replicates={key: record.trial_id for key, record in chosen.items()},
        values={key: -spec.search.definitions[0].sign * loss for key, (loss, _) in means.items()},
        cells=cells,
    )


def find_champion(
    folder: SearchFolder,
    spec: SearchSpec,
    replicates: Sequence[Record],
    *,
    cell: str | None = None,
    is_kept: Callable[[Record], bool] = lambda _: True,
) -> Record | None:
    """Return the champion of a search with one dataset, or that of a cell.

    It is of the latest complete round with a replicate that counts.

    Args:
        folder: Folder of the search.
        spec: Its spec.
        replicates: Its finished replicates.
        cell: Key of a cell; of a repeated search it has a draw. None for the whole search.
        is_kept: Returns True if a replicate counts.
    """
    records = {record.trial_id: record for record in replicates}
    for sealed in reversed(scan_rounds(folder)[0]):
        planned = sealed.replicate_ids
        if planned <= records.keys():
            own = [each for each in replicates if each.trial_id in planned and cell in (None, each.cell)]
            found = choose_champions(spec, own, sealed, {each.trial_id for each in own if is_kept(each)})
            for key in found.cells.values():
                return records[found.replicates[key]]
    return None


def _loss(spec: SearchSpec, record: Record) -> tuple[float, float]:
    """Return the validation value of a replicate, lower is better, and its validation loss."""
    metric = spec.search.definitions[0]
    value = metric.scale * record.curve[-1].value(spec.search.metrics[0])
    return -metric.sign * value, record.curve[-1].val_loss


def _mean_loss(spec: SearchSpec, records: Collection[Record]) -> tuple[float, float]:
    losses = [_loss(spec, record) for record in records]
    return statistics.fmean(loss for loss, _ in losses), statistics.fmean(val_loss for _, val_loss in losses)
