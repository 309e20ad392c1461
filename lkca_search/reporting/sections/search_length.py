"""Expected result of a shorter search: the expected best of k trials of each cell."""

import numpy as np

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.best_of_k import BestOfK, expected_best
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.records.record import State
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.table import (
    Column,
    Table,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)
from lkca_search.seeds import derive_seed
from lkca_search.spec.components import dependence_reason

_Row = tuple[str, int, dict[int, BestOfK]]
"""Key of a cell, its number of complete trials, and the estimate for each k."""


def best_of_k_table(results: SearchResults) -> Table | NotEstimable:
    """Return the expected best value of the leading metric over 1, 2, 4, ... trials.

    It requires trials that are independent of each other: NotEstimable for other samplers, for pruners and for starts.
    """
    search = results.spec.search
    if reason := dependence_reason(search.sampler.name):
        return NotEstimable(reason)
    if search.pruner.name != "none":
        return NotEstimable(f"pruner {search.pruner.name} stops trials early")
    if search.start:
        return NotEstimable("the space file gives the first trials, as starts")
    metric = MetricFormat(results.metric)
    ks = sorted({*(2**power for power in range(search.trials_per_cell.bit_length())), search.trials_per_cell})
    columns: list[Column[_Row]] = [
        Column("cell", lambda row: text_cell(row[0])),
        Column("complete trials", lambda row: number_cell(row[1])),
        *(_column(k, metric) for k in ks),
    ]
    return make_table(
        name="best_of_k",
        title="Expected best of k trials",
        caption=(
            f"Mean of the {metric.best_label} over all subsets of k complete trials of a cell (Tang et al. 2020). "
            "There is a 95% bootstrap interval if a cell has at least 4 k complete trials. The method "
            "requires independent trials. Quasi-random trials (qmc) are not quite so, and their values are approximate."
        ),
        columns=columns,
        rows=[_row(results, cell.key, ks) for cell in results.cells],
    )


def _column(k: int, metric: MetricFormat) -> Column[_Row]:
    def expected(row: _Row) -> Estimate | None:
        best = row[2].get(k)
        return None if best is None else best.expected

    return Column(f"k = {k}", lambda row: value_and_interval_cell(expected(row), metric.estimate))


def _row(results: SearchResults, cell: str, ks: list[int]) -> _Row:
    complete = [record for record in results.trials_by_cell[cell] if record.state is State.COMPLETE]
    values = [results.metric_value(record) for record in complete]
    available_ks = [k for k in ks if k <= len(values)]
    generator = np.random.default_rng(derive_seed(results.spec.search.seed, "best of k", cell))
    goal = results.metric.direction
    bounds = results.metric.bounds
    best = expected_best(values, ks=available_ks, goal=goal, generator=generator, bounds=bounds) if available_ks else ()
    return cell, len(values), {estimate.k: estimate for estimate in best}
