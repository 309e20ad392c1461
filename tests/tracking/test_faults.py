"""Tests of faults of a store: each is one line at the start of a search, with the command that mends it."""

import http.server
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import RemotePath
from lkca_search.tracking.connection import experiment_name
from lkca_search.tracking.faults import describe_fault
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import MLflowTracker, send_missing
from tests.support.processes import wait_for
from tests.support.tracking.database import copy_fresh_database
from tests.support.tracking.recorded import assert_stored, open_store, read_stored
from tests.support.tracking.tracked import RECORDS, track

NOISE = (
    "HTTPConnectionPool",
    "urllib3",
    "Background on this error",
    "sqlalche.me",
    "Traceback",
    "[SQL",
    "\n",
    "s3cret",
)


@pytest.fixture
def root(folder: SearchFolder) -> Path:
    """Return the home of the search, with a database of its own."""
    root = Path(str(folder.home.root))
    copy_fresh_database(root / "mlflow.db")
    return root


@pytest.fixture
def uri(root: Path) -> str:
    return f"sqlite:///{root}/mlflow.db"


def run_search(root: Path, folder: SearchFolder, lines: list[str]) -> MLflowTracker:
    """Track two finished trials, with a store that has a fault, until a line about it is printed."""
    tracker = MLflowTracker(lambda: open_store(root), folder, pause_seconds=0.05, notify=lines.append)
    wait_for(lambda: bool(lines))
    track(tracker, folder, *RECORDS[:2])
    return tracker


def run_command(remedy: str) -> None:
    """Run the MLflow command in a line, as the user would."""
    command = remedy[remedy.index("mlflow ") :].split(" (or")[0].split(". The")[0].split(", likewise")[0]
    variables = shlex.split(remedy[: remedy.index("mlflow ")].rpartition("; ")[2].rpartition(": ")[2])
    environment = {**os.environ, **dict(variable.split("=", 1) for variable in variables)}
    subprocess.run([sys.executable, "-m", *shlex.split(command)], env=environment, check=True, capture_output=True)


def test_a_deleted_experiment_is_said_at_the_start_with_the_command_that_restores_it(
    root: Path, folder: SearchFolder, uri: str
) -> None:
    open_store(root)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(experiment_name())
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    lines: list[str] = []
    tracker = run_search(root, folder, lines)
    begun = time.monotonic()
    assert tracker.close(complete=True, best=None, patience_seconds=60) == 2
    assert time.monotonic() - begun < 10  # waiting would not help
    (line,) = lines
    assert line.startswith("MLflow: the experiment 'lkca-search' was deleted in MLflow; restore it: ")
    assert line.endswith("The search continues; send the rest later: lkca-search sync study")
    run_command(line)
    outcome = send_missing(lambda: open_store(root), folder, complete=True, best=None, patience_seconds=5)
    assert (outcome.num_sent, outcome.num_missing, outcome.fault) == (2, 0, None)
    assert_stored(read_stored(uri), *RECORDS[:2])


@pytest.mark.parametrize("kind", ["search", "trial"])
def test_deleted_runs_are_said_at_the_start_and_written_again(
    kind: str, root: Path, folder: SearchFolder, uri: str
) -> None:
    lines: list[str] = []
    tracker = MLflowTracker(lambda: open_store(root), folder, notify=lines.append)
    track(tracker, folder, *RECORDS[:2])
    assert tracker.close(complete=True, best=None) == 0
    stored = read_stored(uri)
    assert stored is not None
    deleted = {"search": stored.parent, "trial": stored.trials["lkca/0"]}[kind]
    MlflowClient(tracking_uri=uri).delete_run(deleted.info.run_id)
    assert lines == []
    again = run_search(root, folder, lines)
    assert again.close(complete=True, best=None) == 0
    (line,) = lines
    assert f"deleted in MLflow: 1 ({deleted.info.run_name}); they are written again;" in line
    assert line.endswith(f"mlflow runs restore --run-id {deleted.info.run_id}")
    assert_stored(read_stored(uri), *RECORDS[:2])
    third = MLflowTracker(lambda: open_store(root), folder, notify=lines.append)
    third.close(complete=True, best=None)
    assert lines == [line]  # they exist again


