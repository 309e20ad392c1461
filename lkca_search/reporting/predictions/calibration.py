"""Calibration of the predicted class: sentences, reliability diagrams, and the error against training images."""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.predictions.calibration import Calibration, CalibrationBin
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.reporting.values.figure import Figure, Series, side_shift
from lkca_search.reporting.values.numbers import (
    format_count,
    format_estimate,
    format_percent,
    format_percent_estimate,
    format_points,
    format_signed_interval,
    join_words,
)
from lkca_search.reporting.values.table import (
    Column,
    Table,
    make_table,
    number_cell,
    text_cell,
    value_and_interval_cell,
)
from lkca_search.spec.metrics import NUM_CALIBRATION_BINS

MAX_DIAGRAMS = 6
"""Most reliability diagrams, one per size; of more sizes, they are spread from the smallest to the largest."""
MIN_IMAGES = 10
"""Test images per replicate from which the diagram shows a bin."""
_DIAGONAL = tuple(10.0 * step for step in range(11))
_GRAY = 7


def calibration_sentences(analysis: PredictionAnalysis) -> Iterator[str]:
    """Yield a sentence per variant on its over- or underconfidence at the smallest and the largest size."""
    by_variant: dict[str, list[Calibration]] = {}
    for found in analysis.calibrations:
        by_variant.setdefault(found.variant, []).append(found)
    for variant, cells in by_variant.items():
        ends = cells[:1] if len(cells) == 1 else [cells[0], cells[-1]]
        parts = join_words([_part(each) for each in ends])
        yield f"The mean probability of the predicted class of {variant} minus its accuracy is {parts}."


def _part(found: Calibration) -> str:
    gap = found.overconfidence
    text = f"{_points(gap)} points at {format_count(found.num_train_images)} training images"
    if gap.interval is None:
        return f"{text} (no interval: {gap.reason})"
    if gap.interval.contains(0.0):
        return f"{text} (neither over- nor underconfidence can be shown)"
    return f"{text} ({'overconfident' if gap.value > 0 else 'underconfident'})"


def _points(estimate: Estimate) -> str:
    return f"{format_points(estimate.value)} {format_signed_interval(estimate.interval)}".rstrip()


def calibration_figures(analysis: PredictionAnalysis) -> Iterator[Figure]:
    """Yield the calibration error against training images, then a reliability diagram per size."""
    labels = list(dict.fromkeys(cell.variant.label for cell in analysis.cells))
    sizes = sorted({found.num_train_images for found in analysis.calibrations})
    yield _error_figure(analysis, labels, sizes)
    for size in _spread(sizes):
        alike = {each.variant: each for each in reversed(analysis.calibrations) if each.num_train_images == size}
        yield _diagram([alike[label] for label in labels if label in alike], labels, size)


def _spread(sizes: Sequence[int]) -> list[int]:
    """Return at most MAX_DIAGRAMS of the sizes, with the first and the last one."""
    if len(sizes) <= MAX_DIAGRAMS:
        return list(sizes)
    return [sizes[round(index * (len(sizes) - 1) / (MAX_DIAGRAMS - 1))] for index in range(MAX_DIAGRAMS)]


def _error_figure(analysis: PredictionAnalysis, labels: Sequence[str], sizes: Sequence[int]) -> Figure:
    return Figure(
        name="calibration_error",
        title="Expected calibration error against training images",
        caption=(
            f"Expected calibration error over {NUM_CALIBRATION_BINS} bins, mean over draws with 95% intervals for new "
            "draws, seeds and test sets of this size. Lines are the errors of calibrated classifiers with the same "
            "probabilities: on a finite test set, they are above 0. Points of the same size are drawn side by side. "
            "The x-axis is logarithmic."
        ),
        x_label="training images",
        y_label="expected calibration error, %",
        y_bounds=(0.0, 100.0),
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        series=tuple(
            series
            for index, label in enumerate(labels)
            for series in _error_series(
                [each for each in analysis.calibrations if each.variant == label],
                index,
                side_shift(index, len(labels), sizes),
            )
        ),
    )


