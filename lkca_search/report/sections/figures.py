"""The figures of a report, as values: learning curves, and the reference against the others."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lkca_search.analysis.contrasts import Contrast
from lkca_search.analysis.curve_analysis import CurveAnalysis, VariantCurve
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.report.values.figure import Figure, Series
from lkca_search.report.values.numbers import (
    format_count,
    format_estimate,
    format_interval,
    format_percent,
    format_points,
    pluralize,
)

_STEPS = 60
"""Points of a fitted line."""
_BEYOND = 1.3
"""How far marks go beyond the points, as a factor."""
_COARSE, _FINE = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
"""Marks of a logarithmic axis within a decade."""
_FEW = 4
"""Marks below which there is room for finer ones."""
_SPREAD = 0.012
"""How far series stand apart, as a share of the axis, so that bars at one size can be told apart."""


def learning_curves(scarcity: CurveAnalysis, scores: RoundScores) -> Figure:
    """Test error against training images: a point with its interval a size, a dot a draw, the law if there is one."""
    sizes = sorted({cell.num_train_images for cell in scores.cells})
    return Figure(
        name="learning_curves",
        title="Test error against training images",
        caption=(
            "Points are means over draws with 95% t intervals, small dots the draws. Lines are the laws e(n) = α + η "
            "n^γ with 95% bootstrap bands, where the points support one; nothing is extrapolated. Both axes are "
            "logarithmic; points of one size are drawn side by side."
        ),
        x_label="training images",
        y_label="test error, %",
        x_is_logarithmic=True,
        y_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        y_ticks=_ticks(scores),
        series=tuple(
            series
            for place, curve in enumerate(scarcity.curves)
            for series in _curve(curve, place, shift=_shift(place, len(scarcity.curves), sizes))
        ),
    )


def _ticks(scores: RoundScores) -> tuple[float, ...]:
    """Marks of a logarithmic axis of errors in percent: as many as there is room for."""
    errors = [float(np.nanmean(row)) for cell in scores.cells for row in cell.errors if np.isfinite(row).any()]
    low = min([error for error in errors if error > 0], default=100.0) / _BEYOND
    high = _BEYOND * max(errors)
    for steps in (_COARSE, _FINE):
        inside = [step * 10.0**power for power in range(-2, 3) for step in steps if low <= step * 10.0**power <= high]
        if len(inside) >= _FEW:
            break
    return tuple(inside)


def _curve(curve: VariantCurve, colour: int, *, shift: float) -> Iterator[Series]:
    label = curve.variant.label
    sizes = tuple(float(point.num_train_images) for point in curve.points)
    if not isinstance(curve.law, NotEstimable):
        images = np.exp(np.linspace(math.log(sizes[0]), math.log(sizes[-1]), _STEPS)).clip(sizes[0], sizes[-1])
        lower, upper = curve.law.band(images)
        yield Series(
            name=f"{label}, fitted",
            x=tuple(images.tolist()),
            y=tuple(curve.law.predict(images).tolist()),
            lower=tuple(lower.tolist()),
            upper=tuple(upper.tolist()),
            kind="band",
            colour=colour,
        )
    yield Series(
        name=f"{label}, draws",
        x=tuple(shift * point.num_train_images for point in curve.points for _ in point.draw_errors),
        y=tuple(error for point in curve.points for error in point.draw_errors),
        kind="dots",
        colour=colour,
    )
    yield Series(
        name=label,
        x=tuple(shift * size for size in sizes),
        y=tuple(point.error.value for point in curve.points),
        lower=tuple(point.error.interval.lower if point.error.interval else None for point in curve.points),
        upper=tuple(point.error.interval.upper if point.error.interval else None for point in curve.points),
        colour=colour,
        notes=tuple(
            f"{label}, {format_count(point.num_train_images)} images: error {format_estimate(point.error)}%, "
            f"{pluralize(len(point.draw_errors), 'draw')}"
            for point in curve.points
        ),
    )


def differences(contrasts: Sequence[Contrast], scores: RoundScores, reference: str) -> Figure:
    """How far the reference is ahead of each other variant, against training images."""
    sizes = sorted({contrast.num_train_images for contrast in contrasts})
    labels = [variant.label for variant in scores.variants]
    others = list(dict.fromkeys(contrast.other for contrast in contrasts))
    return Figure(
        name="differences",
        title=f"Test accuracy of {reference} less that of the others",
        caption=(
            "Means over draws of paired differences (the same images, the same seeds), with 95% t intervals over "
            f"draws, each of its own contrast. Above 0 {reference} is ahead. Images are on a logarithmic axis."
        ),
        x_label="training images",
        y_label="difference, points",
        x_is_logarithmic=True,
        x_ticks=tuple(map(float, sizes)),
        has_zero_line=True,
        series=tuple(
            _difference(
                [each for each in contrasts if each.other == other],
                colour=labels.index(other),
                shift=_shift(place, len(others), sizes),
            )
            for place, other in enumerate(others)
        ),
    )


def _shift(place: int, num_others: int, sizes: Sequence[int]) -> float:
    """The factor by which the images of one of several series are drawn aside."""
    width = math.log(sizes[-1] / sizes[0]) or 1.0
    return math.exp(_SPREAD * width * (place - (num_others - 1) / 2))


def _difference(found: Sequence[Contrast], *, colour: int, shift: float) -> Series:
    ends = [each.paired.difference.interval for each in found]
    return Series(
        name=found[0].other,
        x=tuple(each.num_train_images * shift for each in found),
        y=tuple(each.paired.difference.value for each in found),
        lower=tuple(each.lower if each else None for each in ends),
        upper=tuple(each.upper if each else None for each in ends),
        colour=colour,
        notes=tuple(
            f"{each.reference} − {each.other}, {format_count(each.num_train_images)} images: "
            f"{format_points(each.paired.difference.value)} points {format_interval(each.paired.difference.interval, signed=True)}, "
            f"P({each.reference} better) {format_percent(100 * each.improvement.probability.value)}%"
            for each in found
        ),
    )
