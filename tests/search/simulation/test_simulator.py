"""A simulated search differs from a real one only in its training; messages arrive in the order of simulated time."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, Result, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, Message
from lkca_search.search.simulation.simulator import SimulatedWorker, simulate
from lkca_search.search.simulation.toy_training import BEST_ACCURACY, OPTIMUM, ToyTraining, toy_accuracy
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.configuration import Configuration
from lkca_search.tracking.tracker import Tracker, TrialStart
from tests.support.search.toy import DIGITS, make_messages, make_metadata, make_spec


class EventLog(Tracker):
    """Tracker that stores all events in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, float]] = []

    def trial_started(self, start: TrialStart) -> None:
        self.events.append(("start", start.trial_id, 0.0))

    def trial_reported(self, trial_id: str, result: Result) -> None:
        self.events.append(("report", trial_id, result.seconds))

    def trial_finished(self, record: Record) -> None:
        self.events.append(("finish", record.trial_id, 0.0))


def open_ledger(folder: SearchFolder, tracker: Tracker | None = None, **search: Any) -> Ledger:
    storage = open_in_memory_storage()
    return Ledger(folder, make_spec(**search), DIGITS, 10, tracker or Tracker(), storage=storage)


def in_folder(name: str) -> SearchFolder:
    folder = Home.from_environment().search(name)
    folder.root.mkdir(parents=True)
    return folder


def worker_with(seconds_per_report: dict[str, float]) -> SimulatedWorker:
    """Return a worker that sends two reports per trial, spaced by the seconds of the trial's family."""

    def worker(assignment: Assignment) -> Iterator[Message]:
        seconds = seconds_per_report[assignment.spec.configuration.family]
        for report, message in enumerate(make_messages(assignment), start=1):
            assert message.result is not None
            result = message.result.model_copy(update={"seconds": seconds * report})
            yield message.model_copy(update={"result": result})

    return worker


def test_every_cell_has_all_its_trials_and_every_trial_a_record(folder: SearchFolder) -> None:
    ledger = open_ledger(folder)
    records = simulate(ledger, make_messages, num_slots=2).records
    assert ledger.num_left == 0
    assert Counter(record.cell for record in records) == {"family=lkca": 3, "family=vit": 3}
    assert sorted(record.trial_id for record in records) == [record.trial_id for record in read_records(folder)]


def test_messages_arrive_in_the_order_of_simulated_time(folder: SearchFolder) -> None:
    log = EventLog()
    ledger = open_ledger(folder, log, trials_per_cell=2)
    seconds = simulate(ledger, worker_with({"lkca": 1.0, "vit": 3.0}), num_slots=2).seconds
    one, two, slow, slower = "family=lkca/0", "family=lkca/1", "family=vit/0", "family=vit/1"
    assert log.events == [
        ("start", one, 0.0),
        ("start", slow, 0.0),
        ("report", one, 1.0),
        ("report", one, 2.0),
        ("finish", one, 0.0),
        ("start", two, 0.0),  # at 2
        ("report", slow, 3.0),
        ("report", two, 1.0),  # at 3, scheduled later
        ("report", two, 2.0),
        ("finish", two, 0.0),
        ("start", slower, 0.0),  # at 4
        ("report", slow, 6.0),
        ("finish", slow, 0.0),
        ("report", slower, 3.0),
        ("report", slower, 6.0),
        ("finish", slower, 0.0),
    ]
    assert seconds == 10.0


@pytest.mark.parametrize(("num_slots", "seconds"), [(1, 12.0), (2, 6.0), (3, 4.0), (6, 2.0), (60, 2.0)])
def test_slots_run_trials_in_parallel(folder: SearchFolder, num_slots: int, seconds: float) -> None:
    outcome = simulate(open_ledger(folder), worker_with({"lkca": 1.0, "vit": 1.0}), num_slots=num_slots)
    assert (len(outcome.records), outcome.seconds) == (6, seconds)


def test_a_failed_trial_frees_its_slot(folder: SearchFolder) -> None:
    def failing(assignment: Assignment) -> Iterator[Message]:
        first, _ = make_messages(assignment)
        yield first
        yield Message(failure=Failure(kind=FailureKind.TRIAL, message="broken"), done=True)

    outcome = simulate(open_ledger(folder), failing)
    assert [(record.state, len(record.curve)) for record in outcome.records] == [(State.FAIL, 1)] * 6


def test_a_pruned_trial_frees_its_slot_at_once(folder: SearchFolder) -> None:
    search = {"pruner": "median", "trials_per_cell": 20, "seed": 1}
    outcome = simulate(open_ledger(folder, **search), worker_with({"lkca": 1.0, "vit": 1.0}))
    num_pruned = sum(record.state is State.PRUNED for record in outcome.records)
    assert num_pruned > 0
    assert outcome.seconds == 2 * len(outcome.records) - num_pruned


def test_a_message_without_a_result_takes_no_simulated_time(folder: SearchFolder) -> None:
    def with_extra_message(assignment: Assignment) -> Iterator[Message]:
        yield Message(metadata=make_metadata())
        yield from make_messages(assignment)

    assert len(simulate(open_ledger(folder), with_extra_message).records) == 6


def test_num_slots_below_1_is_an_error(folder: SearchFolder) -> None:
    with pytest.raises(ValueError, match=re.escape("num_slots must be at least 1, got 0")):
        simulate(open_ledger(folder), make_messages, num_slots=0)


def outcome(name: str, **search: Any) -> list[tuple[str, Configuration, list[float], State]]:
    chosen = {"sampler": "tpe", "pruner": "hyperband", "trials_per_cell": 15, **search}
    records = simulate(open_ledger(in_folder(name), **chosen), ToyTraining()).records
    return [
        (record.trial_id, record.spec.configuration, [result.val_accuracy for result in record.curve], record.state)
        for record in records
    ]


def test_equal_seeds_give_equal_searches_and_other_seeds_others() -> None:
    once, again, other = outcome("once", seed=3), outcome("again", seed=3), outcome("other", seed=4)
    assert once == again
    assert {configuration for _, configuration, *_ in once}.isdisjoint(configuration for _, configuration, *_ in other)


# The toy training


def test_toy_accuracy_is_highest_at_the_optimum() -> None:
    best = Configuration.model_validate(dict(OPTIMUM))
    assert toy_accuracy(best) == BEST_ACCURACY
    for name, value in OPTIMUM.items():
        for factor in (0.5, 2.0):
            moved = best.model_copy(update={name: type(value)(value * factor)})
            assert toy_accuracy(moved) < BEST_ACCURACY


def test_a_toy_curve_ends_at_its_toy_accuracy_and_curves_cross(folder: SearchFolder) -> None:
    assignment = open_ledger(folder).assign()
    assert assignment is not None
    curves = {}
    for learning_rate in (1e-3, 3e-2):
        configuration = assignment.spec.configuration.model_copy(update={"learning_rate": learning_rate})
        training = assignment.spec.training.model_copy(update={"reports": 10})
        spec = assignment.spec.model_copy(update={"configuration": configuration, "training": training})
        messages = list(ToyTraining(noise=0.0)(assignment.model_copy(update={"spec": spec})))
        assert [message.done for message in messages] == [False] * 9 + [True]
        curves[learning_rate] = [message.result.val_accuracy for message in messages if message.result]
        assert curves[learning_rate] == sorted(curves[learning_rate])
        assert curves[learning_rate][-1] == pytest.approx(toy_accuracy(configuration))
    assert curves[1e-3][0] < curves[3e-2][0]
    assert curves[1e-3][-1] > curves[3e-2][-1]
