"""Table of the runs in MLflow of the best trials and of the replicates."""

from collections.abc import Iterator
from dataclasses import dataclass

from lkca_search.analysis.search_results import SearchResults
from lkca_search.records.objectives import rank_trials
from lkca_search.records.record import Record
from lkca_search.records.rounds import Round
from lkca_search.records.search.mlflow_runs import MAX_RUNS, MlflowRuns
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.table import Column, Table, make_table, number_cell, text_cell


@dataclass(frozen=True)
class _Row:
    record: Record
    value: float
    """Last value of the leading metric, in its unit."""
    run_id: str
    page: str | None


def run_table(results: SearchResults, sealed: Round | None, runs: MlflowRuns) -> Table | None:
    """Return the run of the best trial of each cell and of each replicate of a round; None if no run is known."""
    rows = list(_rows(results, sealed, runs))
    if not rows:
        return None
    metric = MetricFormat(results.metric)
    is_complete = len(results.trials) + len(results.replicates) <= MAX_RUNS
    extent = (
        "with those of all trials" if is_complete else f"for this table only, as there are over {MAX_RUNS:,} trials"
    )
    columns: list[Column[_Row]] = [
        Column("cell", lambda row: text_cell(row.record.cell)),
        Column("trial", lambda row: number_cell(row.record.number)),
        Column("draw", lambda row: number_cell(row.record.replicate.draw if row.record.replicate else None)),
        Column("seed", lambda row: number_cell(row.record.replicate.seed if row.record.replicate else None)),
        Column(metric.axis_label, lambda row: number_cell(row.value, metric.value)),
        Column("MLflow run", lambda row: text_cell(row.run_id, link=row.page)),
    ]
    return make_table(
        name="mlflow_runs",
        title="Runs in MLflow",
        caption=(
            "Run of the best trial of each cell, and of its replicates; a row without a draw is the trial. "
            f"{_place(results.name, runs)} The ids are in data/mlflow_runs.parquet, {extent}."
        ),
        columns=columns,
        rows=rows,
    )


def listed_records(results: SearchResults, sealed: Round | None) -> Iterator[Record]:
    """Yield the best trial of each cell and the tested replicates of a round, by cell; None for no round."""
    replicates = [record for _, record in results.tested(sealed, sealed.picks)] if sealed else []
    for cell in results.cells:
        yield from rank_trials(results.trials_by_cell[cell.key], results.spec.search)[:1]
        yield from (record for record in replicates if record.cell == cell.key)


def _rows(results: SearchResults, sealed: Round | None, runs: MlflowRuns) -> Iterator[_Row]:
    for record in listed_records(results, sealed):
        if run_id := runs.ids.get(record.trial_id):
            yield _Row(record, results.metric_value(record), run_id, runs.page(record.trial_id))


def _place(search: str, runs: MlflowRuns) -> str:
    if runs.server is not None:
        return "A link leads to the page of the run on the MLflow server."
    return (
        f"`lkca-search ui {search}` opens MLflow. The page of a run is the printed address with "
        f"/#/experiments/{runs.experiment}/runs/ and the run."
    )
