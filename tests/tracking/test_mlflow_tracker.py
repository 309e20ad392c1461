"""Tests of the tracker with a working store."""

from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, Result
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from lkca_search.tracking.tracker import Tracker, Trackers, TrialStart
from tests.support.processes import wait_for
from tests.support.tracking.recorded import (
    BEGIN,
    assert_stored,
    make_result,
    read_stored,
    start_of,
    write_record,
)
from tests.support.tracking.tracked import RECORDS, slow_down, track, tracker_threads


def test_all_updates_are_in_the_store_after_close(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, *RECORDS)
    assert tracker.close(complete=True, best=RECORDS[1]) == 0
    stored = read_stored(uri, uid=uid)
    assert_stored(stored, *RECORDS)
    assert stored is not None
    assert (stored.parent.info.status, stored.parent.data.tags["best_trial"]) == ("FINISHED", "lkca/1")
    assert tracker.last_fault is None
    assert tracker_threads() == 0


def test_results_are_in_the_store_while_the_trial_runs(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    tracker = MLflowTracker(opener, folder)
    tracker.trial_started(start_of(RECORDS[0]))
    tracker.trial_reported("lkca/0", make_result(1))

    def shown() -> bool:
        stored = read_stored(uri, uid=uid)
        return stored is not None and stored.curves.get("lkca/0", {}).get("val_loss") == [(1, 1.0)]

    wait_for(shown)
    tracker.close(complete=False, best=None)


def test_a_resumed_search_uses_the_same_runs(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, RECORDS[0])
    tracker.trial_started(start_of(RECORDS[1]))
    for step in (1, 2, 3):
        tracker.trial_reported("lkca/1", make_result(step))

    def all_stored() -> bool:
        stored = read_stored(uri, uid=uid)
        return stored is not None and len(stored.curves.get("lkca/1", {}).get("val_loss", ())) == 3

    wait_for(all_stored)
    assert tracker.close(complete=False, best=None) == 0
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (stored.parent.info.status, stored.trials["lkca/1"].info.status) == ("KILLED", "KILLED")

    tracker = MLflowTracker(opener, folder)
    # The next attempt resumes from a checkpoint at step 2 and reaches step 3 a minute later than the first attempt.
    curve = tuple(make_result(step, time=BEGIN + 60 * (step > 2)) for step in (1, 2, 3, 4))
    record = RECORDS[1].model_copy(update={"attempt": 2, "curve": curve})
    track(tracker, folder, record)
    assert tracker.close(complete=True, best=None) == 0
    again = read_stored(uri, uid=uid)
    assert again is not None
    assert again.trials["lkca/1"].info.run_id == stored.trials["lkca/1"].info.run_id
    assert [step for step, _ in again.curves["lkca/1"]["seconds"]] == [1, 2, 3, 4]
    assert (again.parent.info.status, again.trials["lkca/1"].info.status) == ("FINISHED", "FINISHED")


def test_unsent_records_are_sent_when_the_store_is_opened(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    for record in RECORDS:
        write_record(folder, record)
    assert MLflowTracker(opener, folder).close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


def test_a_tracker_without_updates_closes_at_once(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    assert MLflowTracker(opener, folder).close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid))


def test_unfinished_trials_end_as_killed_with_all_their_results(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, RECORDS[0])
    for record in RECORDS[1:3]:
        tracker.trial_started(start_of(record))
    wait_for(lambda: (stored := read_stored(uri, uid=uid)) is not None and len(stored.trials) == 3)
    slow_down(monkeypatch, seconds=0.2)
    for result in RECORDS[1].curve[:3]:
        tracker.trial_reported("lkca/1", result)
    assert tracker.close(complete=False, best=None) == 0
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    status = {trial_id: run.info.status for trial_id, run in stored.trials.items()}
    assert status == {"lkca/0": "FINISHED", "lkca/1": "KILLED", "lkca/2": "KILLED"}
    assert [step for step, _ in stored.curves["lkca/1"]["val_loss"]] == [1, 2, 3]


def test_send_missing_corrects_the_runs_of_a_killed_driver(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    """Two trials are RUNNING in MLflow, and one of them has a record."""
    dead = opener()
    for record in RECORDS[:2]:
        dead.update_running(start_of(record), record.curve[:2])
    for record in (RECORDS[0], RECORDS[2]):
        write_record(folder, record)
    options = {"complete": False, "best": None, "patience_seconds": 60.0}
    outcome = send_missing(opener, folder, **options)  # type: ignore[arg-type]
    assert (outcome.num_sent, outcome.num_missing, outcome.fault) == (2, 0, None)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    status = {trial_id: run.info.status for trial_id, run in stored.trials.items()}
    assert status == {"lkca/0": "FINISHED", "lkca/1": "KILLED", "lkca/2": "FINISHED"}
    assert stored.parent.info.status == "KILLED"
    outcome = send_missing(opener, folder, **options)  # type: ignore[arg-type]
    assert (outcome.num_sent, outcome.num_missing, outcome.fault) == (0, 0, None)


def peaked() -> Record:
    """Return a record whose best accuracy is not its last one."""
    record = RECORDS[0]
    curve = [
        result.model_copy(update={"val_accuracy": accuracy})
        for result, accuracy in zip(record.curve, (0.2, 0.9, *(0.5 for _ in record.curve[2:])), strict=True)
    ]
    return record.model_copy(update={"curve": tuple(curve), "value": 0.5})


def test_best_val_accuracy_is_a_last_value_and_only_of_a_search(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    tracker = MLflowTracker(opener, folder)
    record = peaked()
    track(tracker, folder, record)
    tracker.close(complete=True, best=record)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    trial = stored.trials["lkca/0"].data.metrics
    assert stored.parent.data.metrics == {"best_val_accuracy": 0.5}
    assert (trial["val_accuracy"], trial["max_val_accuracy"]) == (0.5, 0.9)
    assert not any(name.startswith("best_") for name in trial)


def test_sync_gives_runs_of_an_earlier_version_the_present_names_once(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    """The run is what an earlier version wrote: `best_val_accuracy` is the maximum of the curve."""
    record = write_record(folder, peaked())
    opener().update_running(start_of(record), record.curve)
    stored, client = read_stored(uri, uid=uid), MlflowClient(tracking_uri=uri)
    assert stored is not None
    run_id = stored.trials["lkca/0"].info.run_id
    earlier = [Metric("best_val_accuracy", 0.9, round(record.finished * 1000), 0)]
    client.log_batch(run_id, metrics=[*earlier, Metric("best_val_loss", 0.1, round(record.finished * 1000), 0)])
    client.set_terminated(run_id, "FINISHED", round(record.finished * 1000))
    assert opener().is_sent("lkca/0")  # `run` does not send it again
    counts = []
    for _ in range(2):
        outcome = send_missing(opener, folder, complete=True, best=record, patience_seconds=60.0)
        counts.append((outcome.num_sent, outcome.num_missing, outcome.fault))
    assert counts == [(1, 0, None), (0, 0, None)]
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    run = stored.trials["lkca/0"]
    names = ("max_val_accuracy", "best_val_accuracy", "val_accuracy")
    assert [run.data.metrics[name] for name in names] == [0.9, 0.5, 0.5]
    assert run.data.metrics["best_val_loss"] == record.curve[-1].val_loss
    assert (run.info.run_id, run.info.status, run.info.end_time) == (run_id, "FINISHED", record.finished * 1000)


def test_grouped_trackers_receive_the_same_calls_in_order(folder: SearchFolder) -> None:
    class CallRecorder(Tracker):
        def __init__(self) -> None:
            self.calls: list[object] = []

        def trial_started(self, start: TrialStart) -> None:
            self.calls.append(start)

        def trial_reported(self, trial_id: str, result: Result) -> None:
            self.calls.append((trial_id, result))

        def trial_finished(self, record: Record) -> None:
            self.calls.append(record)

    one, other = CallRecorder(), CallRecorder()
    track(Trackers([one, Tracker(), other]), folder, RECORDS[0])
    results = [("lkca/0", result) for result in RECORDS[0].curve]
    assert one.calls == other.calls == [start_of(RECORDS[0]), *results, RECORDS[0]]