def _error_series(found: Sequence[Calibration], index: int, shift: float) -> Iterator[Series]:
    if not found:
        return
    x, errors = tuple(shift * each.num_train_images for each in found), [each.error for each in found]
    yield Series(
        name=f"{found[0].variant}, if calibrated",
        x=x,
        y=tuple(each.calibrated_error for each in found),
        kind="line",
        color_index=index,
        is_guide=True,
    )
    yield Series(
        name=found[0].variant,
        x=x,
        y=tuple(each.error.value for each in found),
        lower=_ends(errors)[0],
        upper=_ends(errors)[1],
        color_index=index,
        hover_texts=tuple(
            f"{each.variant}, {format_count(each.num_train_images)} images: {format_percent_estimate(each.error)}; "
            f"calibrated: {format_percent(each.calibrated_error)}%"
            for each in found
        ),
    )


def _diagram(found: Sequence[Calibration], labels: Sequence[str], size: int) -> Figure:
    """Return the reliability diagram of all variants at one size."""
    diagonal = Series(
        name="calibrated",
        x=_DIAGONAL,
        y=_DIAGONAL,
        kind="line",
        color_index=_GRAY,
        in_legend=True,
        is_guide=True,
    )
    return Figure(
        name=f"reliability_{size}",
        title=f"Reliability at {format_count(size)} training images",
        caption=(
            "Accuracy of the images whose predicted class has a probability in one of "
            f"{NUM_CALIBRATION_BINS} bins, with 95% intervals for new draws, seeds and test images. Points below the "
            f"line are overconfident. Bins with fewer than {MIN_IMAGES} images per replicate are left out."
        ),
        x_label="probability of the predicted class, %",
        y_label="accuracy, %",
        y_bounds=(0.0, 100.0),
        is_small=True,
        if_empty=f"no bin has {MIN_IMAGES} images per replicate, because there are too few test images",
        series=(diagonal, *(_reliability(each, labels.index(each.variant)) for each in found)),
    )


def _reliability(found: Calibration, index: int) -> Series:
    bins = [each for each in found.bins if each.num_images >= MIN_IMAGES]
    accuracies = [each.accuracy for each in bins]
    return Series(
        name=found.variant,
        x=tuple(each.confidence for each in bins),
        y=tuple(each.accuracy.value for each in bins),
        lower=_ends(accuracies)[0],
        upper=_ends(accuracies)[1],
        color_index=index,
        hover_texts=tuple(f"{found.variant}: {_bin_text(each)}" for each in bins),
    )


def _bin_text(found: CalibrationBin) -> str:
    return (
        f"probability {format_percent(found.confidence)}%, accuracy {format_percent_estimate(found.accuracy)}, "
        f"{format_count(found.num_images)} images per replicate"
    )


def _ends(estimates: Sequence[Estimate]) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Return the lower and the upper ends of the error bars; None for an estimate without interval."""
    intervals = [each.interval for each in estimates]
    return (
        tuple(interval.lower if interval else None for interval in intervals),
        tuple(interval.upper if interval else None for interval in intervals),
    )


def calibration_table(analysis: PredictionAnalysis) -> Table:
    """Return the calibration error and the overconfidence of each cell."""
    columns: list[Column[Calibration]] = [
        Column("variant", lambda found: text_cell(found.variant)),
        Column("training images", lambda found: number_cell(found.num_train_images, format_count)),
        Column("calibration error, %", lambda found: value_and_interval_cell(found.error, format_estimate)),
        Column("if calibrated, %", lambda found: number_cell(found.calibrated_error, format_percent)),
        Column("overconfidence, points", lambda found: value_and_interval_cell(found.overconfidence, _points)),
    ]
    return make_table(
        name="calibration",
        title="Calibration of the predicted class",
        caption=(
            f"Expected calibration error (Guo et al. 2017): mean over images of the distance between accuracy and "
            f"mean probability in the bin of the image, one of {NUM_CALIBRATION_BINS} of equal width. If calibrated: "
            "the expected error of classifiers whose predictions are right with exactly these probabilities, on as "
            "many test images. Overconfidence: mean probability of the predicted class minus accuracy. Means over "
            "draws of the replicates with 95% intervals for new draws, seeds and test images. Calibration errors are "
            "those of the records; the other numbers are from stored probabilities, which have three digits."
        ),
        columns=columns,
        rows=sorted(analysis.calibrations, key=lambda found: found.num_train_images),
    )
