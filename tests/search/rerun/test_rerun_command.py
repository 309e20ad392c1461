"""The command `rerun` with an MLflow store alone: verdicts, exit codes, records, and runs of kind `rerun`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Answer
from mlflow import MlflowClient
from typer.testing import CliRunner

from lkca_search.cli.app import app
from lkca_search.layout import Home
from lkca_search.records.record import Record
from lkca_search.records.rerun import RerunRecord
from lkca_search.records.trial import Replication
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.training.images import DataDirs
from lkca_search.training.trained_model import load_trained
from tests.support.search.trained import train

Rerun = Callable[..., Answer]
UID = "f" * 32


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> DataDirs:
    return DataDirs(cache=tmp_path_factory.mktemp("cache"), data_dir=None)


@pytest.fixture(scope="module")
def trial(data_dirs: DataDirs) -> Record:
    return train(data_dirs).model_copy(update={"search": "toy"})


@pytest.fixture(scope="module")
def store(trial: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with an MLflow store of a search with one trial and three replicates of made-up values."""
    root = tmp_path_factory.mktemp("store")
    store = MLflowStore(Home(root=root), uid=UID, name="toy", texts={})
    store.finish(trial)
    for draw, accuracy in ((1, 0.10), (2, 0.12), (3, 0.14)):
        replication = Replication(of=trial.trial_id, draw=draw, seed=0)
        last = trial.curve[-1].model_copy(update={"val_accuracy": accuracy})
        configuration = trial.spec.configuration.model_copy(update={"draw": draw})
        spec = trial.spec.model_copy(update={"configuration": configuration})
        update: dict[str, Any] = {"trial_id": replication.replicate_id, "replicate": replication, "spec": spec}
        update["curve"] = (*trial.curve[:-1], last)
        store.finish(trial.model_copy(update=update))
    store.end_search(complete=True, best=trial)
    return root


@pytest.fixture
def rerun(store: Path, data_dirs: DataDirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rerun:
    """Return a function that runs `rerun` in an empty home, with the URL of the store."""
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LKCA_SEARCH_CACHE", str(data_dirs.cache))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unset")  # restored after the option has set it
    uri = f"sqlite:///{store / 'mlflow.db'}"
    return lambda *arguments: CliRunner().invoke(app, ["rerun", *arguments, "--tracking-uri", uri])


def find_reruns(store: Path) -> list[Any]:
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, "tags.kind = 'rerun'", order_by=["attribute.start_time DESC"]))


def test_a_search_in_mlflow_is_repeated_bit_for_bit_in_an_empty_home_and_the_rerun_is_recorded(
    rerun: Rerun, store: Path, trial: Record, tmp_path: Path
) -> None:
    answer = rerun("toy", "--exact", "--save", str(tmp_path / "model"))
    assert answer.exit_code == 0, answer.output
    assert "identical: all 2 results and the final weights are equal bit for bit" in answer.output
    path = tmp_path / "home" / "reruns" / "toy" / "0001" / "rerun.json"
    record = RerunRecord.model_validate_json(path.read_bytes())
    assert trial.facts is not None
    assert record.facts.weights_hash == trial.facts.weights_hash
    assert (record.repeats.uid, record.repeats.trial_id, record.outcome.difference) == (UID, trial.trial_id, 0.0)
    assert load_trained(tmp_path / "model").description.weights_sha256 == trial.facts.weights_hash
    run = find_reruns(store)[0]
    assert (run.data.tags["verdict"], run.data.tags["lkca.rerun_of"]) == ("identical", trial.trial_id)
    assert run.data.tags["lkca.rerun_of_run"] == record.repeats.mlflow_run
    listed = CliRunner().invoke(app, ["rerun", "toy", "--list"])
    assert listed.exit_code == 0
    assert listed.output.splitlines()[-1].split()[:2] == ["0001", trial.trial_id]
    again = CliRunner().invoke(app, ["rerun", str(path), "--json"])  # the record of a rerun is a source too
    assert json.loads(again.stdout)["verdict"] == "identical"


def test_fresh_draws_are_compared_with_the_interval_of_the_replicates(rerun: Rerun, store: Path) -> None:
    answer = rerun("toy", "--draws", "2", "--json")
    first, second = json.loads(answer.stdout)
    assert first["draw"] != second["draw"]
    for outcome in (first, second):
        tolerance = outcome["tolerance"]
        assert (tolerance["num_replicates"], tolerance["num_draws"]) == (3, 3)
        assert (tolerance["low"] + tolerance["high"]) / 2 == pytest.approx(0.12)
        inside = tolerance["low"] <= outcome["value"] <= tolerance["high"]
        assert outcome["verdict"] == ("within tolerance" if inside else "different")
        assert (outcome["is_repeat"], outcome["difference"], outcome["edits"]) == (False, None, [])
    assert answer.exit_code == (0 if {first["verdict"], second["verdict"]} == {"within tolerance"} else 1)


def test_a_changed_training_is_not_compared_and_exits_with_1(rerun: Rerun) -> None:
    answer = rerun("toy", "learning_rate=0.02", "epochs=1")
    assert answer.exit_code == 1
    assert "edited    configuration.learning_rate was 0.01, is 0.02" in answer.output
    assert "not compared: the training was edited" in answer.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["toy", "--allow", "dat"],
            "--allow must be one of data, subset, model, own-code, got 'dat'; did you mean data?",
        ),
        (["toy", "a=1"], "a training has no 'a'"),
        (["toy", "seed=1", "--seeds", "2"], "draws fresh values"),
        (["other"], "the MLflow store has no search 'other'; searches there: toy"),
        (["toy/a/1"], "has no run of trial 'a/1' in MLflow"),
    ],
)
def test_a_request_that_cannot_be_fulfilled_is_refused(rerun: Rerun, arguments: list[str], message: str) -> None:
    answer = rerun(*arguments)
    assert answer.exit_code == 1  # of an exception, which `main` turns into code 2
    assert message in str(answer.exception)
