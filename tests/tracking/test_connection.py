from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.tracking.connection import experiment_name, redacted, without_login
from lkca_search.tracking.runs import runs_page
from tests.support.processes import run_python


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cret-word@127.0.0.1:1",
        "http://user:s3cret%2Dword@127.0.0.1:1/path",
        "http://user:s3cret-word/x@127.0.0.1:1",
        "http://user:s3cret-word@s3cret-word@127.0.0.1:1",
        "http://s3cret-word@127.0.0.1:1",
        "postgresql://user:s3cret-word@127.0.0.1:1/db",
        "ftp://user:s3cret-word@127.0.0.1:1/db",
    ],
)
def test_an_error_about_an_address_does_not_show_its_password(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    shown: BaseException | None = None
    try:
        MlflowClient(tracking_uri=address).search_experiments()
    except Exception as error:  # any error of MLflow
        shown = redacted(error, address)
    assert shown is not None
    assert str(shown)
    while shown is not None:
        assert "s3cret" not in f"{shown} {shown!r}"
        shown = shown.__cause__ or shown.__context__


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"])
def test_secrets_from_the_environment_are_hidden(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "s3cret")
    assert str(redacted(ValueError("got s3cret"), "")) == "ValueError: got ***"


def test_an_address_is_printed_without_its_login() -> None:
    assert without_login("https://user:s3cret@host:5000/path") == "https://host:5000/path"
    assert without_login("https://host:5000/a@b") == "https://host:5000/a@b"


def test_an_error_without_secrets_is_returned_unchanged() -> None:
    error = TimeoutError("http://127.0.0.1:5000/api took longer than 5 s")
    assert redacted(error, "http://127.0.0.1:5000") is error


def test_the_page_of_runs_is_sorted_by_the_metric_of_the_search_best_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(tracking_uri=uri)
    client.create_experiment(experiment_name())
    home = Home(root=tmp_path)
    assert "orderByKey=metrics.%60val_accuracy%60&orderByAsc=false" in runs_page(client, home, "toy")
    assert "orderByKey=metrics.%60val_loss%60&orderByAsc=true" in runs_page(
        client, home, "toy", "val_loss", direction="minimize"
    )


VARIABLES = """
import sys, tempfile
from pathlib import Path
import numpy  # sets a variable, before Ray starts
from lkca_search.layout import Home
from lkca_search.tracking.connection import set_client_variables

set_client_variables()
found = []
sys.addaudithook(lambda event, arguments: found.append(arguments) if event == "os.putenv" else None)

from lkca_search.tracking.mlflow_store import MLflowStore
from tests.support.tracking.recorded import make_record, start_of

with tempfile.TemporaryDirectory() as root:
    store = MLflowStore(Home(root=Path(root)), uid="0" * 32, name="study", texts={"space.yaml": "data: {}"})
    record = make_record("lkca/0")
    store.update_running(start_of(record), record.curve[:1])
    store.finish(record)
    store.end_search(complete=True, best=record)

print(sorted(name.decode() for name, _ in found))
"""


def test_no_environment_variable_is_set_while_runs_are_sent() -> None:
    """A new variable moves all others in memory, while the threads of Ray may read them."""
    assert run_python(VARIABLES).splitlines()[-1] == "[]"