def test_an_unreachable_server_is_said_once_at_the_start(
    root: Path, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:s3cret@127.0.0.1:{free.getsockname()[1]}")
        lines: list[str] = []
        tracker = run_search(root, folder, lines)
        time.sleep(0.3)
        assert tracker.close(complete=True, best=None, patience_seconds=2) == 2
        server = f"MLflow: the MLflow server http://127.0.0.1:{free.getsockname()[1]} does not respond"
        assert lines == [
            f"{server} (connection refused); start it, or correct MLFLOW_TRACKING_URI. "
            "The search continues; send the rest later: lkca-search sync study",
            "MLflow: tried again for up to 2 s",  # at the end of the search, without the fault again
        ]
        assert tracker.is_told
        assert str(tracker.last_fault) in lines[0]


def test_sync_ends_at_once_if_the_store_cannot_be_opened(
    root: Path, folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
        begun = time.monotonic()
        outcome = send_missing(lambda: open_store(root), folder, complete=True, best=None, patience_seconds=3600)
    assert time.monotonic() - begun < 5
    assert outcome.fault is not None
    assert "does not respond" in outcome.fault.cause


@pytest.fixture(scope="module")
def answers() -> Iterator[str]:
    """Return the address of a server that answers /CODE/... with that HTTP status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"//127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("uri", "cause", "remedy"),
    [
        ("http:{server}/401", "refuses the login (HTTP 401)", "MLFLOW_TRACKING_USERNAME"),
        ("http:{server}/403", "refuses the login (HTTP 403)", "MLFLOW_TRACKING_PASSWORD"),
        ("http:{server}/404", "is not an MLflow server", "correct MLFLOW_TRACKING_URI"),
        ("http:{server}/200", "is not an MLflow server", "correct MLFLOW_TRACKING_URI"),
        ("http:{server}/503", "responds with HTTP 503", "log of the server"),
        ("https:{server}", "has no valid certificate", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ("http://no.such.host.invalid", "does not respond (name or service not known)", "correct MLFLOW_TRACKING_URI"),
        ("postgresql://me:s3cret@127.0.0.1:9/db", "does not respond (connection refused)", "start it"),
        ("postgresql://me@no.such.host.invalid/db", "does not respond (name or service not known)", "start it"),
        ("ftp://host/path", "MLFLOW_TRACKING_URI must be http(s)://HOST", "correct it, or unset it"),
        ("./mlruns", "got ./mlruns", "unset it"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    uri: str, cause: str, remedy: str, answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(server=answers))
    begun = time.monotonic()
    with pytest.raises(Exception, match=r".+") as caught:
        open_store(tmp_path)
    assert isinstance(caught.value, Exception)
    fault = describe_fault(caught.value, Home(root=tmp_path))
    assert cause in fault.cause
    assert remedy in fault.remedy
    assert not any(word in str(fault) for word in NOISE)
    assert time.monotonic() - begun < 10


def test_a_fault_of_the_database_prints_nothing_of_sqlalchemy(
    root: Path, folder: SearchFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MLflowTracker(lambda: open_store(root), folder, pause_seconds=0.05)
    wait_for(lambda: read_stored(f"sqlite:///{root}/mlflow.db") is not None)
    capfd.readouterr()
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        database.execute("DROP TABLE latest_metrics")
    track(tracker, folder, RECORDS[0])
    assert tracker.close(complete=True, best=None, patience_seconds=0.5) == 1
    assert tracker.last_fault is not None
    assert "no such table: latest_metrics" in tracker.last_fault.cause
    assert not any(word in str(tracker.last_fault) for word in NOISE)
    assert capfd.readouterr() == ("", "")


def test_a_closed_terminal_does_not_end_the_tracker(root: Path, folder: SearchFolder, uri: str) -> None:
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()
    num_lines = 0

    def fail(line: str) -> None:
        nonlocal num_lines
        num_lines += 1
        raise BrokenPipeError

    tracker = MLflowTracker(lambda: open_store(root), folder, pause_seconds=0.05, notify=fail)
    wait_for(lambda: num_lines > 0)
    (root / "mlflow.db").rmdir()
    track(tracker, folder, RECORDS[0])
    assert tracker.close(complete=True, best=None) == 0


def test_two_searches_can_create_the_experiment_at_once(root: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_experiment

    def create_late(client: MlflowClient, *arguments: str | None) -> str:
        real(client, *arguments)  # type: ignore[arg-type]
        return real(client, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_experiment", create_late)
    open_store(root)
    assert read_stored(uri) is not None


def test_a_home_in_an_object_store_without_a_server_is_said_at_the_start_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home, lines = Home(root=RemotePath("s3://", "bucket/runs")), list[str]()
    folder = SearchFolder(root=home.root / "searches" / "study", storage=tmp_path / "study")
    tracker = MLflowTracker(
        lambda: MLflowStore(home, uid="uid", name="study", texts={}), folder, pause_seconds=0.05, notify=lines.append
    )
    wait_for(lambda: bool(lines))
    track(tracker, folder, *RECORDS[:2])
    begun = time.monotonic()
    assert tracker.close(complete=True, best=None, patience_seconds=60) == 2
    assert time.monotonic() - begun < 10  # waiting would not help
    fault = (
        "the default MLflow store must be a database on disk, got the home s3://bucket/runs; set MLFLOW_TRACKING_URI"
    )
    assert str(tracker.last_fault) == f"{fault} to a server"
    (line,) = lines
    assert line == f"MLflow: {fault} to a server. The search continues; send the rest later: lkca-search sync study"
