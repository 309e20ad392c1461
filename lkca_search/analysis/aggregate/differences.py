"""Differences between the reference and another variant over several datasets, normalized per dataset."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lkca_search.analysis.aggregate.dataset_scores import DatasetScores, SizeLevel
from lkca_search.analysis.aggregate.stratified import SINGLE_DRAW, combine_variances, stratified_mean
from lkca_search.analysis.contrasts import Verdict, decide
from lkca_search.analysis.scores import CellScores, by_unit, score_difference_variance
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.improvement import share_with_interval, shares_of_wins
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats, pair
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import FrozenModel

Pair = tuple[CellScores, CellScores]
"""Cells of the reference and of the other variant at one size of the data."""


class AggregateDifference(FrozenModel):
    """Reference minus another variant over several datasets, in percent of the range of each dataset."""

    reference: str
    """Label of the reference variant."""
    other: str
    """Label of the other variant."""
    size: SizeLevel | None
    """Level of the size of the data; None for all sizes together."""
    datasets: tuple[str, ...]
    """Datasets on which both variants have pairs of replicates."""
    difference: Estimate
    """Interquartile mean over all datasets, sizes and draws, with its interval over draws within datasets."""
    num_values: int
    """Differences that it is the interquartile mean of: one per dataset, size and draw."""
    num_draws: tuple[int, ...]
    """Draws per dataset; trainings if all draws have the same images."""
    improvement: Estimate
    """Probability that a training of the reference scores above one of the other variant; mean over datasets."""
    p_value: float | None
    """Two-sided p that the interquartile mean is 0, before correction; None for a single draw."""
    adjusted_p: float | None = None
    """p-value corrected for all tests of the round, contrasts included, and for the rounds."""

    @property
    def verdict(self) -> Verdict:
        """Result for the reference, at a corrected p of at most 0.05."""
        return decide(self.adjusted_p, self.difference.value)


def aggregate_differences(
    datasets: Sequence[DatasetScores], reference: Variant, other: Variant
) -> Iterator[AggregateDifference]:
    """Yield the difference over all sizes, then the one at each size; only those of at least two datasets.

    Raises:
        NotEstimable: The range of a dataset is not estimable.
    """
    pairs = {each: found for each in datasets if (found := each.pairs(reference, other))}
    sizes = list(dict.fromkeys(each.size_of(a) for each, found in pairs.items() for a, _ in found))
    for size in (None, *(sizes if len(sizes) > 1 else ())):
        at_size = {
            each: chosen
            for each, found in pairs.items()
            if (chosen := [(a, b) for a, b in found if size in (None, each.size_of(a))])
        }
        if len(at_size) > 1:
            yield difference_of_pairs(at_size, reference=reference.label, other=other.label, size=size)


def difference_of_pairs(
    pairs: Mapping[DatasetScores, Sequence[Pair]], *, reference: str, other: str, size: SizeLevel | None
) -> AggregateDifference:
    """Return the difference over the datasets of these pairs of cells, before correction; the labels name its sides.

    Raises:
        NotEstimable: The range of a dataset is not estimable.
    """
    strata = [_differences(each, found) for each, found in pairs.items()]
    names = tuple(each.dataset for each in pairs)
    num_values = [int(np.isfinite(stratum).sum()) for stratum in strata]
    difference, p_value = stratified_mean(
        strata,
        generator=np.random.default_rng(derive_seed("aggregate", reference, other, str(size), *names)),
        tolerance=RELATIVE_TOLERANCE * PERCENT,
        sampling_variance=_sampling_variance(pairs, num_values),
    )
    largest = max(each.bounds[1] - each.bounds[0] for each in pairs)
    return AggregateDifference(
        reference=reference,
        other=other,
        size=size,
        datasets=names,
        difference=difference.within(-largest, largest),
        num_values=sum(num_values),
        num_draws=tuple(map(len, strata)),
        improvement=_improvement(pairs),
        p_value=p_value,
    )


def _differences(dataset: DatasetScores, pairs: Sequence[Pair]) -> Floats:
    """Return the normalized differences of one dataset, (draws, sizes), of the draws with any pair."""
    values = np.stack([dataset.normalized_difference(a, b) for a, b in pairs], axis=1)
    kept: Floats = values[np.isfinite(values).any(axis=1)]
    return kept


def _sampling_variance(pairs: Mapping[DatasetScores, Sequence[Pair]], num_values: Sequence[int]) -> float:
    """Return the variance of the difference from the sampling of test images; 0 if it is unknown for a cell.

    Datasets have independent test images. The sizes of one dataset share theirs, so their standard errors are averaged,
    which is an upper bound.
    """
    variance = 0.0
    for (dataset, found), number in zip(pairs.items(), num_values, strict=True):
        variances = [score_difference_variance(a, b) for a, b in found]
        if any(each is None for each in variances):
            return 0.0
        error = float(np.mean([math.sqrt(each or 0.0) for each in variances]))
        variance += (number / sum(num_values) * PERCENT * error / dataset.range.width) ** 2
    return variance


def _improvement(pairs: Mapping[DatasetScores, Sequence[Pair]]) -> Estimate:
    """Return the probability of improvement: mean over datasets of the mean over draws and sizes.

    It is that of Agarwal et al. 2021 (section 4.3), with datasets and sizes as tasks. The interval is Wilson's for the
    effective number of independent draws, as in `improvement`, with the variance of the stratified mean.
    """
    shares = [_win_shares(dataset, found) for dataset, found in pairs.items()]
    value = float(np.mean([each.mean() for each in shares]))
    if min(map(len, shares)) < 2:
        return Estimate(value=value, reason=SINGLE_DRAW)
    draws = [len(each) for each in shares]
    found = combine_variances([float(each.var(ddof=1)) / len(each) / len(shares) ** 2 for each in shares], draws)
    num_pairs = sum(int(np.isfinite(a.test_values - b.test_values).sum()) for each in pairs.values() for a, b in each)
    maximum, variance = value * (1 - value), found.error**2
    effective = min(max(maximum / variance, sum(draws)), num_pairs) if variance > 0 else float(sum(draws))
    return share_with_interval(value, effective)


def _win_shares(dataset: DatasetScores, pairs: Sequence[Pair]) -> Floats:
    """Return the share of pairs of trainings in which the reference is better, per draw, (draws,); mean over sizes."""
    shares = np.full((len(by_unit(pairs[0][0].test_values, dataset.unit)), len(pairs)), np.nan)
    for column, (a, b) in enumerate(pairs):
        units = [cell.metric.sign * by_unit(cell.test_values, dataset.unit) for cell in (a, b)]
        kept = np.isfinite(units[0] - units[1]).any(axis=1)
        shares[kept, column] = shares_of_wins(pair(*units))
    kept_shares: Floats = np.nanmean(shares[np.isfinite(shares).any(axis=1)], axis=1)
    return kept_shares
