"""Selection effect: the part of the best validation value that is due to chance, as the best of many trials."""

import statistics

import numpy as np

from lkca_search.analysis.scores import CellScores, RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.percentage_mean import mean_percentage
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.metrics import Metric


class SelectionEffect(FrozenModel):
    """Picked trial of one cell, and its retrained configuration; values in the unit of the metric."""

    cell: str
    variant: str
    num_train_images: int
    metric: str
    """Leading metric, by which the trial was picked."""
    sign: int
    """1 if a higher value of the metric is better, else -1."""
    trial_ids: tuple[str, ...]
    """Id of the picked trial; one id per repeat of a repeated search."""
    num_trials: int
    """Trials that it was picked from."""
    picked: float
    """Validation value of the picked trial; the mean over repeats."""
    validation: Estimate
    """Validation value of its replicates, mean over draws."""
    test: Estimate
    """Value of the same metric on test images (accuracy or loss), mean over draws of the replicates."""

    @property
    def selection_bias(self) -> float:
        """Advantage of the pick over its replicates on the same validation images; above 0 if the pick is better."""
        return self.sign * (self.picked - self.validation.value)

    @property
    def test_gap(self) -> float:
        """Advantage of the pick on validation images over its replicates on test images."""
        return self.sign * (self.picked - self.test.value)


def compute_selection_effects(results: SearchResults, scores: RoundScores) -> tuple[SelectionEffect, ...]:
    """Return the selection effect of every cell that has scores."""
    trials = {record.trial_id: record for record in results.trials}
    return tuple(
        SelectionEffect(
            cell=cell.cell,
            variant=cell.variant.label,
            num_train_images=cell.num_train_images,
            metric=results.metric_name,
            sign=results.metric.sign,
            trial_ids=tuple(pick.trial_id for pick in cell.picks),
            num_trials=sum(pick.num_trials for pick in cell.picks),
            picked=results.metric.scale
            * statistics.fmean(trials[pick.trial_id].curve[-1].value(results.metric_name) for pick in cell.picks),
            validation=mean_of(cell, cell.val_values, results.metric),
            test=mean_score(cell),
        )
        for cell in scores.cells
    )


def mean_score(cell: CellScores) -> Estimate:
    """Return the mean score of a cell in its unit, with the sampling of test images if it is known."""
    return mean_of(cell, cell.test_values, cell.metric, sampling_variance=cell.score_variance or 0.0)


def mean_of(cell: CellScores, values: Floats, metric: Metric, *, sampling_variance: float = 0.0) -> Estimate:
    """Return the mean of a metric, (draws, seeds), with its 95% interval; by default for these images."""
    means = cell.unit_means(values)
    if metric.is_percentage:
        return mean_percentage(means, sampling_variance=sampling_variance)
    tolerance = RELATIVE_TOLERANCE * float(np.abs(means).max())
    mean = student_mean(means, tolerance=tolerance, sampling_variance=sampling_variance)
    return mean.within(*metric.bounds)


def mean_error(cell: CellScores) -> Estimate:
    """Return the mean test error of a cell, as in `CellScores.errors`."""
    score = mean_score(cell)
    if (perfect := cell.metric.perfect) is None:
        return score
    value = abs(perfect - score.value)
    if score.interval is None:
        return score.model_copy(update={"value": value})
    ends = (score.interval.upper, score.interval.lower)[:: cell.metric.sign]
    lower, upper = (None if end is None else abs(perfect - end) for end in ends)
    interval = score.interval.model_copy(update={"lower": lower, "upper": upper})
    return Estimate(value=value, interval=interval)
