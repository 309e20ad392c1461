"""How variants behave as images get scarce: their curves, the laws through them, and how two curves compare."""

from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.curves.crossover import Crossover, crossover
from lkca_search.analysis.curves.data_efficiency import DataEfficiency, data_efficiency
from lkca_search.analysis.curves.learning_curve import LearningCurve, Point, learning_curve
from lkca_search.analysis.curves.power_law import PowerLaw, compare_exponents, fit_power_law
from lkca_search.analysis.scores import RoundScores
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import Estimate, NotEstimable
from lkca_search.seeds import derive_seed


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
    ratio: DataEfficiency | NotEstimable
    """How many times the images of the reference the other needs for the same error."""
    passing: Crossover | NotEstimable
    """Where the lead passes from one to the other."""
    exponents: Estimate | NotEstimable
    """gamma of the reference less that of the other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scarcity:
    """All curves of a round, and the reference's against each other one."""

    curves: tuple[VariantCurve, ...]
    contrasts: tuple[CurveContrast, ...]


def scarcity(scores: RoundScores, reference: Variant, *, seed: int) -> Scarcity:
    """Curves of every variant with scores; resamples depend on the seed and the variants alone."""
    curves = {
        variant: learning_curve(
            [cell.num_train_images for cell in scores.of_variant(variant)],
            [cell.errors for cell in scores.of_variant(variant)],
        )
        for variant in scores.variants
    }
    return Scarcity(
        curves=tuple(_curve(variant, curve, seed) for variant, curve in curves.items()),
        contrasts=tuple(
            _contrast(curves[reference], variant, curve, seed)
            for variant, curve in curves.items()
            if reference in curves and variant != reference
        ),
    )


def _curve(variant: Variant, curve: LearningCurve, seed: int) -> VariantCurve:
    law: PowerLaw | NotEstimable
    try:
        law = fit_power_law(curve, generator=_generator(seed, variant))
    except NotEstimable as refusal:
        law = refusal
    return VariantCurve(variant=variant, points=curve.points(), law=law)


def _contrast(ours: LearningCurve, other: Variant, theirs: LearningCurve, seed: int) -> CurveContrast:
    ratio: DataEfficiency | NotEstimable
    passing: Crossover | NotEstimable
    exponents: Estimate | NotEstimable
    try:
        ratio = data_efficiency(ours, theirs, generator=_generator(seed, other))
    except NotEstimable as refusal:
        ratio = refusal
    try:
        passing = crossover(ours, theirs, generator=_generator(seed, other))
    except NotEstimable as refusal:
        passing = refusal
    try:
        exponents = compare_exponents(ours, theirs, generator=_generator(seed, other))
    except NotEstimable as refusal:
        exponents = refusal
    return CurveContrast(other=other, ratio=ratio, passing=passing, exponents=exponents)


def _generator(seed: int, variant: Variant) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "resamples", variant.label))
