"""How variants behave as images get scarce: their curves, the laws through them, and how two curves compare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lkca_search.analysis.curves.crossover import Crossover, crossover
from lkca_search.analysis.curves.data_efficiency import DataEfficiency, data_efficiency
from lkca_search.analysis.curves.learning_curve import LearningCurve, Point, learning_curve
from lkca_search.analysis.curves.power_law import PowerLaw, compare_exponents, fit_power_law
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.seeds import derive_seed

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class VariantCurve:
    """One variant's test error, in percent, against training images."""

    variant: Variant
    points: tuple[Point, ...]
    law: PowerLaw | NotEstimable
    """The law through the points, or why there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveContrast:
    """The reference's curve against another's; each number, or why it cannot be had."""

    other: Variant
    data_efficiency: DataEfficiency | NotEstimable
    """How many times the images of the reference the other needs for the same error."""
    crossover: Crossover | NotEstimable
    """Where the lead passes from one to the other."""
    exponent_difference: Estimate | NotEstimable
    """gamma of the reference less that of the other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveAnalysis:
    """All curves of a round, and the reference's against each other one."""

    curves: tuple[VariantCurve, ...]
    contrasts: tuple[CurveContrast, ...]


def analyze_curves(scores: RoundScores, reference: Variant, *, seed: int) -> CurveAnalysis:
    """Curves of every variant with scores; resamples depend on the seed and the variants alone."""
    curves = {
        variant: learning_curve(
            [cell.num_train_images for cell in scores.cells_of_variant(variant)],
            [cell.errors for cell in scores.cells_of_variant(variant)],
        )
        for variant in scores.variants
    }
    return CurveAnalysis(
        curves=tuple(_curve(variant, curve, seed) for variant, curve in curves.items()),
        contrasts=tuple(
            _contrast(curves[reference], variant, curve, seed)
            for variant, curve in curves.items()
            if reference in curves and variant != reference
        ),
    )


def _curve(variant: Variant, curve: LearningCurve, seed: int) -> VariantCurve:
    law = _value_or_reason(lambda: fit_power_law(curve, generator=_generator(seed, variant)))
    return VariantCurve(variant=variant, points=curve.points(), law=law)


def _contrast(curve: LearningCurve, other: Variant, other_curve: LearningCurve, seed: int) -> CurveContrast:
    def estimate(statistic: Callable[..., T]) -> T | NotEstimable:
        return _value_or_reason(lambda: statistic(curve, other_curve, generator=_generator(seed, other)))

    return CurveContrast(
        other=other,
        data_efficiency=estimate(data_efficiency),
        crossover=estimate(crossover),
        exponent_difference=estimate(compare_exponents),
    )


def _value_or_reason(statistic: Callable[[], T]) -> T | NotEstimable:
    try:
        return statistic()
    except NotEstimable as reason:
        return reason


def _generator(seed: int, variant: Variant) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "resamples", variant.label))
