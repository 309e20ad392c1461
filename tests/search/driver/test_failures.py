"""Handling of each kind of failure by the queue: recorded, retried, or a reason to halt."""

from collections.abc import Callable

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Failure, FailureKind, Message
from lkca_search.search.state.lease_status import LeaseStatus, count_unfinished
from lkca_search.spec.resources import TrialResources

OpenLedger = Callable[..., Ledger]
FIRST = "family=lkca/0"


def start(ledger: Ledger, *, attempt: int = 1) -> None:
    assignment = ledger.assign()
    assert assignment is not None
    assert (assignment.trial_id, assignment.attempt) == (FIRST, attempt)


def report(ledger: Ledger, kind: FailureKind, text: str) -> None:
    """Report a failure as a worker does: only an error of the trial is its last message."""
    is_own = kind is FailureKind.TRIAL
    assert not ledger.on_message(FIRST, Message(failure=Failure(kind=kind, message=text), done=is_own))


def test_an_error_of_the_trial_is_recorded_with_its_text(open_ledger: OpenLedger, folder: SearchFolder) -> None:
    ledger = open_ledger()
    start(ledger)
    report(ledger, FailureKind.TRIAL, "the loss of step 3 is not finite")
    record = ledger.finish(FIRST)
    assert read_records(folder) == [record]
    assert (record.state, record.value, record.error) == (State.FAIL, None, "the loss of step 3 is not finite")


@pytest.mark.parametrize("kind", [FailureKind.MACHINE, FailureKind.GPU_MEMORY])
def test_a_fault_of_the_machine_is_retried_and_recorded_after_the_last_retry(
    open_ledger: OpenLedger, folder: SearchFolder, kind: FailureKind
) -> None:
    ledger = open_ledger(max_retries=1)
    for attempt in (1, 2):
        start(ledger, attempt=attempt)
        report(ledger, kind, f"fault {attempt}")
        assert ledger.failure(FIRST) == Failure(kind=kind, message=f"fault {attempt}")
        ledger.on_worker_lost(FIRST, "the last line of Tune's error")
    (record,) = read_records(folder)
    assert record.state is State.FAIL
    assert record.error == "lost its worker 2 times; last cause: fault 2"
    assert ledger.halt_reason is None


def test_a_lost_worker_that_reported_nothing_is_retried_and_named_by_its_cause(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=0)
    start(ledger)
    assert ledger.failure(FIRST) is None
    ledger.on_worker_lost(FIRST, "NodeError in a text is no node failure")
    assert ledger.halt_reason is None
    assert read_records(folder)[0].error == (
        "lost its worker 1 times; last cause: NodeError in a text is no node failure"
    )


def test_status_counts_a_trial_that_has_lost_its_worker_as_cut_off_until_its_next_attempt(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger()
    counts = []
    for step in ("start", "lose", "start", "finish"):
        if step == "start":
            start(ledger, attempt=1 + len(counts) // 2)
        elif step == "lose":
            ledger.on_worker_lost(FIRST, "the node died")
        else:
            report(ledger, FailureKind.TRIAL, "the loss of step 3 is not finite")
            ledger.finish(FIRST)
        listing = folder.list_trials().trials
        lease = LeaseStatus(is_held=True, driver=listing.drivers[FIRST], holder="made")
        numbers = count_unfinished(listing, {*listing.records}, lease)
        counts.append(tuple(number["family=lkca"] for number in numbers))
    assert counts == [(1, 0), (0, 1), (1, 0), (0, 0)]
    assert not list(folder.trials.glob(f"{FIRST}/*/lost")), "a recorded trial needs no mark"


def test_a_lost_worker_that_does_not_count_as_retry_uses_up_no_retry(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=0)
    for attempt in (1, 2, 3):
        start(ledger, attempt=attempt)
        report(ledger, FailureKind.GPU_MEMORY, "CUDA out of memory")
        ledger.on_worker_lost(FIRST, "", counts_as_retry=False)
    assert read_records(folder) == []


def test_a_node_without_the_images_halts_the_driver_and_the_trial_stays_due(
    open_ledger: OpenLedger, folder: SearchFolder
) -> None:
    ledger = open_ledger(max_retries=0)
    start(ledger)
    report(ledger, FailureKind.NODE, "node n1 cannot open the images")
    ledger.on_worker_lost(FIRST, "")
    assert ledger.halt_reason == "node n1 cannot open the images"
    assert ledger.assign() is None
    assert ledger.num_left == 6
    assert read_records(folder) == []
    resumed = open_ledger()
    assert resumed.num_interrupted == 1
    start(resumed, attempt=2)


def test_an_attempt_has_the_resources_that_it_is_assigned(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    plain = ledger.assign()
    other = ledger.assign(TrialResources(cpu=1, gpu=0.25))
    assert plain is not None
    assert other is not None
    assert plain.spec.resources == ledger.spec.resources.of_trial()
    assert other.spec.resources == TrialResources(cpu=1, gpu=0.25)
