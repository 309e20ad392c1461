"""Contrasts: the reference against every other variant at each size of the data, corrected for how many there are."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, NotEstimable
from lkca_search.analysis.stats.holm import holm
from lkca_search.analysis.stats.improvement import Improvement, probability_of_improvement
from lkca_search.analysis.stats.paired import PairedDifference, bootstrap_difference, paired_difference
from lkca_search.analysis.stats.power import PowerAnalysis, analyze_power
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel

Verdict = Literal["ahead", "behind", "undecided", "untested"]
"""Of the reference: its mean is higher or lower and the corrected p is at most 0.05; neither; or too few draws."""
TARGET_DIFFERENCE = 0.5
"""The difference, in points of accuracy, that advice on more draws is about."""


class Contrast(FrozenModel):
    """The reference and another variant on the same images with the same seeds, in points of test accuracy."""

    reference: str
    other: str
    """Labels of the variants."""
    reference_cell: str
    other_cell: str
    """Keys of the cells whose replicates were compared."""
    num_train_images: int
    paired: PairedDifference
    """Reference - other; its interval is of this contrast alone."""
    bootstrap: Estimate
    """The same difference with the interval of a hierarchical bootstrap, which assumes no normality."""
    adjusted_p: float | None
    """By Holm, over all contrasts of the round that were tested; None for a single draw."""
    improvement: Improvement
    """Probability that a training of the reference beats one of the other."""
    power_analysis: PowerAnalysis | None
    """What would resolve 0.5 points, in a test corrected for all contrasts; None for a single draw."""

    @property
    def verdict(self) -> Verdict:
        if self.adjusted_p is None:
            return "untested"
        if self.adjusted_p > 1 - CONFIDENCE_LEVEL:
            return "undecided"
        return "ahead" if self.paired.difference.value > 0 else "behind"


def compute_contrasts(scores: RoundScores, reference: Variant) -> tuple[Contrast, ...]:
    """Every contrast for which a pair of replicates is there, variant by variant, from few images to many."""
    pairs = list(_pairs(scores, reference))
    return contrast_pairs(pairs, names=[(ours.variant.label, theirs.variant.label) for ours, theirs in pairs])


def contrast_pairs(
    pairs: Sequence[tuple[CellScores, CellScores]], *, names: Sequence[tuple[str, str]]
) -> tuple[Contrast, ...]:
    """The contrast of each pair of cells, corrected for all of them; `names` are what the two sides are called."""
    found = [paired_difference(ours.accuracies, theirs.accuracies) for ours, theirs in pairs]
    adjusted = holm([each.p_value for each in found])
    num_tested = sum(p is not None for p in adjusted)
    return tuple(
        Contrast(
            reference=reference,
            other=other,
            reference_cell=ours.cell,
            other_cell=theirs.cell,
            num_train_images=ours.num_train_images,
            paired=paired,
            bootstrap=bootstrap_difference(
                ours.accuracies,
                theirs.accuracies,
                generator=np.random.default_rng(derive_seed("bootstrap", ours.cell, theirs.cell)),
            ),
            adjusted_p=p,
            improvement=probability_of_improvement(ours.accuracies, theirs.accuracies),
            power_analysis=_power_analysis(ours, theirs, num_tested),
        )
        for (ours, theirs), (reference, other), paired, p in zip(pairs, names, found, adjusted, strict=True)
    )


def _pairs(scores: RoundScores, reference: Variant) -> Iterator[tuple[CellScores, CellScores]]:
    for variant in scores.variants:
        if variant == reference:
            continue
        for theirs in scores.cells_of_variant(variant):
            ours = scores.find_cell(reference, theirs.num_train_images)
            if ours is not None and have_pairs(ours, theirs):
                yield ours, theirs


def have_pairs(ours: CellScores, theirs: CellScores) -> bool:
    """Whether any replicate of one has a partner in the other."""
    difference = ours.accuracies - theirs.accuracies
    return bool((difference == difference).any())  # not NaN


def _power_analysis(ours: CellScores, theirs: CellScores, num_tested: int) -> PowerAnalysis | None:
    try:
        level = 1 - (1 - CONFIDENCE_LEVEL) / max(num_tested, 1)
        return analyze_power(ours.accuracies, theirs.accuracies, difference=TARGET_DIFFERENCE, level=level)
    except NotEstimable:
        return None
