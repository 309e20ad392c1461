"""What the ledger does not train: repeats of a configuration, and trials beyond a limit."""

import time
from typing import Any

import pytest
from optuna.trial import TrialState

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Message
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import Study, open_storage
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_messages, make_spec, train, train_all

CELL = "family=lkca"


class DriverDied(BaseException):
    """Stands for the end of the process at that point."""


def spec_of(
    parameters: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **search: Any
) -> SearchSpec:
    """One cell of LKCA on digits."""
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
"""A cell with three configurations in all."""


def trained(folder: SearchFolder) -> list[int | None]:
    """The kernel sizes that were trained, in order."""
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
    assert ledger.num_due == 0
    assert (folder.exhausted / CELL).exists()


def test_a_budget_is_filled_with_distinct_configurations(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(THREE, trials_per_cell=3)))
    assert sorted(size for size in trained(folder) if size) == [3, 5, 7]


def test_a_repeat_takes_the_outcome_of_the_trial_it_repeats_and_is_marked(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(THREE, trials_per_cell=10)))
    trials = study_of(folder)
    repeats = [trial for trial in trials if "repeats" in trial.user_attrs]
    assert len(trials) == 3 + len(repeats) > 3
    for repeat in repeats:
        first = trials[repeat.user_attrs["repeats"]]
        assert repeat.params == first.params
        assert (repeat.state, repeat.values) == (TrialState.COMPLETE, first.values)
        assert not (folder.trials / CELL / str(repeat.number)).exists()


def test_a_repeat_of_a_trial_that_is_still_running_is_no_result(folder: SearchFolder) -> None:
    ledger = open_ledger(folder, spec_of(THREE, trials_per_cell=10))
    assignments = list(iter(ledger.assign, None))
    assert len(assignments) == 3
    states = {trial.state for trial in study_of(folder) if "repeats" in trial.user_attrs}
    assert states == {TrialState.FAIL}
    for assignment in assignments:
        assert assignment is not None
        train(ledger, assignment)
    assert len(read_records(folder)) == 3


def test_an_exhausted_cell_stays_so_and_asks_no_more(folder: SearchFolder) -> None:
    spec = spec_of(THREE, trials_per_cell=10)
    train_all(open_ledger(folder, spec))
    asked = len(study_of(folder))
    again = open_ledger(folder, spec)
    assert again.num_due == 0
    assert again.assign() is None
    assert len(study_of(folder)) == asked


@pytest.mark.parametrize("dies_in", ["set_user_attr", "tell"])
def test_a_driver_that_dies_while_it_ends_a_repeat_trains_no_repeat(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    def die(*_: object) -> None:
        raise DriverDied

    spec = spec_of(THREE, trials_per_cell=10)
    dying = open_ledger(folder, spec)
    with monkeypatch.context() as patch:
        if dies_in == "tell":
            patch.setattr(Study, "tell", die)
        else:
            patch.setattr("optuna.trial.Trial.set_user_attr", die)
        with pytest.raises(DriverDied):
            list(iter(dying.assign, None))  # the first three are assigned, or fewer, and then one repeats
    train_all(open_ledger(folder, spec))
    assert sorted(size for size in trained(folder) if size) == [3, 5, 7]
    assert all(trial.state.is_finished() for trial in study_of(folder))


def test_continuous_parameters_never_repeat(folder: SearchFolder) -> None:
    train_all(open_ledger(folder, spec_of(trials_per_cell=8)))
    assert len(study_of(folder)) == 8 == len(read_records(folder))


def fail(ledger: Ledger) -> None:
    assignment = ledger.assign()
    assert assignment is not None
    ledger.on_message(assignment.trial_id, Message(error="a fault of its own", done=True))
    assert ledger.finish(assignment.trial_id).state is State.FAIL


def test_no_trial_starts_once_more_have_failed_than_may(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=5, limits={"max_failures": 1})
    ledger = open_ledger(folder, spec)
    fail(ledger)
    fail(ledger)
    assert ledger.assign() is None
    assert ledger.halt_reason == "limits.max_failures: 2 have failed, 1 may"
    assert ledger.num_due == 3
    assert not ledger.may_assign_later
    assert open_ledger(folder, spec).assign() is None
    raised = spec_of(trials_per_cell=5, limits={"max_failures": 2})
    assert open_ledger(folder, raised).assign() is not None


def test_what_runs_when_a_search_is_halted_is_finished(folder: SearchFolder) -> None:
    ledger = open_ledger(folder, spec_of(trials_per_cell=5))
    running = ledger.assign()
    assert running is not None
    ledger.halt("asked to stop")
    ledger.halt("another reason")
    assert ledger.assign() is None
    assert ledger.halt_reason == "asked to stop"
    assert train(ledger, running).state is State.COMPLETE
    assert ledger.num_due == 4


def test_a_trial_that_dies_after_the_halt_goes_on_under_the_next_driver(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=2)
    ledger = open_ledger(folder, spec)
    running = ledger.assign()
    assert running is not None
    ledger.halt("asked to stop")
    ledger.on_worker_lost(running.trial_id, "the node died")
    assert ledger.assign() is None
    following = open_ledger(folder, spec).assign()
    assert following is not None
    assert (following.trial_id, following.attempt) == (running.trial_id, 2)


def test_no_trial_starts_when_the_hours_have_passed(folder: SearchFolder) -> None:
    spec = spec_of(trials_per_cell=5, limits={"hours": 1.5})
    assert Ledger(folder, spec, DIGITS, 10, Tracker(), opened=time.monotonic() - 1.4 * 3600).assign() is not None
    late = Ledger(folder, spec, DIGITS, 10, Tracker(), opened=time.monotonic() - 1.5 * 3600)
    assert late.assign() is None
    assert late.halt_reason == "limits.hours: 1.5 have passed"


@pytest.mark.parametrize(("values", "trials"), [((0.5, 0.4, 0.3, 0.6), 3), ((0.1, 0.2, 0.2, 0.3, 0.3, 0.3), 6)])
def test_a_cell_ends_after_so_many_trials_without_a_better_value(
    folder: SearchFolder, values: tuple[float, ...], trials: int
) -> None:
    scores = iter(values)
    spec = spec_of(trials_per_cell=10, limits={"plateau": 2})
    ledger = open_ledger(folder, spec)
    while (assignment := ledger.assign()) is not None:
        score = next(scores)
        for message in make_messages(assignment):
            assert message.result is not None
            result = message.result.model_copy(update={"val_accuracy": score})
            ledger.on_message(assignment.trial_id, message.model_copy(update={"result": result}))
        ledger.finish(assignment.trial_id)
    assert len(read_records(folder)) == trials
    assert ledger.num_due == 0
    assert ledger.halt_reason is None
    assert open_ledger(folder, spec).num_due == 0
