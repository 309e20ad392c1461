"""The selection effect: how much of a best validation accuracy is the luck of having been picked."""

import statistics

import numpy as np

from lkca_search.analysis.scores import PERCENT, CellScores, RoundScores
from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.stats.estimate import Estimate
from lkca_search.analysis.stats.replicates import RELATIVE_TOLERANCE, Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.spec.base import FrozenModel


class SelectionEffect(FrozenModel):
    """One cell: the trial that was picked, and what its configuration is worth when trained again. All in percent."""

    cell: str
    variant: str
    num_train_images: int
    trial_ids: tuple[str, ...]
    """The trial that was picked, or one for each repeat of the search."""
    num_trials: int
    """Trials that they were picked from."""
    picked: float
    """Validation accuracy of what was picked, the mean over repeats."""
    validation: Estimate
    """Validation accuracy of its replicates, over draws."""
    test: Estimate
    """Test accuracy of its replicates, over draws."""

    @property
    def selection_bias(self) -> float:
        """How far the pick was above what its configuration reaches on the same validation images, in points."""
        return self.picked - self.validation.value

    @property
    def test_gap(self) -> float:
        """From the validation accuracy that picked it to test, in points."""
        return self.picked - self.test.value


def compute_selection_effects(results: SearchResults, scores: RoundScores) -> tuple[SelectionEffect, ...]:
    """The selection effect of every cell that has scores."""
    picked = {record.trial_id: record for record in results.trials}
    return tuple(
        SelectionEffect(
            cell=cell.cell,
            variant=cell.variant.label,
            num_train_images=cell.num_train_images,
            trial_ids=tuple(pick.trial_id for pick in cell.picks),
            num_trials=sum(pick.num_trials for pick in cell.picks),
            picked=PERCENT * statistics.fmean(picked[pick.trial_id].curve[-1].val_accuracy for pick in cell.picks),
            validation=mean_over_draws(cell.val_accuracies),
            test=mean_over_draws(cell.accuracies),
        )
        for cell in scores.cells
    )


def mean_over_draws(scores: Floats) -> Estimate:
    """The mean over draws of scores (draws, seeds), with its t interval; NaN is a replicate that is missing."""
    means = np.nanmean(scores[np.isfinite(scores).any(axis=1)], axis=1)
    return student_mean(means, tolerance=RELATIVE_TOLERANCE * float(np.abs(means).max()))


def mean_accuracy(cell: CellScores) -> Estimate:
    """A cell's test accuracy in percent."""
    return mean_over_draws(cell.accuracies)
