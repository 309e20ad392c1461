"""Table of the leading metric on test images, with a row per cell, tested or not."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.scores import CellScores, RoundScores, by_unit
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_score
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.interquartile_mean import interquartile_mean
from lkca_search.records.rounds import Round
from lkca_search.reporting.sections.looks import scope_of_intervals
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import capitalize, format_count
from lkca_search.reporting.values.table import (
    Column,
    Table,
    TableCell,
    estimate_cell,
    interval_cell,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)
from lkca_search.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class _Row:
    cell: str
    variant: str
    num_train_images: int | None
    scores: CellScores | None
    """Scores; None for a cell without a test result."""
    reason: str = ""
    """Reason why there are none."""


def score_table(results: SearchResults, scores: RoundScores, metric: MetricFormat) -> Table:
    """Return the leading metric on test images of each cell; a cell without a test result has the reason."""
    columns: list[Column[_Row]] = [
        Column("variant", lambda row: text_cell(row.variant)),
        Column("training images", lambda row: number_cell(row.num_train_images, format_count)),
        Column(metric.header(metric.test_label), lambda row: estimate_cell(_mean(row), metric.value)),
        Column("95% interval", lambda row: interval_cell(_mean(row), metric.interval)),
        Column(
            metric.header("interquartile mean"),
            lambda row: value_and_interval_cell(_interquartile_mean(row), metric.estimate),
        ),
        Column("replicates", lambda row: number_cell(row.scores.num_scored if row.scores else 0)),
        Column("missing", _missing_cell),
    ]
    return make_table(
        name="accuracies",
        title=capitalize(metric.test_label),
        caption=(
            f"{capitalize(metric.test_label_in_unit)}: the mean over draws of the mean over seeds, with its 95% "
            "interval. Where all draws have the same images, it is the mean over trainings. The interquartile mean of "
            "all replicates has a 95% bootstrap interval. "
            + scope_of_intervals("Both intervals", (cell.image_scores is not None for cell in scores.cells))
        ),
        columns=columns,
        rows=_rows(results, scores),
    )


def cells_not_in_round(results: SearchResults, sealed: Round) -> tuple[str, ...]:
    """Return the keys of the cells that the search got after a round was opened, in the order of the space file."""
    known = {*(pick.cell for pick in sealed.picks), *sealed.cells_without}
    return tuple(key for key in results.compared_cells if key not in known)


def _rows(results: SearchResults, scores: RoundScores) -> list[_Row]:
    order = [cell.key for cell in results.compared_cells.values()]
    tested = [
        _Row(cell=each.cell, variant=each.variant.label, num_train_images=each.num_train_images, scores=each)
        for each in scores.cells
    ]
    return sorted([*tested, *_untested(results, scores)], key=lambda row: order.index(row.cell))


def _untested(results: SearchResults, scores: RoundScores) -> Iterator[_Row]:
    """Yield a row per cell of which no replicate is tested; cells that differ in the repeat of the search are one."""
    keys: dict[str, list[str]] = {}
    for key, cell in results.compared_cells.items():
        keys.setdefault(cell.key, []).append(key)
    tested, added = {each.cell for each in scores.cells}, cells_not_in_round(results, scores.round)
    for name, of_cell in keys.items():
        if name in tested:
            continue
        sizes = {results.num_train_images(key) for key in of_cell}
        reason = "no complete trial" if set(of_cell) <= set(scores.round.cells_without) else "no test result"
        yield _Row(
            cell=name,
            variant=results.variants[of_cell[0]].label,
            num_train_images=sizes.pop() if len(sizes) == 1 else None,
            scores=None,
            reason=f"not in round {scores.round.number}" if set(of_cell) <= set(added) else reason,
        )


def _mean(row: _Row) -> Estimate | None:
    return mean_score(row.scores) if row.scores else None


def _interquartile_mean(row: _Row) -> Estimate | None:
    if (cell := row.scores) is None:
        return None
    return interquartile_mean(
        by_unit(cell.test_values, cell.unit),
        generator=np.random.default_rng(derive_seed("interquartile mean", cell.cell)),
        sampling_variance=cell.score_variance or 0.0,
        bounds=cell.metric.bounds,
    )


def _missing_cell(row: _Row) -> TableCell:
    """Return the number of replicates without a score, and of failed ones; of a cell without any, the reason."""
    if (cell := row.scores) is None:
        return TableCell(text=row.reason, parts=(("", None), ("failed", None), ("reason", row.reason)))
    failed = f", {cell.num_failed} failed" if cell.num_failed else ""
    text = f"{cell.num_missing}{failed}" if cell.num_missing else ""
    return TableCell(text=text, parts=(("", cell.num_missing), ("failed", cell.num_failed)))
