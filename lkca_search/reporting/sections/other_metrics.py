"""Section on the metrics of the test images that do not lead."""

from collections.abc import Callable
from functools import partial

import numpy as np

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_of
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count
from lkca_search.reporting.values.report import Section
from lkca_search.reporting.values.table import (
    Column,
    Table,
    TableCell,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)
from lkca_search.spec.metrics import METRICS, Metric, find_metric


def metric_section(results: SearchResults, scores: RoundScores) -> Section | None:
    """Return the section; None if no replicate has further metrics."""
    table = _metric_table(results, scores)
    return None if table is None else Section(name="metrics", title="Other metrics", tables=(table,))


def _metric_table(results: SearchResults, scores: RoundScores) -> Table | None:
    records = {cell: list(results.tested(scores.round, cell.picks)) for cell in scores.cells}
    every = [record for of_cell in records.values() for _, record in of_cell]
    if not any(record.test and record.test.metrics for record in every):
        return None
    own = (find_metric(metric) for metric in results.spec.search.measured)
    metrics = {metric.test_field: metric for metric in (*METRICS.values(), *own) if metric.test_field}
    shown = [
        metric
        for name, metric in metrics.items()
        if name != results.metric.test_field
        and any(record.test is not None and record.test.value(name) is not None for record in every)
    ]

    def cell_of(metric: Metric, cell: CellScores) -> TableCell:
        values = np.full(cell.test_values.shape, np.nan)
        for position, record in records[cell]:
            value = record.test.value(metric.test_field or "") if record.test else None
            values[position] = np.nan if value is None else metric.scale * value
        if not np.isfinite(values).any():
            return value_and_interval_cell(None, MetricFormat(metric).estimate)
        return value_and_interval_cell(mean_of(cell, values, metric), MetricFormat(metric).estimate)

    columns: list[Column[CellScores]] = [
        Column("variant", lambda cell: text_cell(cell.variant.label)),
        Column("training images", lambda cell: number_cell(cell.num_train_images, format_count)),
        *(_metric_column(metric, partial(cell_of, metric)) for metric in shown),
    ]
    return make_table(
        name="metrics",
        title="Other metrics of the test images",
        caption=(
            "Means over draws of the replicates, or over trainings where all draws have the same images. The 95% "
            "intervals are for these test images: they do not include their sampling, as those of the section on "
            "calibration do. Balanced accuracy is the mean of the accuracies of the classes. The calibration error is "
            "the expected one over 15 bins of equal width. Macro AUROC is the mean over classes of each class against "
            "all others. Loss is the mean negative log-likelihood. Lower is better for loss and calibration error."
        ),
        columns=columns,
        rows=scores.cells,
    )


def _metric_column(metric: Metric, cell: Callable[[CellScores], TableCell]) -> Column[CellScores]:
    form = MetricFormat(metric)
    return Column(form.header(form.test_label), cell)
