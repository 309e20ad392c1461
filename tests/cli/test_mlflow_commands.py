"""Tests of `sync` and `ui` with an MLflow store that cannot be used: one line with the command that mends it."""

import re
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.paths import sqlite_url
from tests.support.code_blocks import PAGES, ROOT, read_blocks
from tests.support.processes import Command
from tests.support.records import make_record, make_search
from tests.support.tracking.database import copy_fresh_database


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set MLFLOW_TRACKING_URI to an address without a server, and return the address without the login."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:s3cret@{address}")
        yield f"http://{address}"


def test_ui_says_that_a_server_does_not_answer(dead_server: str, command: Command) -> None:
    begun = time.monotonic()
    answer = command("ui")
    assert time.monotonic() - begun < 20
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        f"MLflow: the MLflow server {dead_server} does not respond (connection refused); start it, or correct "
        "MLFLOW_TRACKING_URI. Then repeat the command.\n"
    )


@pytest.mark.parametrize(
    ("revision", "mends"), [("97727af70f4d", "mlflow db upgrade"), ("ffffffffffff", "pip install --upgrade mlflow")]
)
def test_ui_starts_no_server_over_a_database_of_another_version(revision: str, mends: str, command: Command) -> None:
    home = Home.from_environment()
    copy_fresh_database(home.mlflow_database)
    with closing(sqlite3.connect(home.mlflow_database)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", [revision])
        database.commit()
    answer = command("ui")
    assert (answer.code, answer.out) == (1, "")
    (line,) = answer.err.splitlines()
    assert f"cp {home.mlflow_database} {home.mlflow_database}.backup && {mends}" in line
    if mends == "mlflow db upgrade":
        assert line.split(". Then")[0].endswith(sqlite_url(home.mlflow_database))
    assert Path(home.mlflow_database).exists()


def test_sync_says_at_once_that_a_server_does_not_answer(dead_server: str, command: Command) -> None:
    make_search("made", [make_record(0)])
    begun = time.monotonic()
    answer = command("sync", "made")
    assert time.monotonic() - begun < 20
    assert (answer.code, answer.out) == (1, "search made: 0 trials sent, 1 missing\n")
    assert answer.err == (
        f"MLflow: the MLflow server {dead_server} does not respond (connection refused); start it, or correct "
        "MLFLOW_TRACKING_URI. Then repeat the command to send the rest.\n"
    )


def test_sync_reports_a_home_that_was_moved(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.from_environment()
    make_search("made", [make_record(0)])
    assert command("sync", "made").code == 0
    moved = Path(str(home.root)).rename(tmp_path / "moved")
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(moved))
    answer = command("sync", "made")
    assert (answer.code, answer.out) == (0, "search made: 0 trials sent, 0 missing\n")
    assert answer.err == (
        f"MLflow: the home was moved: MLflow now finds the artifacts of {home.mlflow_artifacts} in "
        f"{moved}/mlflow_artifacts\n"
    )
    assert command("sync", "made").err == ""


def test_ui_says_that_runs_and_their_experiment_were_deleted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.from_environment()
    make_search("made", [make_record(0)])
    assert command("sync", "made").code == 0
    client = MlflowClient(tracking_uri=sqlite_url(home.mlflow_database))
    monkeypatch.setattr("os.execve", lambda *_: sys.exit(0))  # in place of the server, which would replace this process
    assert command("ui", "made").err == ""
    (trial,) = client.search_runs(["1"], "tags.kind = 'trial'")
    client.delete_run(trial.info.run_id)
    answer = command("ui", "made")
    assert "#/experiments/1/runs" in answer.out
    assert answer.err.startswith("MLflow: runs of this search that were deleted in MLflow: 1 (")
    assert answer.err.endswith(f"mlflow runs restore --run-id {trial.info.run_id}\n")
    client.delete_experiment("1")
    answer = command("ui", "made")
    assert answer.code == 0
    assert answer.err.startswith("MLflow: the experiment 'lkca-search' was deleted in MLflow; restore it: ")


def test_ui_prints_the_database_of_the_home_for_commands_of_mlflow_itself(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.from_environment()
    make_search("made", [make_record(0)])
    assert command("sync", "made").code == 0
    monkeypatch.setattr("os.execve", lambda *_: sys.exit(0))  # in place of the server, which would replace this process
    url = sqlite_url(home.mlflow_database)
    assert command("ui", "made").out.endswith(f"\nMLflow's own commands: MLFLOW_TRACKING_URI={url} mlflow COMMAND\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    assert "own commands" not in command("ui", "made").out, "they read the variable too"


def test_every_command_of_mlflow_on_a_page_names_its_store() -> None:
    """Without the variable, MLflow makes an empty database in the working directory."""
    lines = []
    for page in [*PAGES, *(ROOT / "cluster").rglob("*.md")]:
        for block in read_blocks(page):
            lines += [
                line for line in block.text.replace("\\\n", " ").splitlines() if re.search(r"\bmlflow [a-z]", line)
            ]
    assert len(lines) >= 2
    assert [line for line in lines if not re.search("MLFLOW_TRACKING_URI=|--backend-store-uri ", line)] == []


def test_ui_opens_the_page_of_a_store_that_refuses_views_and_says_so_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.from_environment()
    make_search("made", [make_record(0)])
    assert command("sync", "made").code == 0
    with closing(sqlite3.connect(home.mlflow_database)) as database:  # as a file or server without write permission
        database.execute("DELETE FROM experiment_tags")
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON experiment_tags "
            "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        )
        database.commit()
    monkeypatch.setattr("os.execve", lambda *_: sys.exit(0))  # in place of the server, which would replace this process
    answer = command("ui", "made")
    assert answer.code == 0
    assert "runs?workflowType=machine_learning&orderByKey=" in answer.out
    assert "viewStateShareKey" not in answer.out
    assert answer.err == (
        "MLflow: the views are not saved, and the page lists all runs: MLflow's database "
        f"{home.mlflow_database} or its artifacts cannot be written; make its folder writable\n"
    )
