"""Trials that the ledger never starts: duplicates of a configuration, and trials beyond a limit."""

import time
from typing import Any

import pytest
from optuna.trial import TrialState

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Failure, FailureKind, Message
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import Study, open_storage
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, DriverCrash, make_messages, make_spec, train, train_all

CELL = "family=lkca"


def spec_of(
    parameters: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **search: Any
) -> SearchSpec:
    """Return the spec of a search with one cell, LKCA on digits."""
    values = {**make_spec(**search).model_dump(by_alias=True), "factors": {"family": ("lkca",)}}
    values["parameters"] = parameters or {**values["parameters"], "kernel_size": {"value": 3}}
    return SearchSpec.model_validate({**values, "limits": limits or {}})


def open_ledger(folder: SearchFolder, spec: SearchSpec) -> Ledger:
    return Ledger(folder, spec, DIGITS, 10, Tracker())


THREE = {
    "kernel_size": {"choice": (3, 5, 7)},
    "patch_size": {"value": 2},
    "learning_rate": {"value": 1e-3},
}
"""Parameters of a cell with three configurations."""


def trained(folder: SearchFolder) -> list[int | None]:
    """Return the kernel size of each recorded trial, in order."""
    return [record.spec.configuration.kernel_size for record in read_records(folder)]


def study_of(folder: SearchFolder) -> list[Any]:
    storage = open_storage(find_database(folder))
    return storage.get_all_trials(storage.get_study_id_from_name(CELL))


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_no_configuration_is_trained_twice_and_a_cell_without_new_ones_is_exhausted(
    folder: SearchFolder, sampler: str
) -> None:
    ledger = open_ledger(folder, spec_of(THREE, trials_per_cell=10, sampler=sampler))
    train_all(ledger)
    assert sorted(size for size in trained(folder) if size) == [3, 5, 7]
    assert ledger.num_left == 0
    assert (folder.exhausted / CELL).exists()


def test_a_budget_is_spent_on_distinct_configurations(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(THREE, trials_per_cell=3)))
    assert sorted(size for size in trained(folder) if size) == [3, 5, 7]


def test_a_duplicate_is_marked_and_gets_the_outcome_of_its_first_trial(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(THREE, trials_per_cell=10)))
    trials = study_of(folder)
    duplicates = [trial for trial in trials if "repeats" in trial.user_attrs]
    assert len(trials) == 3 + len(duplicates) > 3
    for duplicate in duplicates:
        first = trials[duplicate.user_attrs["repeats"]]
        assert duplicate.params == first.params
        assert (duplicate.state, duplicate.values) == (TrialState.COMPLETE, first.values)
        assert not (folder.trials / CELL / str(duplicate.number)).exists()


def test_a_duplicate_of_a_running_trial_fails_in_the_study_and_leaves_no_record(folder: SearchFolder) -> None:
    ledger = open_ledger(folder, spec_of(THREE, trials_per_cell=10))
    assignments = list(iter(ledger.assign, None))
    assert len(assignments) == 3
    states = {trial.state for trial in study_of(folder) if "repeats" in trial.user_attrs}
    assert states == {TrialState.FAIL}
    for assignment in assignments:
        assert assignment is not None
        train(ledger, assignment)
    assert len(read_records(folder)) == 3


def test_an_exhausted_cell_stays_exhausted_under_the_next_driver(folder: SearchFolder) -> None:
    spec = spec_of(THREE, trials_per_cell=10)
    train_all(open_ledger(folder, spec))
    num_suggested = len(study_of(folder))
    again = open_ledger(folder, spec)
    assert again.num_left == 0
    assert again.assign() is None
    assert len(study_of(folder)) == num_suggested


