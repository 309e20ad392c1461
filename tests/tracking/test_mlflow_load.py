"""A tracker at the rate of a cluster, with a real MLflow server that is slow, hangs, dies or loses answers."""

import base64
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cluster.local.mlflow_server import MLflowServer
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from lkca_search.tracking.tracker import Tracker
from tests.support.tracking.recorded import (
    BEGIN,
    assert_stored,
    make_record,
    open_store,
    read_stored,
    start_of,
    write_record,
)
from tests.support.tracking.servers import Proxy, proxy_of

pytestmark = pytest.mark.slow

FLEET = [make_record(f"lkca/{number}", num_results=20) for number in range(16)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    server = MLflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def proxy(server: MLflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    server.start()
    with proxy_of(server.uri) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        yield proxy


def make_tracker(folder: SearchFolder, uid: str) -> MLflowTracker:
    return MLflowTracker(lambda: open_store(folder.root, uid=uid), folder, pause_seconds=0.2)


def drive(tracker: Tracker, records: list[Record], *, seconds: float) -> list[float]:
    """Report trials with durable records, evenly over `seconds`; return the duration of each call."""
    calls: list[tuple[Callable[..., None], tuple[object, ...]]] = []
    calls += [(tracker.trial_started, (start_of(record),)) for record in records]
    for results in zip(*(record.curve for record in records), strict=True):
        pairs = zip(records, results, strict=True)
        calls += [(tracker.trial_reported, (record.trial_id, result)) for record, result in pairs]
    calls += [(tracker.trial_finished, (record,)) for record in records]
    begun, durations = time.perf_counter(), []
    for number, (call, arguments) in enumerate(calls):
        time.sleep(max(0.0, begun + seconds * number / len(calls) - time.perf_counter()))
        before = time.perf_counter()
        call(*arguments)
        durations.append(time.perf_counter() - before)
    return durations


def assert_never_blocks(durations: list[float]) -> None:
    """Assert that calls take less than a millisecond, except the few that the machine delayed."""
    ranked = sorted(durations)
    assert ranked[len(ranked) // 2] < 1e-4
    assert ranked[int(len(ranked) * 0.99)] < 1e-3
    assert ranked[-1] < 0.2


def slow(proxy: Proxy, server: MLflowServer) -> None:
    proxy.seconds = 2.0


def hanging(proxy: Proxy, server: MLflowServer) -> None:
    threading.Timer(1, proxy.is_open.clear).start()


@pytest.mark.parametrize("fault", [slow, hanging])
def test_a_failing_server_delays_no_trial_and_receives_everything_after_it_recovers(
    fault: Callable[[Proxy, MLflowServer], None], proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    for record in FLEET:
        write_record(folder, record)
    fault(proxy, server)
    tracker = make_tracker(folder, uid)
    assert_never_blocks(drive(tracker, FLEET, seconds=4))
    begun = time.monotonic()
    missing = tracker.close(complete=True, best=FLEET[0], patience_seconds=3)
    assert time.monotonic() - begun < 3.5
    assert missing > 0
    assert tracker.last_fault is not None

    proxy.seconds = 0.0
    proxy.is_open.set()
    server.start()
    while any(
        thread.name == "mlflow-tracker" for thread in threading.enumerate()
    ):  # in real life, the process of the driver has ended
        time.sleep(0.05)
    outcome = send_missing(
        lambda: open_store(folder.root, uid=uid), folder, complete=True, best=FLEET[0], patience_seconds=60
    )
    assert (outcome.num_missing, outcome.fault) == (0, None)
    stored = read_stored(server.database, uid=uid)
    assert_stored(stored, *FLEET)
    assert stored is not None
    assert stored.parent.info.status == "FINISHED"


def test_a_server_that_is_killed_and_restarted_has_every_record_at_the_end(
    proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    for record in FLEET:
        write_record(folder, record)
    tracker = make_tracker(folder, uid)

    def restart() -> None:
        for _ in range(2):
            time.sleep(1)
            server.kill()
            server.start()

    trouble = threading.Thread(target=restart)
    trouble.start()
    assert_never_blocks(drive(tracker, FLEET, seconds=6))
    trouble.join()
    assert tracker.close(complete=True, best=FLEET[0]) == 0
    assert_stored(read_stored(server.database, uid=uid), *FLEET)


def test_ten_thousand_calls_do_not_wait_for_a_hanging_server(
    proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    proxy.is_open.clear()
    records = [make_record(f"lkca/{number}", num_results=98) for number in range(100)]
    tracker = make_tracker(folder, uid)
    durations = drive(tracker, records, seconds=0)
    assert len(durations) == 10_000
    assert_never_blocks(durations)
    assert sum(durations) < 1
    tracker.close(complete=True, best=None, patience_seconds=0)


def test_a_slower_server_gets_larger_batches(
    proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    records = FLEET[:8]
    counts = []
    for seconds in (0.0, 0.2):
        proxy.seconds = seconds
        proxy.calls.clear()
        tracker = make_tracker(folder, f"{uid}-{seconds}")
        for record in records:
            tracker.trial_started(start_of(record))
        time.sleep(2)
        for i in range(20):
            for record in records:
                tracker.trial_reported(record.trial_id, record.curve[i])
            time.sleep(0.2)
        for record in records:
            tracker.trial_finished(write_record(folder, record))
        assert tracker.close(complete=True, best=None) == 0
        counts.append(proxy.calls["runs/log-batch"])
        assert_stored(read_stored(server.database, uid=f"{uid}-{seconds}"), *records)
    fast, slow = counts
    assert slow < fast  # the count of the fast one, 168 at most, depends on the load of the machine
    assert slow < 48


def test_a_finished_trial_costs_six_calls(proxy: Proxy, folder: SearchFolder, uid: str) -> None:
    for record in FLEET:
        write_record(folder, record)
    deliver = {"complete": True, "best": None, "patience_seconds": 60.0}
    outcome = send_missing(lambda: open_store(folder.root, uid=uid), folder, **deliver)  # type: ignore[arg-type]
    assert (outcome.num_sent, outcome.num_missing) == (len(FLEET), 0)
    assert proxy.calls.total() < 6 * len(FLEET) + 20  # create, values, end; datasets; and two for the record's file
    proxy.calls.clear()
    outcome = send_missing(lambda: open_store(folder.root, uid=uid), folder, **deliver)  # type: ignore[arg-type]
    assert (outcome.num_sent, outcome.num_missing, outcome.fault) == (0, 0, None)
    assert proxy.calls.total() <= 4


def test_a_server_that_dies_before_it_answers_holds_no_duplicates(
    proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    records = FLEET[:4]
    restarts: list[threading.Thread] = []

    def dies(called: str, number: int) -> bool:
        if called != "runs/create" or number != 3:
            return False
        server.kill()
        restarts.append(threading.Thread(target=server.start))
        restarts[-1].start()
        return True

    proxy.drops_response = dies
    for record in records:
        write_record(folder, record)
    tracker = make_tracker(folder, uid)
    drive(tracker, records, seconds=2)
    assert tracker.close(complete=True, best=records[0]) == 0
    (restart,) = restarts
    restart.join()
    assert_stored(read_stored(server.database, uid=uid), *records)


@pytest.mark.parametrize("number", [1, 2], ids=["of the search", "of a trial"])
def test_a_run_created_long_after_its_timeout_is_no_duplicate(
    number: int, proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    records = FLEET[:2]
    for record in records:
        write_record(folder, record)
    proxy.delay = lambda path, called: 4.0 if (path, called) == ("runs/create", number) else 0.0
    tracker = make_tracker(folder, uid)
    drive(tracker, records, seconds=0)
    assert tracker.close(complete=True, best=records[0]) == 0
    time.sleep(4)
    with pytest.raises(AssertionError):  # the duplicate exists now
        assert_stored(read_stored(server.database, uid=uid), *records)
    assert make_tracker(folder, uid).close(complete=True, best=records[0]) == 0
    assert_stored(read_stored(server.database, uid=uid), *records)


def test_a_record_that_cannot_be_written_delays_no_other(
    proxy: Proxy, server: MLflowServer, folder: SearchFolder, uid: str
) -> None:
    tracker = make_tracker(folder, uid)
    tracker.trial_started(start_of(FLEET[0]))
    deadline = time.monotonic() + 20
    while (
        (stored := read_stored(server.database, uid=uid)) is None
        or not stored.trials
        or not stored.trials["lkca/0"].data.params
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # No store can represent this time.
    refused = FLEET[0].model_copy(update={"finished": BEGIN * 1e9})
    for record in (refused, *FLEET[1:4]):
        tracker.trial_finished(write_record(folder, record))
    assert tracker.close(complete=True, best=None, patience_seconds=8) == 1
    assert tracker.last_fault is not None
    stored = read_stored(server.database, uid=uid)
    assert stored is not None
    assert [stored.trials[f"lkca/{number}"].info.status for number in range(4)] == ["KILLED", *["FINISHED"] * 3]
    assert stored.parent.info.status == "FINISHED"


CREDENTIALS = {
    "basic": {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "s3cret"},
    "token": {"MLFLOW_TRACKING_TOKEN": "s3cret"},
}
HEADERS = {"basic": f"Basic {base64.b64encode(b'ada:s3cret').decode()}", "token": "Bearer s3cret"}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_credentials_are_read_from_the_environment_and_never_printed(
    kind: str,
    proxy: Proxy,
    server: MLflowServer,
    folder: SearchFolder,
    uid: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    proxy.authorization = HEADERS[kind]
    write_record(folder, FLEET[0])
    deliver = {"complete": True, "best": None, "patience_seconds": 1.0}
    refused = send_missing(lambda: open_store(folder.root, uid=uid), folder, **deliver)  # type: ignore[arg-type]
    assert (refused.num_sent, refused.num_missing) == (0, 1)
    assert "401" in str(refused.fault)
    for name, value in CREDENTIALS[kind].items():
        monkeypatch.setenv(name, value)
    deliver["patience_seconds"] = 20.0
    sent = send_missing(lambda: open_store(folder.root, uid=uid), folder, **deliver)  # type: ignore[arg-type]
    assert (sent.num_sent, sent.num_missing, sent.fault) == (1, 0, None)
    assert_stored(read_stored(server.database, uid=uid), FLEET[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("password", ["s3cret", "wrong-s3cret"])
def test_a_password_in_the_address_works_and_is_never_printed(
    password: str,
    proxy: Proxy,
    server: MLflowServer,
    folder: SearchFolder,
    uid: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    proxy.authorization = HEADERS["basic"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri.replace("//", f"//ada:{password}@"))
    write_record(folder, FLEET[0])
    outcome = send_missing(
        lambda: open_store(folder.root, uid=uid), folder, complete=True, best=None, patience_seconds=5
    )
    if password == "s3cret":
        assert (outcome.num_sent, outcome.num_missing, outcome.fault) == (1, 0, None)
        server.kill()
        write_record(folder, FLEET[1])
        outcome = send_missing(
            lambda: open_store(folder.root, uid=uid), folder, complete=True, best=None, patience_seconds=1
        )
    assert outcome.fault is not None
    assert "s3cret" not in f"{outcome.fault} {outcome.fault!r}"
    assert "s3cret" not in "".join(capfd.readouterr())
