"""Tables of the accuracy per class and of the most frequent confusions, and confusion matrices."""

from collections.abc import Iterator, Sequence
from functools import partial

from lkca_search.analysis.predictions.cell_predictions import CellPredictions
from lkca_search.analysis.predictions.class_accuracies import (
    ClassAccuracy,
    confusion,
    confusion_shares,
    frequent_pairs,
)
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis
from lkca_search.analysis.search_results import Variant
from lkca_search.reporting.values.figure import HeatMap
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    format_count,
    format_estimate,
    format_percent,
    format_percent_estimate,
)
from lkca_search.reporting.values.table import (
    Column,
    Table,
    TableCell,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)

MAX_CLASSES = 20
"""Most classes that the tables show, lowest accuracy first; with more classes, there is no confusion matrix."""
NUM_CONFUSIONS = 10
"""Pairs of classes in the table of confusions."""
MAX_MATRICES = 4
"""Most variants with a confusion matrix."""
_INTERVALS = (
    "means over draws of the replicates with 95% intervals for new draws, seeds and test images of the class. There is "
    "no interval if every draw gives the same value, or for a single draw. Intervals are not corrected for the number "
    "of classes."
)
Key = tuple[str, int]


def class_tables(analysis: PredictionAnalysis, reference: Variant, metric: MetricFormat) -> Iterator[Table]:
    """Yield the accuracy per class of each variant and of the reference per size, and the leading metric per class."""
    largest = analysis.sizes[-1]
    cells = analysis.cells_at(largest)
    main = next((cell for cell in cells if cell.variant == reference), cells[0])
    by_key: dict[Key, dict[int, ClassAccuracy]] = {}
    for found in analysis.classes:
        by_key.setdefault((found.variant, found.num_train_images), {}).setdefault(found.class_index, found)
    order = _order(by_key[main.variant.label, largest])
    labels = list(dict.fromkeys(cell.variant.label for cell in cells))
    size = format_count(largest)
    rows = f"The {MAX_CLASSES} classes with the lowest accuracy are shown. " if len(order) > MAX_CLASSES else ""
    rows += f"Classes are in the order of {main.variant.label}."
    columns = {f"{label}, %": (label, largest) for label in labels}
    yield _table(
        "classes",
        "Accuracy per class",
        f"Share of the test images of a class that are classified correctly, at {size} training images: {_INTERVALS} "
        f"{rows}",
        _columns(by_key, columns),
        order,
    )
    sizes = [each for each in analysis.sizes if (main.variant.label, each) in by_key]
    if len(sizes) > 1:
        columns = {f"{format_count(each)} images, %": (main.variant.label, each) for each in sizes}
        yield _table(
            "class_sizes",
            f"Accuracy per class of {main.variant.label} with fewer training images",
            f"Share of the test images of a class that are classified correctly: {_INTERVALS} {rows}",
            _columns(by_key, columns),
            order,
        )
    if by_key[main.variant.label, largest][order[0].class_index].score is not None:
        columns = {metric.header(label): (label, largest) for label in labels}
        yield _table(
            "class_scores",
            f"{metric.test_label.capitalize()} per class",
            f"{metric.test_label_in_unit.capitalize()} on the images of a class at {size} training images: "
            f"{_INTERVALS} {rows}",
            _columns(by_key, columns, metric),
            order,
        )


def confusion_table(analysis: PredictionAnalysis, reference: Variant) -> Table:
    """Return the most frequent confusions of the reference at the largest size, and the same ones of the others."""
    cells = list({cell.variant: cell for cell in reversed(analysis.cells_at(analysis.sizes[-1]))}.values())[::-1]
    main = next((cell for cell in cells if cell.variant == reference), cells[0])
    names = analysis.class_names

    def share(cell: CellPredictions, pair: tuple[int, int]) -> TableCell:
        return value_and_interval_cell(confusion(cell, names, *pair).share, format_estimate)

    columns: list[Column[tuple[int, int]]] = [
        Column("class", lambda pair: text_cell(names[pair[0]])),
        Column("predicted as", lambda pair: text_cell(names[pair[1]])),
        *(Column(f"{cell.variant.label}, % of the class", partial(share, cell)) for cell in cells),
        Column("images per replicate", lambda pair: number_cell(confusion(main, names, *pair).images, format_percent)),
    ]
    return make_table(
        name="confusions",
        title=f"Most frequent confusions of {main.variant.label}",
        caption=(
            f"Pairs of classes that the replicates of {main.variant.label} at "
            f"{format_count(main.num_train_images)} training images confuse most often: {_INTERVALS} The pairs are "
            f"chosen by the same test images, so the shares of {main.variant.label} are too high on average. The last "
            f"column is that of {main.variant.label}."
        ),
        columns=columns,
        rows=frequent_pairs(main, len(names), number=NUM_CONFUSIONS),
    )


