"""Tests of the tracker with a real MLflow server that is killed, restarted or started late."""

import time
from collections.abc import Iterator

import pytest

from cluster.local.mlflow_server import MLflowServer
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, State
from lkca_search.tracking.mlflow_tracker import MLflowTracker
from lkca_search.tracking.pages.run_ids import read_run_ids
from tests.support.tracking.recorded import assert_stored, make_record, open_store, read_stored, start_of, write_record
from tests.support.tracking.servers import proxy_of

pytestmark = pytest.mark.slow

RECORDS = [
    make_record(f"lkca/{number}", num_results=20, state=State.FAIL if number == 3 else State.COMPLETE)
    for number in range(8)
]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    server = MLflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(shared_server: MLflowServer, monkeypatch: pytest.MonkeyPatch) -> MLflowServer:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared_server.uri)
    return shared_server


def make_tracker(folder: SearchFolder, uid: str) -> MLflowTracker:
    return MLflowTracker(lambda: open_store(folder.root, uid=uid), folder, pause_seconds=0.2)


def track(tracker: MLflowTracker, folder: SearchFolder, *records: Record, seconds: float = 0.0) -> None:
    """Track trials that run at the same time, with `seconds` between two calls."""
    for record in records:
        tracker.trial_started(start_of(record))
    for results in zip(*(record.curve for record in records), strict=True):
        for record, result in zip(records, results, strict=True):
            tracker.trial_reported(record.trial_id, result)
            time.sleep(seconds)
    for record in records:
        tracker.trial_finished(write_record(folder, record))
        time.sleep(seconds)


def test_a_server_stores_the_same_as_a_database_and_has_a_page_per_run(
    server: MLflowServer, folder: SearchFolder, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    for _ in range(2):
        tracker = make_tracker(folder, uid)
        track(tracker, folder, *RECORDS)
        assert tracker.close(complete=True, best=RECORDS[0]) == 0
    stored = read_stored(server.uri, uid=uid)
    assert_stored(stored, *RECORDS)
    assert stored is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("://", "://user:secret@"))
    known = read_run_ids(folder.home, uid, num_trials=len(RECORDS), listed=[])
    run = stored.trials["lkca/0"].info
    assert known.page("lkca/0") == f"{server.uri}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    assert stored is not None
    assert (stored.parent.info.status, stored.parent.data.tags["best_trial"]) == ("FINISHED", "lkca/0")


def test_a_server_that_was_down_gets_all_records_the_next_time(
    server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    server.kill()
    tracker = make_tracker(folder, uid)
    track(tracker, folder, *RECORDS[:4])
    begun = time.monotonic()
    assert tracker.close(complete=False, best=None, patience_seconds=2) == 4
    assert time.monotonic() - begun < 3
    assert tracker.last_fault is not None

    tracker = make_tracker(folder, uid)
    track(tracker, folder, *RECORDS[4:6])
    server.start()
    time.sleep(0.5)
    track(tracker, folder, *RECORDS[6:], seconds=0.01)
    assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_stored(read_stored(server.uri, uid=uid), *RECORDS)


@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/update"])
def test_a_call_with_a_dropped_response_is_not_stored_twice(
    path: str, server: MLflowServer, folder: SearchFolder, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    with proxy_of(server.uri) as proxy:
        proxy.drops_response = lambda called, number: called == path and number % 3 == 1
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        tracker = make_tracker(folder, uid)
        track(tracker, folder, *RECORDS[:2])
        assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_stored(read_stored(server.uri, uid=uid), *RECORDS[:2])
