import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, Result
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from lkca_search.tracking.tracker import Tracker, Trackers, TrialStart
from tests.support.tracking.recorded import (
    BEGIN,
    assert_stored,
    make_record,
    make_result,
    open_store,
    read_stored,
    start_of,
    write_record,
)

RECORDS = [make_record(f"lkca/{number}", num_results=4) for number in range(4)]

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


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home shared by all tests of this file, each with its own uid: creating a database takes a second."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return Home(root=tmp_path).search("study")


@pytest.fixture
def opener(root: Path, uid: str) -> Callable[[], MLflowStore]:
    return lambda: open_store(root, uid=uid)


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


def track(tracker: Tracker, folder: SearchFolder, *records: Record) -> None:
    for record in records:
        tracker.trial_started(start_of(record))
        for result in record.curve:
            tracker.trial_reported(record.trial_id, result)
        tracker.trial_finished(write_record(folder, record))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def tracker_threads() -> int:
    return sum(thread.name == "mlflow-tracker" for thread in threading.enumerate())


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
    assert tracker.last_error is None
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
    wait_for(lambda: tracker.last_error is not None)
    assert read_stored(uri, uid=uid) is None
    there.set()
    time.sleep(0.05)
    track(tracker, folder, RECORDS[3])
    wait_for(lambda: tracker.last_error is None)
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
    assert "Connection" in str(tracker.last_error)
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
    assert isinstance(tracker.last_error, TimeoutError)
    wait_for(lambda: tracker_threads() == 0)


@pytest.mark.usefixtures("hanging_server")
def test_a_process_can_exit_while_its_store_hangs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSE_AND_EXIT, str(tmp_path)]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


def test_a_slow_store_gets_records_of_finished_trials_in_few_calls(
    opener: Callable[[], MLflowStore], folder: SearchFolder, uri: str, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, seconds=0.05)
    tracker = MLflowTracker(opener, folder)
    track(tracker, folder, *(make_record(f"lkca/{number}", num_results=100) for number in range(4)))
    begun = time.monotonic()
    assert tracker.close(complete=True, best=None) == 0
    assert time.monotonic() - begun < 5  # 400 results, one by one, would take 20 s
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
    assert tracker.last_error is not None
    wait_for(lambda: tracker_threads() == 0)
    assert time.monotonic() - begun < 2.5  # the call in progress, and no further one
    monkeypatch.undo()
    assert MLflowTracker(opener, folder).close(complete=True, best=None) == 0
    assert_stored(read_stored(uri, uid=uid), *records)


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
    assert (outcome.num_sent, outcome.num_missing, outcome.error) == (2, 0, None)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    status = {trial_id: run.info.status for trial_id, run in stored.trials.items()}
    assert status == {"lkca/0": "FINISHED", "lkca/1": "KILLED", "lkca/2": "FINISHED"}
    assert stored.parent.info.status == "KILLED"
    outcome = send_missing(opener, folder, **options)  # type: ignore[arg-type]
    assert (outcome.num_sent, outcome.num_missing, outcome.error) == (0, 0, None)


@pytest.mark.usefixtures("dead_port")
def test_send_missing_counts_the_records_that_an_unreachable_store_lacks(root: Path, folder: SearchFolder) -> None:
    for record in RECORDS:
        write_record(folder, record)
    begun = time.monotonic()
    outcome = send_missing(lambda: open_store(root), folder, complete=True, best=None, patience_seconds=1)
    assert time.monotonic() - begun < 2
    assert (outcome.num_sent, outcome.num_missing) == (0, len(RECORDS))
    assert "Connection" in str(outcome.error)


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


def track_recorded(tracker: Tracker, *records: Record) -> None:
    """Track records that are already on disk."""
    for record in records:
        tracker.trial_started(start_of(record))
        tracker.trial_reported(record.trial_id, record.curve[0])
        tracker.trial_finished(record)


def slow_down(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Delay every `log_batch` call."""
    real = MlflowClient.log_batch

    def slowly(*arguments: object, **options: object) -> object:
        time.sleep(seconds)
        return real(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", slowly)
