"""Searches with runs and models in MLflow are renamed and deleted there too, and only there if that is asked."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.uid import SEARCH_UID, read_uid
from lkca_search.search.sync import open_store
from lkca_search.tracking.connection import tracking_uri
from lkca_search.tracking.experiment import find_experiment
from lkca_search.tracking.registry.search_entities import find_tracked
from lkca_search.tracking.runs import find_runs
from tests.support.processes import Command, parsed
from tests.support.search.stored import make_stored_search
from tests.support.tracking.database import copy_fresh_database


def track(name: str) -> SearchFolder:
    """Make a search whose records are in MLflow, with a logged and a registered model."""
    home = Home.from_environment()
    folder = make_stored_search(name)
    store, reader = open_store(folder, home), RecordReader(folder)
    for record in (*reader.trials(), *reader.replicates()):
        store.finish(record)
    store.end_search(complete=True, best=None)
    client, tags = open_client(home), {SEARCH_UID: str(read_uid(folder)), "search": name}
    run_id = runs(home, name)[-1].info.run_id
    client.create_logged_model(str(find_experiment(client, home)), "model", run_id, tags=tags)
    client.create_registered_model(name, tags)
    client.create_model_version(name, str(home.mlflow_artifacts), run_id)
    return folder


def open_client(home: Home) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking_uri(home))


def runs(home: Home, name: str, view: int = ViewType.ACTIVE_ONLY) -> list:
    client = open_client(home)
    return find_runs(client, str(find_experiment(client, home)), f"tags.search = '{name}'", view)


def registered(home: Home) -> dict[str, str]:
    return {model.name: model.tags["search"] for model in open_client(home).search_registered_models()}


@pytest.fixture(autouse=True)
def home() -> Home:
    home = Home.from_environment()
    copy_fresh_database(home.mlflow_database)
    return home


def test_a_renamed_search_has_its_new_name_in_mlflow_and_gets_no_second_run(command: Command, home: Home) -> None:
    track("made")
    track("other")
    before = {run.info.run_id for run in runs(home, "made")}
    assert len(before) == 5
    code, out, err = command("rename", "made", "new")
    assert (code, out, err) == (0, "search made is now new, with 5 runs in MLflow\n", "")
    renamed = runs(home, "new")
    assert {run.info.run_id for run in renamed} == before
    (parent,) = (run for run in renamed if run.data.tags["kind"] == "search")
    assert parent.info.run_name == "new"
    assert registered(home) == {"new": "new", "other": "other"}
    open_store(home.search("new"), home)
    assert len(runs(home, "new")) == 5
    assert (len(runs(home, "made")), len(runs(home, "other"))) == (0, 5)


def test_a_search_renamed_while_mlflow_does_not_respond_is_renamed_there_by_its_next_driver(
    command: Command, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    track("made")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        code, out, err = command("rename", "made", "new")
    assert (code, "the next run, or lkca-search sync new, renames it in MLflow" in out) == (1, True)
    assert "does not respond" in err
    assert home.search_names() == ["new"]
    assert (len(runs(home, "made")), len(runs(home, "new"))) == (5, 0)
    store = open_store(home.search("new"), home)
    assert store.running_trials == []
    assert (len(runs(home, "made")), len(runs(home, "new"))) == (0, 5)


def test_delete_keeps_mlflow_unless_it_is_asked_and_then_deletes_runs_and_models_of_this_search_alone(
    command: Command, home: Home
) -> None:
    folder = track("made")
    track("other")
    uid = str(read_uid(folder))
    plan = parsed(command("delete", "made", "--mlflow", "--dry-run", "--json"))
    tracked = plan["tracked"]
    assert (len(tracked["run_ids"]), len(tracked["model_ids"]), tracked["registered"]) == (5, 1, ["made"])
    assert not find_tracked(home, uid).is_empty
    code, out, err = command("delete", "made", "--mlflow", "--yes")
    assert (code, err) == (0, "")
    assert "in MLflow: 5 runs, 1 model and the registered model made" in out
    assert "MLflow frees the space of its deleted runs by: mlflow gc --backend-store-uri" in out
    assert find_tracked(home, uid).is_empty
    assert len(runs(home, "made", ViewType.DELETED_ONLY)) == 5
    assert (len(runs(home, "other")), registered(home)) == (5, {"other": "other"})
    assert command("delete", "other", "--yes").code == 0
    assert (len(runs(home, "other")), registered(home)) == (5, {"other": "other"})


def test_a_dead_store_keeps_delete_from_changing_anything_only_if_its_runs_are_to_be_deleted(
    command: Command, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stored_search("made")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, err = command("delete", "made", "--mlflow", "--yes")
    assert (code, "does not respond" in err) == (2, True)
    assert home.search_names() == ["made"]
    assert command("delete", "made", "--yes").code == 0


def test_a_home_without_an_mlflow_database_gets_none(command: Command, home: Home) -> None:
    make_stored_search("made")
    Path(str(home.mlflow_database)).unlink()
    assert command("rename", "made", "new").code == 0
    assert command("delete", "new", "--mlflow", "--yes").code == 0
    assert not home.mlflow_database.exists()
