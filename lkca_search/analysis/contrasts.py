"""Contrasts of test scores: reference variant minus each other variant, corrected for multiple testing."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from lkca_search.analysis.scores import (
    CellScores,
    RoundScores,
    Unit,
    by_unit,
    score_difference_variance,
    shared_unit,
)
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, NotEstimable
from lkca_search.analysis.stats.improvement import Improvement, probability_of_improvement
from lkca_search.analysis.stats.p_values import holm
from lkca_search.analysis.stats.paired import PairedDifference, bootstrap_difference, paired_difference
from lkca_search.analysis.stats.power import PowerAnalysis, analyze_power
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.rounds import correct_for_rounds
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Metric

Verdict = Literal["ahead", "behind", "undecided", "untested"]
"""Result of a contrast for the reference.

`ahead` or `behind` if the corrected p is at most 0.05, `undecided` if it is larger, `untested` for a single draw.
"""


class Contrast(FrozenModel):
    """Reference minus another variant on the same images with the same seeds, in the unit of the test score."""

    reference: str
    """Label of the reference variant."""
    other: str
    """Label of the other variant."""
    dataset: str | None = None
    """Dataset of both cells in a search of several datasets; None in a search of one."""
    reference_cell: str
    """Key of the reference's cell."""
    other_cell: str
    """Key of the other variant's cell."""
    num_train_images: int
    unit: Unit
    """Unit of analysis; `seed` if all draws have the same training images. Counts of draws are then counts of seeds."""
    paired: PairedDifference
    """Mean of reference minus other; the interval is not corrected for multiple testing."""
    bootstrap: Estimate
    """Same difference with the interval of a hierarchical bootstrap, which does not assume a normal distribution."""
    adjusted_p: float | None
    """p-value corrected for all tested contrasts of the round (Holm) and for the rounds; None for a single draw."""
    improvement: Improvement
    """Probability that a training of the reference scores above a training of the other variant."""
    power_analysis: PowerAnalysis | None
    """Draws and seeds needed to detect a small difference (`Metric.small`: 0.5 points) in a test at the same
    corrections; None for a single draw."""
    sign: int = 1
    """1 if a higher score is better, else -1."""

    @property
    def verdict(self) -> Verdict:
        """Result for the reference, at a corrected p of at most 0.05."""
        return decide(self.adjusted_p, self.sign * self.paired.difference.value)


def decide(adjusted_p: float | None, difference: float) -> Verdict:
    """Return the verdict on a difference, above 0 if the first side is better, with this corrected p-value."""
    if adjusted_p is None:
        return "untested"
    if adjusted_p > 1 - CONFIDENCE_LEVEL:
        return "undecided"
    return "ahead" if difference > 0 else "behind"


def compute_contrasts(scores: RoundScores, reference: Variant) -> tuple[Contrast, ...]:
    """Return all contrasts with at least one pair of replicates, by variant, from few training images to many."""
    pairs = list(find_pairs(scores, reference))
    names = [(a.variant.label, b.variant.label) for a, b in pairs]
    return contrast_pairs(pairs, names=names, alpha=scores.round.alpha)


def contrast_pairs(
    pairs: Sequence[tuple[CellScores, CellScores]],
    *,
    names: Sequence[tuple[str, str]],
    alpha: float,
    num_other_tests: int = 0,
) -> tuple[Contrast, ...]:
    """Return the contrast of each pair of cells, corrected for their number and for the rounds of the search.

    `names` label the two sides of each pair. `alpha` is the level of the round (`Round.alpha`). The power analysis is
    for a correction that also covers `num_other_tests`; the caller corrects the p-values for them.
    """
    variances = [score_difference_variance(a, b) for a, b in pairs]
    units = [_units(a, b) for a, b in pairs]
    differences = [
        _within_bounds(paired_difference(*scores, sampling_variance=variance), a.metric)
        for (a, _), scores, variance in zip(pairs, units, variances, strict=True)
    ]
    adjusted = correct_for_rounds(holm([difference.p_value for difference in differences]), alpha)
    num_tested = sum(p is not None for p in adjusted) + num_other_tests
    return tuple(
        Contrast(
            reference=reference,
            other=other,
            reference_cell=a.cell,
            other_cell=b.cell,
            num_train_images=a.num_train_images,
            paired=paired,
            unit=shared_unit(a, b),
            bootstrap=bootstrap_difference(
                *scores,
                generator=np.random.default_rng(derive_seed("bootstrap", a.cell, b.cell)),
                sampling_variance=variance or 0.0,
            ).within(*a.metric.difference_bounds),
            adjusted_p=p,
            improvement=probability_of_improvement(*(a.metric.sign * values for values in scores)),
            power_analysis=_power_analysis(
                scores, a.metric.small, alpha=alpha / max(num_tested, 1), sampling_variance=variance or 0.0
            ),
            sign=a.metric.sign,
        )
        for (a, b), scores, variance, (reference, other), paired, p in zip(
            pairs, units, variances, names, differences, adjusted, strict=True
        )
    )


def _within_bounds(paired: PairedDifference, metric: Metric) -> PairedDifference:
    return paired.model_copy(update={"difference": paired.difference.within(*metric.difference_bounds)})


def _units(a: CellScores, b: CellScores) -> tuple[Floats, Floats]:
    """Return the scores of both cells, (units, trainings per unit)."""
    unit = shared_unit(a, b)
    return by_unit(a.test_values, unit), by_unit(b.test_values, unit)


def find_pairs(scores: RoundScores, reference: Variant) -> Iterator[tuple[CellScores, CellScores]]:
    """Yield the cells of the reference and of another variant that have pairs of replicates at the same size."""
    for variant in scores.variants:
        if variant == reference:
            continue
        for b in scores.cells_of_variant(variant):
            a = scores.find_partner(reference, b)
            if a is not None and have_pairs(a, b):
                yield a, b


def decided_each_way(contrasts: Sequence[Contrast], other: str) -> tuple[int, int] | NotEstimable:
    """Return two sizes at which the reference is ahead of a variant at one and behind it at the other.

    They are the smallest decided size, and the largest decided size with the opposite verdict. Without them, the result
    is the reason why no crossover can be shown.
    """
    decided = [each for each in contrasts if each.other == other and each.verdict in ("ahead", "behind")]
    first = min(decided, key=lambda contrast: contrast.num_train_images, default=None)
    opposite = [each.num_train_images for each in decided if first is not None and each.verdict != first.verdict]
    if first is None or not opposite:
        return NotEstimable("no crossover can be shown: no test decides for A at one size and for B at another")
    return first.num_train_images, max(opposite)


def have_pairs(a: CellScores, b: CellScores) -> bool:
    """Return True if any replicate of one cell has a partner in the other."""
    return bool(np.isfinite(a.test_values - b.test_values).any())


def _power_analysis(
    scores: tuple[Floats, Floats], difference: float, *, alpha: float, sampling_variance: float
) -> PowerAnalysis | None:
    """Return the power analysis of one test at level `alpha`; None if no float holds 1 - alpha (as in round 23)."""
    if 1 - alpha == 1:
        return None
    try:
        return analyze_power(*scores, difference=difference, level=1 - alpha, sampling_variance=sampling_variance)
    except NotEstimable:
        return None
