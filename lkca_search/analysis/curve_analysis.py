"""Learning curves of all variants of a round, their power laws, and comparisons with the curve of the reference."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from lkca_search.analysis.contrasts import Contrast, decided_each_way
from lkca_search.analysis.curves.crossover import Crossover, crossover
from lkca_search.analysis.curves.data_efficiency import DataEfficiency, data_efficiency
from lkca_search.analysis.curves.learning_curve import LearningCurve, learning_curve
from lkca_search.analysis.curves.power_law import PowerLaw, compare_exponents, fit_power_law
from lkca_search.analysis.scores import CellScores, RoundScores, Unit
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.selection import mean_error
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel

T = TypeVar("T")


class Point(FrozenModel):
    """Test error of one variant at one number of training images, as in `CellScores.errors`."""

    num_train_images: int
    error: Estimate
    """Mean over units with its interval."""
    unit: Unit
    unit_errors: tuple[float, ...]
    """Mean error per unit: per draw, or per training if all draws have the same images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VariantCurve:
    """Test error of one variant against training images."""

    variant: Variant
    points: tuple[Point, ...]
    """Mean error per size, from all of its units."""
    law: PowerLaw | NotEstimable
    """Power law fitted to the points, or the reason why there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveContrast:
    """Comparison of the reference's curve with another one; each field is a result or the reason why there is none."""

    other: Variant
    data_efficiency: DataEfficiency | NotEstimable
    """Training images of the other variant per image of the reference, for equal error."""
    crossover: Crossover | NotEstimable
    """Number of training images at which the better variant changes, if tests decide each way."""
    exponent_difference: Estimate | NotEstimable
    """gamma of the reference minus gamma of the other variant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveAnalysis:
    """Learning curves of a round, and their comparisons with the reference."""

    curves: tuple[VariantCurve, ...]
    contrasts: tuple[CurveContrast, ...]


def analyze_curves(
    scores: RoundScores, reference: Variant, contrasts: Sequence[Contrast], *, seed: int
) -> CurveAnalysis:
    """Return the curves of all variants with scores. Resamples depend only on the seed and the variant.

    `contrasts` are those of the round: they decide between which sizes there is a crossover.
    """
    if not _have_errors(scores.cells):
        return _without_laws(scores, reference)
    curves = {variant: _learning_curve(scores.cells_of_variant(variant)) for variant in scores.variants}
    return CurveAnalysis(
        curves=tuple(
            _curve(variant, curve, scores.cells_of_variant(variant), seed) for variant, curve in curves.items()
        ),
        contrasts=tuple(
            _contrast(curves[reference], variant, curve, decided_each_way(contrasts, variant.label), seed)
            for variant, curve in curves.items()
            if reference in curves and variant != reference
        ),
    )


def _have_errors(cells: Sequence[CellScores]) -> bool:
    """Return True if every score has a distance of at least 0 from that of a perfect classifier."""
    return all(cell.metric.perfect is not None and np.nanmin(cell.errors) >= 0 for cell in cells)


def _without_laws(scores: RoundScores, reference: Variant) -> CurveAnalysis:
    """Return the curves of a metric without errors: its values against training images, and no law."""
    reason = NotEstimable("a power law needs errors of at least 0, and this metric has values without a best one")
    return CurveAnalysis(
        curves=tuple(
            VariantCurve(variant=variant, points=_points(scores.cells_of_variant(variant)), law=reason)
            for variant in scores.variants
        ),
        contrasts=tuple(
            CurveContrast(other=variant, data_efficiency=reason, crossover=reason, exponent_difference=reason)
            for variant in scores.variants
            if reference in scores.variants and variant != reference
        ),
    )


def _learning_curve(cells: Sequence[CellScores]) -> LearningCurve:
    """Return the curve of the cells of one variant; cells of the same size are averaged, draw by draw."""
    by_size: dict[int, list[Floats]] = {}
    for cell in cells:
        by_size.setdefault(cell.num_train_images, []).append(cell.errors)
    # Side by side, the replicates of equal cells are like more seeds of each draw.
    return learning_curve(
        list(by_size),
        [np.concatenate(errors, axis=1) for errors in by_size.values()],
        image_errors=_image_errors(cells),
    )


def _image_errors(cells: Sequence[CellScores]) -> Floats | None:
    """Return the mean error per size and test image, (sizes, images); None if any is unknown."""
    by_size: dict[int, list[Floats]] = {}
    for cell in cells:
        if (image_errors := cell.image_errors) is None:
            return None
        by_size.setdefault(cell.num_train_images, []).append(image_errors)
    return np.stack([np.mean(errors, axis=0) for errors in by_size.values()])


def _curve(variant: Variant, curve: LearningCurve, cells: Sequence[CellScores], seed: int) -> VariantCurve:
    maximum = PERCENT if cells[0].metric.is_percentage else math.inf
    law = _value_or_reason(lambda: fit_power_law(curve, generator=_generator(seed, variant), maximum=maximum))
    return VariantCurve(variant=variant, points=_points(cells), law=law)


def _points(cells: Sequence[CellScores]) -> tuple[Point, ...]:
    return tuple(
        Point(
            num_train_images=cell.num_train_images,
            error=mean_error(cell),
            unit=cell.unit,
            unit_errors=tuple(cell.unit_means(cell.errors).tolist()),
        )
        for cell in cells
    )


def _contrast(
    curve: LearningCurve,
    other: Variant,
    other_curve: LearningCurve,
    between: tuple[int, int] | NotEstimable,
    seed: int,
) -> CurveContrast:
    def estimate(statistic: Callable[..., T]) -> T | NotEstimable:
        return _value_or_reason(lambda: statistic(curve, other_curve, generator=_generator(seed, other)))

    return CurveContrast(
        other=other,
        data_efficiency=estimate(data_efficiency),
        crossover=between if isinstance(between, NotEstimable) else estimate(partial(crossover, between=between)),
        exponent_difference=estimate(compare_exponents),
    )


def _value_or_reason(statistic: Callable[[], T]) -> T | NotEstimable:
    try:
        return statistic()
    except NotEstimable as reason:
        return reason


def _generator(seed: int, variant: Variant) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "resamples", variant.label))
