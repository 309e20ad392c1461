"""Tests of the tracker with a store that is late, fails, hangs, or is slow or unreachable."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from tests.support.processes import wait_for
from tests.support.tracking.recorded import (
    assert_stored,
    make_record,
    open_store,
    read_stored,
    start_of,
    write_record,
)
from tests.support.tracking.tracked import RECORDS, slow_down, track, track_recorded, tracker_threads

CLOSE_AND_EXIT = """
import sys
from pathlib import Path
from tests.support.tracking.recorded import make_record, open_store, write_record
from lkca_search.layout import Home
from lkca_search.tracking.mlflow_tracker import MLflowTracker

root = Path(sys.argv[1])
folder = Home(root=root).search("study")
tracker = MLflowTracker(lambda: open_store(root), folder)
tracker.trial_finished(write_record(folder, make_record()))
print(tracker.close(complete=True, best=None, patience_seconds=1))
"""


@pytest.fixture
def dead_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set MLFLOW_TRACKING_URI to a port without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")


@pytest.fixture
def hanging_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set MLFLOW_TRACKING_URI to a server that accepts connections and sends no response."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


def test_a_store_that_opens_late_gets_all_finished_trials(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    there = threading.Event()

    def open_late() -> MLflowStore:
        if not there.is_set():
            raise ConnectionError("not there yet")
        return opener()

    tracker = MLflowTracker(open_late, folder, pause_seconds=0.01)
    track(tracker, folder, *RECORDS[:3])
    wait_for(lambda: tracker.last_fault is not None)
    assert read_stored(uri, uid=uid) is None
    there.set()
    time.sleep(0.05)
    track(tracker, folder, RECORDS[3])
    wait_for(lambda: tracker.last_fault is None)
    assert tracker.close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid), *RECORDS)


@pytest.mark.parametrize("failing", range(1, 30, 5))
@pytest.mark.parametrize("executed", [False, True], ids=["refused", "answer lost"])
def test_failed_calls_lose_and_duplicate_nothing(
    failing: int,
    executed: bool,
    opener: Callable[[], MLflowStore],
    folder: SearchFolder,
    uri: str,
    uid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From call `failing` on, every third call of the client fails, five times in total."""
    count, lock = 0, threading.Lock()

    def fails() -> bool:
        nonlocal count
        with lock:
            count += 1
            return failing <= count < failing + 15 and (count - failing) % 3 == 0

    def fragile(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            broken = threading.current_thread().name == "mlflow-tracker" and fails()
            answer = None if broken and not executed else real(*arguments, **options)
            if broken:
                raise ConnectionError("cut off")
            return answer

        return call

    for method in ("create_run", "update_run", "log_text", "log_batch", "set_terminated", "search_runs"):
        monkeypatch.setattr(MlflowClient, method, fragile(getattr(MlflowClient, method)))
    tracker = MLflowTracker(opener, folder, pause_seconds=0.01)
    track(tracker, folder, *RECORDS[:2])
    assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_stored(read_stored(uri, uid=uid), *RECORDS[:2])


def test_a_deleted_run_is_created_again(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str
) -> None:
    tracker = MLflowTracker(opener, folder, pause_seconds=0.01)
    tracker.trial_started(start_of(RECORDS[0]))
    wait_for(lambda: bool((stored := read_stored(uri, uid=uid)) and stored.trials))
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    MlflowClient(tracking_uri=uri).delete_run(stored.trials["lkca/0"].info.run_id)
    track(tracker, folder, *RECORDS[:2])
    assert tracker.close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid), *RECORDS[:2])


@pytest.mark.usefixtures("dead_port")
def test_an_unreachable_store_blocks_nothing_and_close_counts_the_missing_trials(
    root: Path, folder: SearchFolder
) -> None:
    tracker = MLflowTracker(lambda: open_store(root), folder, pause_seconds=0.1)
    begun = time.monotonic()
    for record in RECORDS:
        write_record(folder, record)
    for _ in range(500):
        track_recorded(tracker, *RECORDS)
    assert time.monotonic() - begun < 1
    assert tracker.close(complete=True, best=None, patience_seconds=1) == len(RECORDS)
    assert time.monotonic() - begun < 3
    assert "does not respond (connection refused)" in str(tracker.last_fault)
    wait_for(lambda: tracker_threads() == 0)


@pytest.mark.usefixtures("hanging_server")
def test_a_hanging_store_blocks_nothing_and_close_times_out(
    root: Path, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = MLflowTracker(lambda: open_store(root), folder)
    begun = time.monotonic()
    track(tracker, folder, *RECORDS)
    assert time.monotonic() - begun < 1
    assert tracker.close(complete=True, best=None, patience_seconds=0.5) == len(RECORDS)
    assert time.monotonic() - begun < 2
    assert "took longer than 0.5 s" in str(tracker.last_fault)
    wait_for(lambda: tracker_threads() == 0)


@pytest.mark.usefixtures("hanging_server")
def test_a_process_can_exit_while_its_store_hangs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSE_AND_EXIT, str(tmp_path)]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


def test_a_slow_store_gets_records_of_finished_trials_in_few_calls(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_calls = slow_down(monkeypatch, seconds=0.05)
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, *(make_record(f"lkca/{number}", num_results=100) for number in range(4)))
    assert tracker.close(complete=True, best=None) == 0
    assert num_calls() < 60  # results one by one would be 400
    monkeypatch.undo()
    assert_stored(read_stored(uri, uid=uid), *(make_record(f"lkca/{number}", num_results=100) for number in range(4)))


def test_close_returns_after_its_patience_and_the_rest_is_sent_next_time(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, seconds=0.1)
    records = [make_record(f"lkca/{number}") for number in range(20)]
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, *records)
    begun = time.monotonic()
    missing = tracker.close(complete=True, best=None, patience_seconds=1)
    assert time.monotonic() - begun < 1.5
    assert 0 < missing < 20
    assert tracker.last_fault is not None
    wait_for(lambda: tracker_threads() == 0)
    assert time.monotonic() - begun < 2.5  # the call in progress, and no further one
    monkeypatch.undo()
    assert MLflowTracker(opener, folder).close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid), *records)


@pytest.mark.usefixtures("dead_port")
def test_send_missing_counts_the_records_that_an_unreachable_store_lacks(root: Path, folder: SearchFolder) -> None:
    for record in RECORDS:
        write_record(folder, record)
    begun = time.monotonic()
    outcome = send_missing(lambda: open_store(root), folder, complete=True, best=None, patience_seconds=1)
    assert time.monotonic() - begun < 2
    assert (outcome.num_sent, outcome.num_missing) == (0, len(RECORDS))
    assert "does not respond (connection refused)" in str(outcome.fault)
