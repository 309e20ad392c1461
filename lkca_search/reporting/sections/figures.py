"""Figures of scores: learning curves, the reference minus the other variants, and trials before a confirmation."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lkca_search.analysis.contrasts import Contrast
from lkca_search.analysis.curve_analysis import CurveAnalysis, VariantCurve
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.records.objectives import rank_trials
from lkca_search.reporting.values.figure import Figure, Series, side_shift
from lkca_search.reporting.values.metric_format import MetricFormat
from lkca_search.reporting.values.numbers import (
    capitalize,
    format_count,
    format_percent,
    pluralize,
)

_CURVE_POINTS = 60
"""Points at which a fitted curve is drawn."""
_TICK_MARGIN = 1.3
"""Factor by which the ticks extend beyond the data."""
_COARSE, _FINE = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
"""Ticks of a logarithmic axis within a decade."""
_MIN_TICKS = 4
"""Number of coarse ticks below which the fine ones are used."""

_AXES = {
    True: "Both axes are logarithmic.",
    False: "The x-axis is logarithmic; the y-axis is not, since a draw has an error of 0.",
}
"""Sentence on the axes; the key is True if the errors are on a logarithmic axis."""


def learning_curves(curves: CurveAnalysis, scores: RoundScores, metric: MetricFormat) -> Figure:
    """Return test error against training images: means with intervals, draws, and the power law if there is one."""
    sizes = sorted({cell.num_train_images for cell in scores.cells})
    is_logarithmic = all(error > 0 for curve in curves.curves for point in curve.points for error in point.unit_errors)
    return Figure(
        name="learning_curves",
        title=f"{capitalize(metric.error_label)} against training images",
        caption=(
            "Points are means over draws with 95% intervals; small dots are the draws. If all draws have the same "
            "images, dots are trainings. Lines are power laws e(n) = α + η n^γ with 95% bootstrap bands, if the points "
            "support one. Points and bands have 95% at each size alone, so a whole curve is inside in fewer cases. "
            f"Nothing is extrapolated. {_AXES[is_logarithmic]} Points of the same size are drawn side by side."
        ),
        x_label="training images",
        y_label=metric.error_axis_label,
        x_is_logarithmic=True,
        y_is_logarithmic=is_logarithmic,
        x_ticks=tuple(map(float, sizes)),
        y_ticks=_error_ticks(scores) if is_logarithmic else (),
        y_bounds=metric.error_bounds,
        series=tuple(
            series
            for index, curve in enumerate(curves.curves)
            for series in _curve(curve, index, metric, shift=side_shift(index, len(curves.curves), sizes))
        ),
    )


def _error_ticks(scores: RoundScores) -> tuple[float, ...]:
    """Return ticks of a logarithmic axis of errors."""
    errors = [float(np.nanmean(row)) for cell in scores.cells for row in cell.errors if np.isfinite(row).any()]
    low = min(errors) / _TICK_MARGIN
    high = _TICK_MARGIN * max(errors)
    for steps in (_COARSE, _FINE):
        inside = [step * 10.0**power for power in range(-2, 3) for step in steps if low <= step * 10.0**power <= high]
        if len(inside) >= _MIN_TICKS:
            break
    return tuple(inside)


def _curve(curve: VariantCurve, color_index: int, metric: MetricFormat, *, shift: float) -> Iterator[Series]:
    label = curve.variant.label
    sizes = tuple(float(point.num_train_images) for point in curve.points)
    if not isinstance(curve.law, NotEstimable):
        images = np.exp(np.linspace(math.log(sizes[0]), math.log(sizes[-1]), _CURVE_POINTS)).clip(sizes[0], sizes[-1])
        lower, upper = curve.law.band(images)
        yield Series(
            name=f"{label}, fitted",
            x=tuple(images.tolist()),
            y=tuple(curve.law.predict(images).tolist()),
            lower=tuple(lower.tolist()),
            upper=tuple(upper.tolist()),
            kind="band",
            color_index=color_index,
        )
    yield Series(
        name=f"{label}, draws",
        x=tuple(shift * point.num_train_images for point in curve.points for _ in point.unit_errors),
        y=tuple(error for point in curve.points for error in point.unit_errors),
        kind="dots",
        color_index=color_index,
    )
    yield Series(
        name=label,
        x=tuple(shift * size for size in sizes),
        y=tuple(point.error.value for point in curve.points),
        lower=tuple(point.error.interval.lower if point.error.interval else None for point in curve.points),
        upper=tuple(point.error.interval.upper if point.error.interval else None for point in curve.points),
        color_index=color_index,
        hover_texts=tuple(
            f"{label}, {format_count(point.num_train_images)} images: {_error(point.error, metric)}, "
            f"{pluralize(len(point.unit_errors), point.unit)}"
            for point in curve.points
        ),
    )


def differences(contrasts: Sequence[Contrast], scores: RoundScores, reference: str, metric: MetricFormat) -> Figure:
    """Return the test score of the reference minus that of each other variant, against training images."""
    sizes = sorted({contrast.num_train_images for contrast in contrasts})
    labels = [variant.label for variant in scores.variants]
    others = list(dict.fromkeys(contrast.other for contrast in contrasts))
    return Figure(
        name="differences",
        title=f"{capitalize(metric.test_label)} of {reference} minus that of "
        f"{others[0] if len(others) == 1 else 'the other variants'}",
        caption=(
            "Mean over draws of the paired differences (same images, same seeds), with a 95% t interval for each "
            "contrast alone. An interval without 0 may be not significant, because tests are corrected for their "
            f"number. Above 0, the mean of {reference} is higher. The x-axis is logarithmic."
        ),
        x_label="training images",
        y_label=metric.difference_header("difference"),
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        has_zero_line=True,
        series=tuple(
            _difference(
                [contrast for contrast in contrasts if contrast.other == other],
                metric,
                color_index=labels.index(other),
                shift=side_shift(index, len(others), sizes),
            )
            for index, other in enumerate(others)
        ),
    )


def validation_figure(results: SearchResults) -> Figure | None:
    """Return the complete trials against training images; None without one."""
    metric, points = MetricFormat(results.metric), _trials_by_label(results)
    sizes = sorted({size for found in points.values() for size, _ in found})
    if not points:
        return None
    return Figure(
        name="validation",
        title=f"{capitalize(metric.label)} against training images",
        caption=(
            f"Not a test: points are the {metric.best_label} of each variant, without an interval; small dots are all "
            "complete trials. The x-axis is logarithmic."
        ),
        x_label="training images",
        y_label=metric.axis_label,
        y_bounds=metric.bounds,
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        series=tuple(
            series
            for index, (label, found) in enumerate(points.items())
            for series in _trial_series(label, found, metric, index, side_shift(index, len(points), sizes))
        ),
    )


def _trials_by_label(results: SearchResults) -> dict[str, list[tuple[int, float]]]:
    """Return training images and metric of the complete trials, best first, by variant; by dataset too if several."""
    points: dict[str, list[tuple[int, float]]] = {}
    ranked = rank_trials(results.trials, results.spec.search)
    for record in sorted(ranked, key=lambda record: list(results.variants).index(record.cell)):
        if record.facts:
            dataset = record.spec.configuration.dataset
            label = results.variants[record.cell].label
            points.setdefault(f"{dataset}, {label}" if dataset else label, []).append(
                (record.facts.num_train_images, results.metric_value(record))
            )
    return points


def _trial_series(
    label: str, found: Sequence[tuple[int, float]], metric: MetricFormat, index: int, shift: float
) -> tuple[Series, Series]:
    """Return all trials of a variant, best first, as dots, and the best at each size as points."""
    best: dict[int, float] = {}
    for size, value in found:
        best.setdefault(size, value)
    dots = Series(
        name=f"{label}, trials",
        x=tuple(shift * size for size, _ in found),
        y=tuple(value for _, value in found),
        kind="dots",
        color_index=index,
    )
    points = Series(
        name=label,
        x=tuple(shift * size for size in sorted(best)),
        y=tuple(best[size] for size in sorted(best)),
        color_index=index,
        hover_texts=tuple(
            f"{label}, {format_count(size)} images: {metric.value_with_unit(best[size])}" for size in sorted(best)
        ),
    )
    return dots, points


def _error(estimate: Estimate, metric: MetricFormat) -> str:
    name = "error" if metric.error_label == "test error" else metric.error_label
    return f"{name} {metric.estimate(estimate)}{metric.metric.unit}"


def _difference(contrasts: Sequence[Contrast], metric: MetricFormat, *, color_index: int, shift: float) -> Series:
    intervals = [contrast.paired.difference.interval for contrast in contrasts]
    return Series(
        name=f"{contrasts[0].reference} − {contrasts[0].other}",
        x=tuple(contrast.num_train_images * shift for contrast in contrasts),
        y=tuple(contrast.paired.difference.value for contrast in contrasts),
        lower=tuple(interval.lower if interval else None for interval in intervals),
        upper=tuple(interval.upper if interval else None for interval in intervals),
        color_index=color_index,
        hover_texts=tuple(
            f"{contrast.reference} − {contrast.other}, {format_count(contrast.num_train_images)} images: "
            f"{metric.signed_with_unit(contrast.paired.difference.value)} "
            f"{metric.difference_interval(contrast.paired.difference.interval)}, "
            f"P({contrast.reference} better) {format_percent(100 * contrast.improvement.probability.value)}%"
            for contrast in contrasts
        ),
    )
