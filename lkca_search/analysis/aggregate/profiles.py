"""Performance profiles: share of the trainings of a variant whose normalized test score is above a threshold.

Run-score distributions of Agarwal et al. 2021 (section 4.2, after Dolan & Moré 2002). A task is a dataset at one size
of the data. Only tasks with scores of every variant count, so all curves are about the same tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lkca_search.analysis.aggregate.dataset_scores import DatasetScores, SizeLevel
from lkca_search.analysis.aggregate.stratified import stratified_mean
from lkca_search.analysis.scores import CellScores
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.stats.bootstrap import NUM_RESAMPLES, resample_draws, widened_bounds
from lkca_search.analysis.stats.estimate import CONFIDENCE_LEVEL, Estimate, NotEstimable
from lkca_search.analysis.stats.percentage_mean import PERCENT
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.seeds import derive_seed

NUM_THRESHOLDS = 101

_Task = tuple[str, SizeLevel]
"""Dataset and size of the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Normalized test scores of one variant on the tasks that all variants have, in percent of the range."""

    variant: Variant
    tasks: tuple[_Task, ...]
    mean: Estimate
    """Interquartile mean of the mean score per dataset, size and draw, with its interval."""
    thresholds: Floats
    """Normalized scores, (thresholds,), the same for all variants."""
    shares: Floats
    """Percentage of the trainings above each threshold, (thresholds,); each dataset has the same weight."""
    bounds: tuple[Floats, Floats] | None
    """Lower and upper end of the 95% band at each threshold alone; None if a dataset has a single draw."""


def performance_profiles(datasets: Sequence[DatasetScores]) -> tuple[Profile, ...]:
    """Return the profile of every variant, in the order of the space file.

    Raises:
        NotEstimable: Fewer than two datasets have a size at which every variant has scores, or as for `dataset_range`.
    """
    cells: dict[Variant, dict[_Task, CellScores]] = {}
    for each in datasets:
        for cell in each.scores.cells:
            cells.setdefault(cell.variant, {})[each.dataset, each.size_of(cell)] = cell
    shared = [task for task in next(iter(cells.values())) if all(task in found for found in cells.values())]
    tasks = [task for task in shared if task[0] in {each.dataset for each in datasets}]
    used = [each for each in datasets if each.dataset in {dataset for dataset, _ in tasks}]
    if len(used) < 2:
        raise NotEstimable("fewer than 2 datasets have a size of the data at which every variant has test results")
    scores = {
        variant: [_scores(each, [found[task] for task in tasks if task[0] == each.dataset]) for each in used]
        for variant, found in cells.items()
    }
    every = np.concatenate([stratum.ravel() for strata in scores.values() for stratum in strata])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    thresholds = np.linspace(low - (high - low) / NUM_THRESHOLDS, high, NUM_THRESHOLDS)  # begins at a share of 100%
    return tuple(
        _profile(variant, tasks, strata, thresholds, used, _sampling_variance(used, cells[variant], tasks))
        for variant, strata in scores.items()
    )


def _scores(dataset: DatasetScores, cells: Sequence[CellScores]) -> Floats:
    """Return the normalized scores of a dataset, (draws, sizes, seeds), of draws with any score."""
    values = np.stack([dataset.normalize(cell) for cell in cells], axis=1)
    kept: Floats = values[np.isfinite(values).any(axis=(1, 2))]
    return kept


def _profile(
    variant: Variant,
    tasks: Sequence[_Task],
    strata: Sequence[Floats],
    thresholds: Floats,
    datasets: Sequence[DatasetScores],
    sampling_variance: float,
) -> Profile:
    generator = np.random.default_rng(derive_seed("profile", variant.label))
    mean, _ = stratified_mean(
        [_means_over_seeds(stratum) for stratum in strata],
        generator=generator,
        tolerance=RELATIVE_TOLERANCE * PERCENT,
        sampling_variance=sampling_variance,
    )
    mean = mean.within(min(each.bounds[0] for each in datasets), max(each.bounds[1] for each in datasets))
    num_draws = min(map(len, strata))
    counts = [_counts(stratum, thresholds) for stratum in strata]
    bounds = None
    shares = _shares(counts, [np.arange(len(stratum))[None] for stratum in strata])[0]
    if num_draws > 1:
        draws = [resample_draws(len(each), num_resamples=NUM_RESAMPLES, generator=generator) for each in strata]
        resampled = _shares(counts, draws)
        bounds = widened_bounds(
            shares, resampled, num_draws=num_draws, level=CONFIDENCE_LEVEL, minimum=0.0, maximum=PERCENT
        )
    return Profile(variant=variant, tasks=tuple(tasks), mean=mean, thresholds=thresholds, shares=shares, bounds=bounds)


def _means_over_seeds(scores: Floats) -> Floats:
    """Return the mean over seeds, (draws, sizes), from (draws, sizes, seeds)."""
    counts = np.isfinite(scores).sum(axis=2)
    means: Floats = np.where(counts, np.nansum(scores, axis=2) / np.maximum(counts, 1), np.nan)
    return means


def _counts(scores: Floats, thresholds: Floats) -> tuple[Floats, Floats]:
    """Return the trainings above each threshold, (draws, thresholds), and all trainings, (draws,)."""
    values = scores.reshape(len(scores), -1)
    above = (values[:, :, None] > thresholds).sum(axis=1)  # NaN is above no threshold
    return above.astype(np.float64), np.isfinite(values).sum(axis=1).astype(np.float64)


def _shares(counts: Sequence[tuple[Floats, Floats]], draws: Sequence[np.ndarray]) -> Floats:
    """Return the percentage above each threshold, (resamples, thresholds): mean over datasets, of the given draws."""
    parts = [
        above[chosen].sum(axis=1) / number[chosen].sum(axis=1)[:, None]
        for (above, number), chosen in zip(counts, draws, strict=True)
    ]
    shares: Floats = PERCENT * np.mean(parts, axis=0)
    return shares


def _sampling_variance(
    datasets: Sequence[DatasetScores], cells: dict[_Task, CellScores], tasks: Sequence[_Task]
) -> float:
    """Return the variance of the mean from the sampling of test images, as for differences; 0 if it is unknown."""
    variance = 0.0
    for each in datasets:
        variances = [cells[task].score_variance for task in tasks if task[0] == each.dataset]
        if any(found is None for found in variances):
            return 0.0
        errors = np.sqrt([found or 0.0 for found in variances])
        share = len(errors) / len(tasks)
        variance += float(share * PERCENT * errors.mean() / each.range.width) ** 2
    return variance
