"""The selection effect: how much of a best validation accuracy is the luck of having been picked."""

import numpy as np

from lkca_search.analysis.estimate import Estimate
from lkca_search.analysis.material import Material
from lkca_search.analysis.replicates import ROUND_OFF, Floats
from lkca_search.analysis.scores import PERCENT, CellScores, RoundScores
from lkca_search.analysis.student import student_mean
from lkca_search.value import Value


class Selection(Value):
    """One cell: the trial that was picked, and what its configuration is worth when trained again. All in percent."""

    cell: str
    variant: str
    num_train_images: int
    trial_id: str
    num_trials: int
    """Trials that it was picked from."""
    picked: float
    """Validation accuracy of the trial that was picked."""
    validation: Estimate
    """Validation accuracy of its replicates, over draws."""
    test: Estimate
    """Test accuracy of its replicates, over draws."""

    @property
    def luck(self) -> float:
        """How far the pick was above what its configuration reaches on the same validation images, in points."""
        return self.picked - self.validation.value

    @property
    def drop(self) -> float:
        """From the validation accuracy that picked it to test, in points."""
        return self.picked - self.test.value


def selections(material: Material, scores: RoundScores) -> tuple[Selection, ...]:
    """The selection effect of every cell that has scores."""
    picked = {record.trial_id: record for record in material.trials}
    return tuple(
        Selection(
            cell=cell.cell,
            variant=cell.variant.label,
            num_train_images=cell.num_train_images,
            trial_id=cell.pick.trial_id,
            num_trials=cell.pick.num_trials,
            picked=PERCENT * picked[cell.pick.trial_id].curve[-1].val_accuracy,
            validation=mean_over_draws(cell.val_accuracies),
            test=mean_over_draws(cell.accuracies),
        )
        for cell in scores.cells
    )


def mean_over_draws(scores: Floats) -> Estimate:
    """The mean over draws of scores (draws, seeds), with its t interval; NaN is a replicate that is missing."""
    means = np.nanmean(scores[np.isfinite(scores).any(axis=1)], axis=1)
    return student_mean(means, round_off=ROUND_OFF * float(np.abs(means).max()))


def accuracy(cell: CellScores) -> Estimate:
    """A cell's test accuracy in percent."""
    return mean_over_draws(cell.accuracies)