@pytest.mark.parametrize("crashes_in", ["set_user_attr", "tell"])
def test_a_crash_while_a_duplicate_is_ended_trains_no_duplicate(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, crashes_in: str
) -> None:
    def die(*_: object) -> None:
        raise DriverCrash

    spec = spec_of(THREE, trials_per_cell=10)
    crashing = open_ledger(folder, spec)
    with monkeypatch.context() as patch:
        if crashes_in == "tell":
            patch.setattr(Study, "tell", die)
        else:
            patch.setattr("optuna.trial.Trial.set_user_attr", die)
        with pytest.raises(DriverCrash):
            list(iter(crashing.assign, None))  # up to three trials are assigned before the first duplicate
    train_all(open_ledger(folder, spec))
    assert sorted(size for size in trained(folder) if size) == [3, 5, 7]
    assert all(trial.state.is_finished() for trial in study_of(folder))


def test_continuous_parameters_have_no_duplicates(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(trials_per_cell=8)))
    assert len(study_of(folder)) == 8 == len(read_records(folder))


def fail(ledger: Ledger) -> None:
    assignment = ledger.assign()
    assert assignment is not None
    ledger.on_message(
        assignment.trial_id,
        Message(failure=Failure(kind=FailureKind.TRIAL, message="the loss is not finite"), done=True),
    )
    assert ledger.finish(assignment.trial_id).state is State.FAIL


def test_no_trial_starts_after_more_than_max_failures(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=5, limits={"max_failures": 1})
    ledger = open_ledger(folder, spec)
    fail(ledger)
    fail(ledger)
    assert ledger.assign() is None
    assert ledger.halt_reason == "limits.max_failures: 2 failed, at most 1 allowed"
    assert ledger.num_left == 3
    assert not ledger.may_assign_later
    assert open_ledger(folder, spec).assign() is None
    raised = spec_of(trials_per_cell=5, limits={"max_failures": 2})
    assert open_ledger(folder, raised).assign() is not None


def test_running_trials_finish_after_a_halt(folder: SearchFolder) -> None:
    ledger = open_ledger(folder, spec_of(trials_per_cell=5))
    running = ledger.assign()
    assert running is not None
    ledger.halt("stopped by the test")
    ledger.halt("another reason")
    assert ledger.assign() is None
    assert ledger.halt_reason == "stopped by the test"
    assert train(ledger, running).state is State.COMPLETE
    assert ledger.num_left == 4


def test_a_worker_lost_after_the_halt_leaves_its_trial_to_the_next_driver(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=2)
    ledger = open_ledger(folder, spec)
    running = ledger.assign()
    assert running is not None
    ledger.halt("stopped by the test")
    ledger.on_worker_lost(running.trial_id, "the node died")
    assert ledger.assign() is None
    following = open_ledger(folder, spec).assign()
    assert following is not None
    assert (following.trial_id, following.attempt) == (running.trial_id, 2)


def test_no_trial_starts_after_limits_hours(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=5, limits={"hours": 1.5})
    assert Ledger(folder, spec, DIGITS, 10, Tracker(), opened=time.monotonic() - 1.4 * 3600).assign() is not None
    late = Ledger(folder, spec, DIGITS, 10, Tracker(), opened=time.monotonic() - 1.5 * 3600)
    assert late.assign() is None
    assert late.halt_reason == "limits.hours: 1.5 have passed"


@pytest.mark.parametrize(("accuracies", "num_trials"), [((0.5, 0.4, 0.3, 0.6), 3), ((0.1, 0.2, 0.2, 0.3, 0.3, 0.3), 6)])
def test_a_cell_ends_at_a_plateau(folder: SearchFolder, accuracies: tuple[float, ...], num_trials: int) -> None:
    remaining = iter(accuracies)
    spec = spec_of(trials_per_cell=10, limits={"plateau": 2})
    ledger = open_ledger(folder, spec)
    while (assignment := ledger.assign()) is not None:
        accuracy = next(remaining)
        for message in make_messages(assignment):
            assert message.result is not None
            result = message.result.model_copy(update={"val_accuracy": accuracy})
            ledger.on_message(assignment.trial_id, message.model_copy(update={"result": result}))
        ledger.finish(assignment.trial_id)
    assert len(read_records(folder)) == num_trials
    assert ledger.num_left == 0
    assert ledger.halt_reason is None
    assert open_ledger(folder, spec).num_left == 0