def confusion_matrices(analysis: PredictionAnalysis, reference: Variant) -> Iterator[HeatMap]:
    """Yield the confusion matrix of each variant at the largest size, and of the reference at the smallest one."""
    if len(analysis.class_names) > MAX_CLASSES:
        return
    largest = {cell.variant: cell for cell in reversed(analysis.cells_at(analysis.sizes[-1]))}
    main = largest.get(reference) or next(reversed(largest.values()))
    smallest = next(cell for cell in analysis.cells if cell.variant == main.variant)
    others = [cell for cell in reversed(largest.values()) if cell is not main]
    yield _matrix(main, analysis.class_names, "confusion_matrix")
    if smallest.num_train_images < main.num_train_images:
        only = f" At the smallest size, only {main.variant.label} has a matrix."
        yield _matrix(smallest, analysis.class_names, "confusion_matrix_smallest", note=only)
    for number, cell in enumerate(others[: MAX_MATRICES - 1], 2):
        yield _matrix(cell, analysis.class_names, f"confusion_matrix_{number}")


def _matrix(cell: CellPredictions, names: Sequence[str], name: str, *, note: str = "") -> HeatMap:
    shares = confusion_shares(cell, len(names))
    largest = max((float(shares[i, j]) for i in range(len(names)) for j in range(len(names)) if i != j), default=0.0)
    hover = [
        [
            f"{names[i]} as {names[j]}: {format_percent_estimate(confusion(cell, names, i, j).share)} of the class"
            if shares[i].any()
            else f"no test image of {names[i]}"
            for j in range(len(names))
        ]
        for i in range(len(names))
    ]
    return HeatMap(
        name=name,
        title=f"Confusion matrix of {cell.variant.label} at {format_count(cell.num_train_images)} training images",
        caption=(
            "Share of the test images of each class by predicted class, in percent: mean over draws of the replicates. "
            "The pointer shows the 95% interval. The diagonal is the accuracy of the class. Colors end at the most "
            f"frequent confusion, so the diagonal has the last color.{note}"
        ),
        x_label="predicted class",
        y_label="class",
        columns=tuple(names),
        rows=tuple(names),
        values=tuple(tuple(map(float, row)) for row in shares),
        texts=tuple(tuple(f"{share:.0f}" if share >= 0.5 else "" for share in row) for row in shares),
        hover_texts=tuple(map(tuple, hover)),
        unit="images of the class, %",
        largest=largest or None,
    )


def _order(accuracies: dict[int, ClassAccuracy]) -> list[ClassAccuracy]:
    """Return the classes, lowest accuracy first."""
    return sorted(accuracies.values(), key=lambda found: (found.accuracy.value, found.class_index))


def _columns(
    by_key: dict[Key, dict[int, ClassAccuracy]], keys: dict[str, Key], metric: MetricFormat | None = None
) -> list[Column[ClassAccuracy]]:
    """Return a column per header and its cell: the accuracy, or with `metric` the leading metric."""

    def cell_of(key: Key, row: ClassAccuracy) -> TableCell:
        found = by_key[key].get(row.class_index)
        if metric is None:
            return value_and_interval_cell(found.accuracy if found else None, format_estimate)
        return value_and_interval_cell(found.score if found else None, metric.estimate)

    return [Column(header, partial(cell_of, key)) for header, key in keys.items()]


def _table(
    name: str, title: str, caption: str, columns: Sequence[Column[ClassAccuracy]], order: Sequence[ClassAccuracy]
) -> Table:
    first: list[Column[ClassAccuracy]] = [
        Column("class", lambda row: text_cell(row.class_name)),
        Column("test images", lambda row: number_cell(row.num_images, format_count)),
    ]
    return make_table(name=name, title=title, caption=caption, columns=[*first, *columns], rows=order[:MAX_CLASSES])
