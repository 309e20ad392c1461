"""Section on the other test metrics and on single classes: accuracy per class and the most frequent confusions."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.selection import mean_of
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import mean_percentage
from lkca_search.records.record import Record
from lkca_search.reporting.values.figure import HeatMap
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import format_count, format_estimate, format_percent
from lkca_search.reporting.values.report import Section
from lkca_search.reporting.values.table import Column, Table, TableCell, make_table, number_cell, text_cell
from lkca_search.spec.metrics import METRICS, Metric, find_metric

Floats = NDArray[np.float64]
MAX_CLASSES = 20
"""Most classes of which the table shows all, and the figure the confusions; of more, the table shows the lowest."""
NUM_CONFUSIONS = 10
"""Pairs of classes in the table of confusions."""


def class_section(results: SearchResults, scores: RoundScores) -> Section | None:
    """Return the section; None if no replicate has further metrics or predictions per image."""
    tables = [*_metric_tables(results, scores)]
    figures: list[HeatMap] = []
    if cells := _cells_with_predictions(results, scores):
        counts = {cell.cell: _confusions(results, scores, cell) for cell in cells}
        names = _class_names(results)
        reference = next((cell for cell in cells if cell.variant == results.reference), cells[0])
        tables += [_class_table(cells, counts, names, reference), _confusion_table(reference, counts, names)]
        if len(names) <= MAX_CLASSES:
            figures.append(_confusion_map(reference, counts, names))
    if not tables:
        return None
    return Section(
        name="classes", title="Other metrics and single classes", figures=tuple(figures), tables=tuple(tables)
    )


def _metric_tables(results: SearchResults, scores: RoundScores) -> Iterator[Table]:
    """Yield the table of the metrics that do not lead, if any replicate has them."""
    records = {cell.cell: list(_replicates(results, scores, cell)) for cell in scores.cells}
    every = [record for of_cell in records.values() for _, _, record in of_cell]
    if not any(record.test and record.test.metrics for record in every):
        return
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
        for draw, seed, record in records[cell.cell]:
            value = record.test.value(metric.test_field or "") if record.test else None
            values[draw, seed] = np.nan if value is None else metric.scale * value
        if not np.isfinite(values).any():
            return number_cell(None)
        estimate = mean_of(cell, values, metric)
        return TableCell(text=MetricFormat(metric).estimate(estimate), number=estimate.value)

    columns: list[Column[CellScores]] = [
        Column("variant", lambda cell: text_cell(cell.variant.label)),
        Column("training images", lambda cell: number_cell(cell.num_train_images, format_count)),
        *(_metric_column(metric, partial(cell_of, metric)) for metric in shown),
    ]
    yield make_table(
        name="metrics",
        title="Other metrics of the test images",
        caption=(
            "Means over draws of the replicates with 95% intervals, for these test images. Balanced accuracy is the "
            "mean of the accuracies of the classes. The calibration error is the expected one over 15 bins of equal "
            "width. Macro AUROC is the mean over classes of each class against all others. Loss is the mean "
            "negative log-likelihood. Lower is better for loss and calibration error."
        ),
        columns=columns,
        rows=scores.cells,
    )


def _metric_column(metric: Metric, cell: Callable[[CellScores], TableCell]) -> Column[CellScores]:
    form = MetricFormat(metric)
    return Column(form.header(form.test_label), cell)


def _replicates(results: SearchResults, scores: RoundScores, cell: CellScores) -> Iterator[tuple[int, int, Record]]:
    """Yield index of the draw, seed and record of each tested replicate of a cell."""
    records = {record.trial_id: record for record in results.replicates if record.test is not None}
    picks = {pick.trial_id for pick in cell.picks}
    draws = {draw: index for index, draw in enumerate(scores.round.draws)}
    for pick, replication in scores.round.replications():
        record = records.get(replication.replicate_id)
        if pick.trial_id in picks and record is not None:
            yield draws[replication.draw], replication.seed, record


def _cells_with_predictions(results: SearchResults, scores: RoundScores) -> list[CellScores]:
    """Return the cells of the largest training set whose tested replicates all have predictions."""
    largest = max((cell.num_train_images for cell in scores.cells), default=0)
    return [
        cell
        for cell in scores.cells
        if cell.num_train_images == largest
        and all(record.trial_id in results.predictions for _, _, record in _replicates(results, scores, cell))
    ]


def _class_names(results: SearchResults) -> list[str]:
    ids = [record.trial_id for record in results.replicates]  # those of one dataset
    known = [results.predictions[replicate] for replicate in ids if replicate in results.predictions]
    most = max(int(max(each.predicted.max(), each.images.labels.max())) for each in known)
    return list(known[0].images.class_names) or [f"class {index}" for index in range(most + 1)]


def _confusions(results: SearchResults, scores: RoundScores, cell: CellScores) -> Floats:
    """Return images by true and predicted class of each replicate, (draws, seeds, classes, classes); NaN if missing."""
    number = len(_class_names(results))
    counts = np.full((*cell.test_values.shape, number, number), np.nan)
    for draw, seed, record in _replicates(results, scores, cell):
        each = results.predictions[record.trial_id]
        pairs = number * each.images.labels.astype(np.int64) + each.predicted
        counts[draw, seed] = np.bincount(pairs, minlength=number * number).reshape(number, number)
    return counts


def _share(cell: CellScores, counts: Floats, true: int, predicted: int) -> Estimate | None:
    """Return the share of the images of a class that are predicted as another or the same one, in percent."""
    totals = counts[..., true, :].sum(axis=-1)
    if not (totals > 0).any():
        return None
    shares = np.divide(100 * counts[..., true, predicted], totals, where=totals > 0, out=np.full(totals.shape, np.nan))
    return mean_percentage(cell.unit_means(shares))


def _estimate_cell(estimate: Estimate | None) -> TableCell:
    return number_cell(None) if estimate is None else TableCell(text=format_estimate(estimate), number=estimate.value)


def _class_table(
    cells: Sequence[CellScores], counts: dict[str, Floats], names: Sequence[str], reference: CellScores
) -> Table:
    """Return the accuracy per class of each variant at the largest training set, lowest of the reference first."""
    accuracies = [_share(reference, counts[reference.cell], index, index) for index in range(len(names))]
    order = sorted(range(len(names)), key=lambda index: each.value if (each := accuracies[index]) else 100.0)

    def cell_of(cell: CellScores, index: int) -> TableCell:
        return _estimate_cell(_share(cell, counts[cell.cell], index, index))

    columns: list[Column[int]] = [
        Column("class", lambda index: text_cell(names[index])),
        *(Column(f"{cell.variant.label}, %", partial(cell_of, cell)) for cell in cells),
    ]
    rows = f"The {MAX_CLASSES} classes with the lowest accuracy are shown. " if len(names) > MAX_CLASSES else ""
    return make_table(
        name="classes",
        title="Accuracy per class",
        caption=(
            f"Share of the test images of a class that are classified correctly, at "
            f"{format_count(reference.num_train_images)} training images: means over draws of the replicates with 95% "
            f"intervals, for these test images. {rows}Classes are in the order of {reference.variant.label}. Intervals "
            "are not corrected for the number of classes."
        ),
        columns=columns,
        rows=order[:MAX_CLASSES],
    )


def _confusion_table(reference: CellScores, counts: dict[str, Floats], names: Sequence[str]) -> Table:
    """Return the most frequent confusions of the reference at the largest training set."""
    mean = np.nanmean(counts[reference.cell], axis=(0, 1))
    np.fill_diagonal(mean, 0.0)
    order = np.argsort(-mean, axis=None, kind="stable")[:NUM_CONFUSIONS]
    pairs = [divmod(int(position), len(names)) for position in order if mean.flat[position] > 0]
    columns: list[Column[tuple[int, int]]] = [
        Column("class", lambda pair: text_cell(names[pair[0]])),
        Column("predicted as", lambda pair: text_cell(names[pair[1]])),
        Column("images of the class, %", lambda pair: _estimate_cell(_share(reference, counts[reference.cell], *pair))),
        Column("images per replicate", lambda pair: number_cell(float(mean[pair]), format_percent)),
    ]
    return make_table(
        name="confusions",
        title=f"Most frequent confusions of {reference.variant.label}",
        caption=(
            f"Pairs of classes that the replicates of {reference.variant.label} at "
            f"{format_count(reference.num_train_images)} training images confuse most often: share of the images of "
            "the class, mean over draws with a 95% interval for these test images."
        ),
        columns=columns,
        rows=pairs,
    )


def _confusion_map(reference: CellScores, counts: dict[str, Floats], names: Sequence[str]) -> HeatMap:
    """Return the confusion matrix of the reference: the mean share of each class by predicted class."""
    mean = np.nanmean(counts[reference.cell], axis=(0, 1))
    totals = mean.sum(axis=1, keepdims=True)
    shares = np.divide(100 * mean, totals, where=totals > 0, out=np.zeros_like(mean))
    return HeatMap(
        name="confusion_matrix",
        title=f"Confusion matrix of {reference.variant.label}",
        caption=(
            f"Share of the test images of each class by predicted class, in percent: mean over the replicates at "
            f"{format_count(reference.num_train_images)} training images."
        ),
        x_label="predicted class",
        y_label="class",
        columns=tuple(names),
        rows=tuple(names),
        values=tuple(tuple(map(float, row)) for row in shares),
        texts=tuple(tuple(f"{share:.0f}" if share >= 0.5 else "" for share in row) for row in shares),
        hover_texts=tuple(
            tuple(f"{true} as {guess}: {format_percent(share)}%" for guess, share in zip(names, row, strict=True))
            for true, row in zip(names, shares, strict=True)
        ),
        unit="images of the class, %",
    )
