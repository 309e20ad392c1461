"""Deaths of workers by node: which nodes are not used, and which retries a trial keeps."""

from collections.abc import Callable

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, Message, WorkerLocation
from lkca_search.search.driver.node_faults import EXCLUDED_SECONDS, MIN_TRIALS, STRIKES, Exclusion, NodeFaults
from tests.support.search.toy import make_messages

OpenLedger = Callable[..., Ledger]
BROKEN = WorkerLocation(node="broken")
GOOD = WorkerLocation(node="good")
CUDA = "RuntimeError: CUDA error: an illegal memory access was encountered"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def die(ledger: Ledger, trial: Assignment, location: WorkerLocation | None = BROKEN, **options: bool) -> object:
    return ledger.on_worker_lost(trial.trial_id, CUDA, location=location, **options)


def start(ledger: Ledger) -> Assignment:
    assignment = ledger.assign()
    assert assignment is not None
    return assignment


def end(ledger: Ledger, trial: Assignment, location: WorkerLocation) -> None:
    for message in make_messages(trial):
        ledger.on_message(trial.trial_id, message.model_copy(update={"location": location}))
    ledger.finish(trial.trial_id)


def test_a_node_where_one_trial_after_another_dies_is_not_used_and_no_trial_loses_a_retry(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=1, trials_per_cell=4)
    died = []
    for strike in range(1, STRIKES + 1):
        trial = start(ledger)
        died.append(trial.trial_id)
        exclusion = die(ledger, trial)
        assert (exclusion is not None) == (strike == STRIKES)
    assert len(set(died)) == STRIKES  # after a death another trial starts, to tell the trial's fault from the node's
    assert isinstance(exclusion, Exclusion)
    assert exclusion.node == "broken"
    assert exclusion.reason == f"the workers of {STRIKES} trials died there and none finished; last cause: {CUDA}"
    assert list(ledger.node_faults.excluded) == ["broken"]
    for trial_id in died:  # every trial has all its retries, and begins with its first configuration
        again = start(ledger)
        assert (again.trial_id, again.attempt) == (trial_id, 2)
        end(ledger, again, GOOD)
    assert {record.state for record in read_records(folder)} == {State.COMPLETE}


def test_a_trial_that_dies_where_others_finish_is_at_fault_itself(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=3, trials_per_cell=6)
    too_large = start(ledger)
    die(ledger, too_large)
    for _ in range(3):
        other = start(ledger)
        assert other.trial_id != too_large.trial_id
        end(ledger, other, BROKEN)
        again = start(ledger)
        assert again.trial_id == too_large.trial_id
        die(ledger, again)
    (failed,) = [record for record in read_records(folder) if record.state is State.FAIL]
    assert failed.error == f"lost its worker 4 times; last cause: {CUDA}"
    assert ledger.node_faults.excluded == {}


def test_the_last_trial_of_a_search_fails_after_its_retries_and_excludes_no_node(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=9, trials_per_cell=1)
    other = start(ledger)
    end(ledger, other, BROKEN)
    for _ in range(10):
        assert die(ledger, start(ledger)) is None
    assert [record.state for record in read_records(folder)] == [State.COMPLETE, State.FAIL]


def test_workers_that_die_at_the_same_time_count_once(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(max_retries=3, trials_per_cell=20)
    for wave in range(1, STRIKES + 1):
        exclusions = [die(ledger, trial) for trial in [start(ledger) for _ in range(8)]]
        assert any(exclusions) == (wave == STRIKES)
        assert [*ledger.folder.trials.glob("*/*/*/record.json")] == []


def test_a_trial_that_had_started_before_its_node_was_excluded_keeps_its_retries(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(max_retries=0, trials_per_cell=20)
    ledger.node_faults.on_death(BROKEN, "x", CUDA, attempt=1, newest=1, is_suspicious=True)
    running = [start(ledger) for _ in range(3)]
    for number in range(STRIKES + 1):
        ledger.node_faults.on_death(
            BROKEN, f"y{number}", CUDA, attempt=9 + number, newest=9 + number, is_suspicious=True
        )
    assert list(ledger.node_faults.excluded) == ["broken"]
    for trial in running:
        exclusion = die(ledger, trial)
        assert isinstance(exclusion, Exclusion)
        assert not exclusion.is_new
        assert start(ledger).trial_id == trial.trial_id


def test_a_lost_node_and_gpu_memory_are_held_against_no_node(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(max_retries=9, trials_per_cell=20)
    for _ in range(4):
        die(ledger, start(ledger), location=None)
        trial = start(ledger)
        failure = Failure(kind=FailureKind.GPU_MEMORY, message="CUDA out of memory")
        ledger.on_message(trial.trial_id, Message(failure=failure, location=BROKEN))
        assert die(ledger, trial) is None
    assert ledger.node_faults.died_on(trial.trial_id) == frozenset()


def strike(faults: NodeFaults, location: WorkerLocation, first: int, count: int) -> list[Exclusion | None]:
    return [
        faults.on_death(location, f"cell/{number}", CUDA, attempt=number, newest=number, is_suspicious=True)
        for number in range(first, first + count)
    ]


def test_a_node_is_used_again_after_a_while_and_the_next_death_there_excludes_it_again() -> None:
    clock = Clock()
    faults = NodeFaults(clock=clock)
    assert strike(faults, BROKEN, 1, STRIKES)[-1] is not None
    clock.now = EXCLUDED_SECONDS - 1
    assert list(faults.excluded) == ["broken"]
    clock.now = EXCLUDED_SECONDS
    assert faults.excluded == {}
    (again,) = strike(faults, BROKEN, 100, 1)
    assert again is not None
    assert again.reason.startswith("a worker died there again and none finished")
    clock.now *= 2
    faults.on_finished(BROKEN)
    assert strike(faults, BROKEN, 200, STRIKES - 1) == [None] * (STRIKES - 1)


def test_a_broken_gpu_is_found_although_trials_finish_on_the_other_gpus_of_its_node() -> None:
    faults = NodeFaults()
    first, second = (WorkerLocation(node="broken", gpu=gpu) for gpu in "01")
    for number in range(1, STRIKES):
        strike(faults, first, number, 1)
        faults.on_finished(second)
    assert strike(faults, first, STRIKES, 1) != [None]


def test_deaths_on_several_nodes_are_counted_apart() -> None:
    faults = NodeFaults()
    for number in range(1, STRIKES):
        assert strike(faults, BROKEN, number, 1) == strike(faults, GOOD, 100 + number, 1) == [None]
    assert faults.died_on("cell/1") == {"broken"}


@pytest.mark.parametrize("num_suspicious", [0, MIN_TRIALS - 1])
def test_trials_that_have_died_too_often_before_exclude_no_node(num_suspicious: int) -> None:
    faults = NodeFaults()
    for number in range(1, 30):
        exclusion = faults.on_death(
            BROKEN, str(number), CUDA, attempt=number, newest=number, is_suspicious=number <= num_suspicious
        )
        assert exclusion is None


def test_the_next_driver_uses_every_node_and_resumes_the_trials_of_an_excluded_one(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(trials_per_cell=20)
    died: list[Assignment] = []
    while not ledger.node_faults.excluded:
        died.append(start(ledger))
        die(ledger, died[-1])
    following = open_ledger(trials_per_cell=20)
    assert following.node_faults.excluded == {}
    resumed = [start(following) for _ in died]
    assert {(trial.trial_id, trial.attempt) for trial in resumed} == {(trial.trial_id, 2) for trial in died}
