"""Aggregate of a round over several datasets, and the correction of all of its tests together."""

from collections.abc import Sequence
from dataclasses import dataclass

from lkca_search.analysis.aggregate.dataset_range import DatasetRange
from lkca_search.analysis.aggregate.dataset_scores import DatasetScores, check_datasets
from lkca_search.analysis.aggregate.differences import AggregateDifference, aggregate_differences
from lkca_search.analysis.aggregate.profiles import Profile, performance_profiles
from lkca_search.analysis.contrasts import Contrast, contrast_pairs, find_pairs
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.p_values import holm
from lkca_search.records.rounds import correct_for_rounds


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Results over all datasets of a round."""

    ranges: tuple[DatasetRange, ...]
    """Range of the test score of each dataset, by which it is normalized."""
    differences: tuple[AggregateDifference, ...]
    """Reference minus each other variant, over all sizes and at each size."""
    left_out: tuple[str, ...]
    """Variants that are compared with the reference on fewer than two datasets, each with the reason."""
    profiles: tuple[Profile, ...] | NotEstimable


@dataclass(frozen=True, kw_only=True)
class DatasetTests:
    """All tests of a round with several datasets. Holm's correction is over all of them together."""

    contrasts: tuple[Contrast, ...]
    """Contrasts of all datasets, by dataset."""
    aggregate: Aggregate | NotEstimable


def compute_tests(datasets: Sequence[DatasetScores], reference: Variant, *, alpha: float) -> DatasetTests:
    """Return the contrasts of every dataset and the aggregate, corrected for their number and for the rounds.

    `alpha` is the level of the round (`Round.alpha`).
    """
    aggregate: Aggregate | NotEstimable
    try:
        aggregate = _aggregate(datasets, reference)
        differences = aggregate.differences
    except NotEstimable as reason:
        aggregate, differences = reason, ()
    contrasts = _contrasts(
        datasets, reference, alpha, num_other_tests=sum(each.p_value is not None for each in differences)
    )
    p_values = [*(each.paired.p_value for each in contrasts), *(each.p_value for each in differences)]
    corrected = correct_for_rounds(holm(p_values), alpha)
    if isinstance(aggregate, Aggregate):
        aggregate = Aggregate(
            ranges=aggregate.ranges,
            differences=tuple(
                each.model_copy(update={"adjusted_p": p})
                for each, p in zip(differences, corrected[len(contrasts) :], strict=True)
            ),
            left_out=aggregate.left_out,
            profiles=aggregate.profiles,
        )
    return DatasetTests(
        contrasts=tuple(
            each.model_copy(update={"adjusted_p": p}) for each, p in zip(contrasts, corrected, strict=False)
        ),
        aggregate=aggregate,
    )


def _contrasts(
    datasets: Sequence[DatasetScores], reference: Variant, alpha: float, *, num_other_tests: int
) -> tuple[Contrast, ...]:
    named = [(each.dataset, pair) for each in datasets for pair in find_pairs(each.scores, reference)]
    contrasts = contrast_pairs(
        [pair for _, pair in named],
        names=[(a.variant.label, b.variant.label) for _, (a, b) in named],
        alpha=alpha,
        num_other_tests=num_other_tests,
    )
    return tuple(
        contrast.model_copy(update={"dataset": dataset})
        for contrast, (dataset, _) in zip(contrasts, named, strict=True)
    )


def _aggregate(datasets: Sequence[DatasetScores], reference: Variant) -> Aggregate:
    """Return the aggregate before correction.

    Raises:
        NotEstimable: Fewer than two datasets have scores, or the range of one is not estimable.
    """
    scored = [each for each in datasets if each.scores.cells]
    check_datasets([each.dataset for each in scored])
    others = dict.fromkeys(variant for each in scored for variant in each.scores.variants if variant != reference)
    differences: list[AggregateDifference] = []
    left_out = []
    for other in others:
        found = list(aggregate_differences(scored, reference, other))
        differences += found
        if not found:
            left_out.append(_reason(scored, reference, other))
    profiles: tuple[Profile, ...] | NotEstimable
    try:
        profiles = performance_profiles(scored)
    except NotEstimable as reason:
        profiles = reason
    return Aggregate(
        ranges=tuple(each.range for each in scored),
        differences=tuple(differences),
        left_out=tuple(left_out),
        profiles=profiles,
    )


def _reason(datasets: Sequence[DatasetScores], reference: Variant, other: Variant) -> str:
    compared = [each.dataset for each in datasets if each.pairs(reference, other)]
    on = f"on {compared[0]} only" if compared else "on no dataset"
    return f"{other.label} and {reference.label} have pairs of replicates {on}"
