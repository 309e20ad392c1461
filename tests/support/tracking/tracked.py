"""Records of several trials, and functions that write or track them."""

import threading
import time
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.tracker import Tracker
from tests.support.tracking.recorded import make_record, start_of, write_record

MIXED_RECORDS = (
    make_record("lkca/0"),
    make_record("lkca/1", state=State.PRUNED, num_results=2),
    make_record("vit/0", state=State.FAIL, num_results=1, error="boom"),
    make_record("vit/1", state=State.FAIL, num_results=0, error="boom"),
)

RECORDS = [make_record(f"lkca/{number}", num_results=4) for number in range(4)]


def write_live(store: MLflowStore, *records: Record) -> None:
    """Write trials result by result."""
    for record in records:
        store.update_running(start_of(record))
        for result in record.curve:
            store.update_running(start_of(record), [result])
        store.finish(record)


def write_at_once(store: MLflowStore, *records: Record) -> None:
    """Write trials after they have finished."""
    for record in records:
        store.finish(record)


def track(tracker: Tracker, folder: SearchFolder, *records: Record) -> None:
    """Write and track records one after the other, as a driver does."""
    for record in records:
        tracker.trial_started(start_of(record))
        for result in record.curve:
            tracker.trial_reported(record.trial_id, result)
        tracker.trial_finished(write_record(folder, record))


def track_recorded(tracker: Tracker, *records: Record) -> None:
    """Track records that are already on disk."""
    for record in records:
        tracker.trial_started(start_of(record))
        tracker.trial_reported(record.trial_id, record.curve[0])
        tracker.trial_finished(record)


def slow_down(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> Callable[[], int]:
    """Delay every `log_batch` call; return a function that returns the number of calls so far."""
    real = MlflowClient.log_batch
    calls = 0

    def slowly(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        time.sleep(seconds)
        return real(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", slowly)
    return lambda: calls


def tracker_threads() -> int:
    """Return the number of running tracker threads."""
    return sum(thread.name == "mlflow-tracker" for thread in threading.enumerate())
