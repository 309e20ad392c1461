"""Other tools read the results of a search: Optuna's dashboard its ledger, pandas its tables."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, read_records
from lkca_search.records.tables import write_tables
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.state.database import find_database
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_spec, train_all

WAIT_SECONDS = 60


@pytest.fixture
def records(folder: SearchFolder) -> list[Record]:
    train_all(Ledger(folder, make_spec(trials_per_cell=4), DIGITS, 10, Tracker()))
    return read_records(folder)


@contextmanager
def dashboard(folder: SearchFolder) -> Iterator[str]:
    """Run Optuna's dashboard over a ledger and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()"]
    command += [f"{find_database(folder).url}", "--port", str(port), "--server", "wsgiref", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)


def get(url: str) -> Any:
    """Return the JSON at a URL; retry until the server is up."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as response:
                return json.load(response)
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_optuna_dashboard_shows_every_cell_and_trial(folder: SearchFolder, records: list[Record]) -> None:
    with dashboard(folder) as address:
        studies = get(f"{address}/api/studies")["study_summaries"]
        assert {study["study_name"] for study in studies} == {record.cell for record in records}
        for study in studies:
            shown = get(f"{address}/api/studies/{study['study_id']}?after=0")["trials"]
            ours = [record for record in records if record.cell == study["study_name"]]
            assert [trial["values"] for trial in shown] == [[record.value] for record in ours]
            assert {trial["state"] for trial in shown} == {"Complete"}


def test_pandas_reads_the_tables(folder: SearchFolder, records: list[Record]) -> None:
    trials, curves = (pd.read_parquet(path) for path in write_tables(records, (), folder.root))
    assert list(trials["trial_id"]) == [record.trial_id for record in records]
    assert list(trials["value"]) == [record.value for record in records]
    assert list(trials["learning_rate"]) == [record.spec.configuration.learning_rate for record in records]
    best = curves.sort_values("step").groupby("trial_id")["val_accuracy"].last()
    assert best.to_dict() == {record.trial_id: record.value for record in records}
