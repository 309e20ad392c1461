"""`predict` with a model in MLflow: every form of a URI, from another home, without the search's folder."""

from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from lkca_search import load_model
from lkca_search.paths import file_url, sqlite_url
from lkca_search.records.predictions import save_predictions
from lkca_search.training.images import DataDirs
from tests.support.models import train_model
from tests.support.processes import Command, parsed
from tests.support.tracking.database import copy_fresh_database


class Registered(NamedTuple):
    """Store with one registered model, `made`, version 1."""

    uri: str
    run_id: str
    model_id: str


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Return a store with a model as a search registers it. There is no search."""
    root = tmp_path_factory.mktemp("store")
    copy_fresh_database(root / "mlflow.db")
    files = root / "files"
    _, _, predictions = train_model(files, DataDirs(cache=root / "datasets", data_dir=None))
    save_predictions(predictions, files, replicate_id="all/0/draw=1,seed=0")
    uri = sqlite_url(root / "mlflow.db")
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("made", file_url(root / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    logged = client.create_logged_model(experiment, "replicate", run_id)
    client.log_model_artifacts(logged.model_id, str(files))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.create_registered_model("made")
    client.create_model_version("made", logged.artifact_location, run_id, model_id=logged.model_id)
    client.set_registered_model_alias("made", "champion", "1")
    return Registered(uri, run_id, logged.model_id)


@pytest.fixture
def registered(stored: Registered, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Name the store in the environment, whose home is empty."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stored.uri)
    return stored


def forms_of(registered: Registered) -> list[str]:
    named = ["models:/made@champion", "models:/made/1"]
    return [*named, f"models:/{registered.model_id}", f"runs:/{registered.run_id}"]


def test_the_stored_predictions_come_back_from_every_form_of_a_uri(command: Command, registered: Registered) -> None:
    for uri in forms_of(registered):
        answer = parsed(command("predict", uri, "test", "--json"))
        assert (answer["model"], answer["test"]["verdict"]) == (uri, "identical")
        assert len(answer["images"]) == 359


def test_the_library_loads_the_model_from_every_form_of_a_uri(registered: Registered) -> None:
    first, *others = [load_model(uri).description for uri in forms_of(registered)]
    assert first.trial_id == "all/0/draw=1,seed=0"
    assert others == [first] * 3


def test_a_model_that_mlflow_lacks_is_an_error_with_the_uri(command: Command, registered: Registered) -> None:
    for uri in ("models:/nothing@champion", "models:/made/99", "runs:/0123456789abcdef"):
        code, out, err = command("predict", uri, "test")
        assert (code, out) == (2, "")
        assert f"{uri} must be a model that MLflow can give" in err


def test_a_run_without_a_model_is_an_error(command: Command, registered: Registered) -> None:
    code, out, err = command("predict", f"runs:/{registered.run_id}/nothing", "test")
    assert (code, out) == (2, "")
    assert f"runs:/{registered.run_id}/nothing must be a model" in err
