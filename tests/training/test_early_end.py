"""Trainings that patience ends, that diverge, or that cannot start."""

from pathlib import Path

import pytest

from lkca_search.errors import UserError
from lkca_search.records.trial import TrialSpec
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import TrainingDiverged
from tests.support.trainings import FAMILIES, SPEC, changed, measured, opened, outcome


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_a_loss_that_is_not_finite_names_its_step(spec: TrialSpec, data_dirs: DataDirs) -> None:
    _, training = opened(changed(spec, learning_rate=1e30), data_dirs)
    with pytest.raises(TrainingDiverged, match=r"the loss of step [2-5] of 30 is not finite"):
        list(training.results())


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_a_validation_loss_that_is_not_finite_names_its_step(spec: TrialSpec, data_dirs: DataDirs) -> None:
    _, training = opened(changed(spec, learning_rate=1e30, steps=1, reports=1), data_dirs)
    with pytest.raises(TrainingDiverged, match=r"the validation loss after step 1 of 1 is not finite"):
        list(training.results())


def test_a_configuration_that_cannot_be_trained_is_the_users_error(data_dirs: DataDirs) -> None:
    with pytest.raises(UserError, match="kernel_size must be odd"):
        opened(changed(SPEC, kernel_size=4), data_dirs)
    with pytest.raises(UserError, match="digit-s"):
        opened(changed(SPEC, dataset="digit-s"), data_dirs)


@pytest.mark.parametrize("patience", [1, 3])
def test_a_training_that_patience_ends_equals_the_beginning_of_a_full_training(
    patience: int, data_dirs: DataDirs, tmp_path: Path
) -> None:
    still = changed(SPEC, learning_rate=1e-12, steps=10, reports=10)
    whole, _ = outcome(still, data_dirs)
    accuracies = [result["val_accuracy"] for result in whole]
    due = next(i + 1 for i in range(10) if i - accuracies.index(max(accuracies[: i + 1])) >= patience)
    assert due < 10
    spec = changed(still, patience=patience)
    _, training = opened(spec, data_dirs)
    ended = []
    for result in training.results():
        ended.append(measured(result))
        assert training.is_last(result) == (len(ended) == due)
    assert ended == whole[:due]

    _, first = opened(spec, data_dirs)
    next(first.results())
    save_checkpoint(first.state(), tmp_path, step=first.step)
    _, second = opened(spec, data_dirs, tmp_path)
    assert [measured(result) for result in second.results()] == ended


def test_without_patience_a_training_goes_to_its_last_step(data_dirs: DataDirs) -> None:
    _, training = opened(changed(SPEC, learning_rate=1e-12, steps=6, reports=6), data_dirs)
    assert [training.is_last(result) for result in training.results()] == [False] * 5 + [True]
