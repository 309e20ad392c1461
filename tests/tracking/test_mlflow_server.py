"""A tracker and a real MLflow server that comes late, dies, and comes back."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from recorded import assert_shows, make_record, open_store, see, start_of, write_record

from lkca_search.records import Record, State
from lkca_search.storage import Home, SearchFolder
from lkca_search.tracking.mlflow_tracker import MLflowTracker

pytestmark = pytest.mark.slow

RECORDS = [
    make_record(f"lkca/{number}", num_results=20, state=State.FAIL if number == 3 else State.COMPLETE)
    for number in range(8)
]


class Server:
    """An MLflow server over one SQLite database, to be started and killed at will."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        options = {
            "backend-store-uri": f"sqlite:///{self._folder / 'server.db'}",
            "artifacts-destination": str(self._folder / "artifacts"),
            "host": "127.0.0.1",
            "port": str(self._port),
            "workers": "1",
        }
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *(f"--{name}={value}" for name, value in options.items())],
                env=environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while not self._is_up():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared_server.uri)
    return shared_server


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return Home(root=tmp_path).search("study")


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def make_tracker(folder: SearchFolder, uid: str) -> MLflowTracker:
    return MLflowTracker(lambda: open_store(folder.root, uid=uid), folder, pause_seconds=0.2)


def tell(tracker: MLflowTracker, folder: SearchFolder, *records: Record, seconds: float = 0.0) -> None:
    """Tell of trials that run side by side, their results `seconds` apart."""
    for record in records:
        tracker.trial_started(start_of(record))
    for results in zip(*(record.curve for record in records), strict=True):
        for record, result in zip(records, results, strict=True):
            tracker.trial_reported(record.trial_id, result)
            time.sleep(seconds)
    for record in records:
        tracker.trial_finished(write_record(folder, record))
        time.sleep(seconds)


def test_a_server_shows_what_a_database_does(server: Server, folder: SearchFolder, uid: str) -> None:
    server.start()
    for _ in range(2):
        tracker = make_tracker(folder, uid)
        tell(tracker, folder, *RECORDS)
        assert tracker.close(complete=True, best=RECORDS[0]) == 0
    seen = see(server.uri, uid=uid)
    assert_shows(seen, *RECORDS)
    assert seen is not None
    assert (seen.parent.info.status, seen.parent.data.tags["best_trial"]) == ("FINISHED", "lkca/0")


def test_a_server_that_is_killed_and_started_again_lacks_nothing_and_has_nothing_twice(
    server: Server, folder: SearchFolder, uid: str
) -> None:
    server.start()
    tracker = make_tracker(folder, uid)
    tell(tracker, folder, *RECORDS[:2], seconds=0.01)
    for i in (2, 4):
        tracker.trial_started(start_of(RECORDS[i]))
        for result in RECORDS[i].curve[:10]:
            tracker.trial_reported(RECORDS[i].trial_id, result)
        server.kill()
        begun = time.monotonic()
        tell(tracker, folder, RECORDS[i], seconds=0.01)
        assert time.monotonic() - begun < 2
        server.start()
        tell(tracker, folder, RECORDS[i + 1], seconds=0.05)
    tell(tracker, folder, *RECORDS[6:])
    assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_shows(see(server.uri, uid=uid), *RECORDS)


def test_a_server_that_is_away_at_the_start_and_at_the_end_gets_it_all_the_next_time(
    server: Server, folder: SearchFolder, uid: str
) -> None:
    server.kill()
    tracker = make_tracker(folder, uid)
    tell(tracker, folder, *RECORDS[:4])
    begun = time.monotonic()
    assert tracker.close(complete=False, best=None, patience_seconds=2) == 4
    assert time.monotonic() - begun < 3
    assert tracker.last_error is not None

    tracker = make_tracker(folder, uid)
    tell(tracker, folder, *RECORDS[4:6])
    server.start()
    time.sleep(0.5)
    tell(tracker, folder, *RECORDS[6:], seconds=0.01)
    assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_shows(see(server.uri, uid=uid), *RECORDS)


@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/update"])
def test_a_call_whose_answer_is_lost_is_not_made_twice(
    path: str, server: Server, folder: SearchFolder, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    with lossy_proxy(server, path) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        tracker = make_tracker(folder, uid)
        tell(tracker, folder, *RECORDS[:2])
        assert tracker.close(complete=True, best=RECORDS[0]) == 0
    assert_shows(see(server.uri, uid=uid), *RECORDS[:2])


@contextmanager
def lossy_proxy(server: Server, path: str) -> Iterator[str]:
    """Stand before a server, and keep its answer to every third call of a path."""
    calls = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            request = urllib.request.Request(f"{server.uri}{self.path}", body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    status, content = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, content = error.code, error.read()
            if self.path.endswith(path) and next(calls) % 3 == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = forward

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        Thread(target=proxy.serve_forever).start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()
