"""Tests of the runs that a search has in an MLflow store."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.records.record import Record, State
from lkca_search.tracking.connection import tracking_uri
from lkca_search.tracking.mlflow_store import MLflowStore
from tests.support.tracking.recorded import (
    BEGIN,
    METRICS,
    assert_stored,
    make_record,
    make_result,
    open_store,
    read_stored,
    start_of,
)
from tests.support.tracking.tracked import MIXED_RECORDS, write_at_once, write_live

OPEN = """
import os, sys
from pathlib import Path
from lkca_search.layout import Home
from lkca_search.tracking.mlflow_store import MLflowStore

root, uid, shared = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for uri in ("", shared):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    print("ready", flush=True)
    sys.stdin.readline()
    MLflowStore(Home(root=root), uid=uid, name="study", texts={"space.yaml": "a: 1"})
"""


@pytest.mark.parametrize("write", [write_live, write_at_once])
def test_a_search_is_a_parent_run_with_one_complete_child_per_trial(
    write: Callable[..., None], root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    write(store, *MIXED_RECORDS)
    store.end_search(complete=True, best=MIXED_RECORDS[0])
    assert_stored(read_stored(uri, uid=uid), *MIXED_RECORDS)


def test_a_child_run_has_the_parameters_tags_and_metrics_of_its_trial(root: Path, uid: str, uri: str) -> None:
    record = make_record()
    write_live(open_store(root, uid=uid), record)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    run = stored.trials["lkca/0"]
    assert run.info.run_name == "lkca #0"
    assert (run.info.start_time, run.info.end_time) == (BEGIN * 1000, (BEGIN + 1000) * 1000)
    configuration = record.spec.complete_configuration.model_dump(exclude_none=True)
    derived = {"seed": 17, "planned_steps": 3, "final_learning_rate": 1e-6}
    assert run.data.params == {name: str(value) for name, value in {**configuration, **derived}.items()}
    expected = {"cell": "lkca", "family": "lkca", "data_fraction": "0.5", "draw": "0", "attempt": "1"}
    expected |= {"subset_hash": "e" * 64, "validation_hash": "f" * 64, "data_hash": "d" * 64, "node": "node-7"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["git_commit"]
    assert run.data.metrics.keys() == {
        *METRICS,
        *("max_val_accuracy", "min_val_loss", "num_parameters", "flops", "num_train_images", "num_validation_images"),
    }
    assert run.data.metrics["min_val_loss"] == pytest.approx(1 / 3)
    assert run.data.metrics["num_parameters"] == 1234
    assert run.data.metrics["flops"] == 5678
    assert run.data.tags["model"] == "LKCA"


def test_the_datasets_of_a_trial_are_linked_once_and_later_if_an_earlier_version_lacked_them(
    root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, failed = make_record(), make_record("lkca/1", state=State.FAIL, num_results=0, error="boom")
    with monkeypatch.context() as earlier:
        earlier.setattr(MlflowClient, "log_inputs", lambda *_: None)
        write_at_once(open_store(root, uid=uid), record, failed)
    store = open_store(root, uid=uid)
    assert (store.is_sent("lkca/0"), store.is_current("lkca/0"), store.is_current("lkca/1")) == (True, False, True)
    for _ in range(2):
        write_at_once(store, record)
        store = open_store(root, uid=uid)
    assert store.is_current("lkca/0")
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    inputs = stored.trials["lkca/0"].inputs.dataset_inputs
    assert sorted(each.tags[0].value for each in inputs) == ["train", "validation"]
    assert {each.dataset.name for each in inputs} == {"digits"}


def test_a_child_run_has_its_record_and_the_parent_run_each_file_of_provenance_once(
    root: Path, uid: str, uri: str
) -> None:
    made = make_record()
    assert made.facts is not None
    provenance = made.facts.provenance.model_copy(update={"packages_hash": "0" * 16, "git_diff": "1" * 16})
    facts = made.facts.model_copy(update={"provenance": provenance})
    record, other = (made.model_copy(update={"facts": facts, "trial_id": f"lkca/{i}", "number": i}) for i in range(2))
    read: list[str] = []

    def read_provenance(name: str) -> str | None:
        read.append(name)
        return None if name.endswith(".diff") else "{}"

    for _ in range(2):
        store = MLflowStore(Home(root=root), uid=uid, name="study", texts={}, read_provenance=read_provenance)
        for each in (record, other):
            store.finish(each)
            assert store.is_current(each.trial_id)
    assert read.count(f"{'0' * 16}.json") == 1
    stored, client = read_stored(uri, uid=uid), MlflowClient(tracking_uri=uri)
    assert stored is not None
    (path,) = (file.path for file in client.list_artifacts(stored.parent.info.run_id, "provenance"))
    assert path == f"provenance/{'0' * 16}.json"
    file = client.download_artifacts(stored.trials["lkca/1"].info.run_id, "record.json", str(root))
    assert Record.model_validate_json(Path(file).read_bytes()) == other


def test_the_run_of_an_earlier_version_without_record_is_not_current(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.finish(make_record())
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    MlflowClient(tracking_uri=uri).delete_tag(stored.trials["lkca/0"].info.run_id, "lkca.record")
    store = open_store(root, uid=uid)
    assert (store.is_sent("lkca/0"), store.is_current("lkca/0")) == (True, False)
    store.finish(make_record())
    assert open_store(root, uid=uid).is_current("lkca/0")


def test_a_point_has_the_step_and_the_time_of_its_result(root: Path, uid: str, uri: str) -> None:
    write_live(open_store(root, uid=uid), make_record())
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    points = MlflowClient(tracking_uri=uri).get_metric_history(stored.trials["lkca/0"].info.run_id, "val_loss")
    assert [(point.step, point.timestamp) for point in points] == [(i, (BEGIN + i) * 1000) for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("state", "status"), [(State.COMPLETE, "FINISHED"), (State.PRUNED, "FINISHED"), (State.FAIL, "FAILED")]
)
def test_a_trials_state_decides_its_runs_status(state: State, status: str, root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).finish(make_record(state=state))
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.trials["lkca/0"].info.status == status
    assert stored.trials["lkca/0"].data.tags["state"] == state


def test_a_failed_trial_keeps_the_end_of_its_error(root: Path, uid: str, uri: str) -> None:
    error = "\n".join(f"line {i}" for i in range(5000)) + "\nTrainingDiverged: the loss of step 7"
    open_store(root, uid=uid).finish(make_record(state=State.FAIL, error=error))
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    tag = stored.trials["lkca/0"].data.tags["error"]
    assert error.endswith(tag)
    assert len(tag) >= 1000


def test_a_run_is_running_until_its_trial_is_finished(root: Path, uid: str, uri: str) -> None:
    store = open_store(root, uid=uid)
    store.update_running(start_of(make_record()), [make_result(1)])
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (stored.parent.info.status, stored.trials["lkca/0"].info.status) == ("RUNNING", "RUNNING")
    assert stored.curves["lkca/0"]["val_loss"] == [(1, 1.0)]


@pytest.mark.parametrize(("complete", "status"), [(True, "FINISHED"), (False, "KILLED")])
def test_the_parent_ends_with_the_search_and_has_the_best_trial(
    complete: bool, status: str, root: Path, uid: str, uri: str
) -> None:
    store = open_store(root, uid=uid)
    for _ in range(2):
        store.end_search(complete=complete, best=MIXED_RECORDS[0])
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert stored.parent.info.status == status
    assert stored.parent.info.run_name == stored.parent.data.tags["search"] == "study"
    assert stored.parent.data.metrics == {"best_val_accuracy": MIXED_RECORDS[0].value}
    assert stored.parent.data.tags["best_trial"] == "lkca/0"


def test_a_search_without_a_complete_trial_has_no_best_trial(root: Path, uid: str, uri: str) -> None:
    open_store(root, uid=uid).end_search(complete=True, best=None)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    assert (stored.parent.info.status, stored.parent.data.metrics) == ("FINISHED", {})


def test_the_parent_has_the_texts_as_artifacts(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        open_store(root, uid=uid)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    client = MlflowClient(tracking_uri=uri)
    paths = [file.path for file in client.list_artifacts(stored.parent.info.run_id)]
    assert paths == ["space.yaml", "spec.json"]
    folder = Path(stored.parent.info.artifact_uri.removeprefix("file://"))
    assert (folder / "space.yaml").read_text() == "a: 1"
    assert folder.is_relative_to(root / "mlflow_artifacts")


def test_repeated_writes_are_stored_once(root: Path, uid: str, uri: str) -> None:
    for _ in range(2):
        store = open_store(root, uid=uid)
        for write in (write_live, write_live, write_at_once):
            write(store, *MIXED_RECORDS)
        store.end_search(complete=True, best=MIXED_RECORDS[0])
    assert_stored(read_stored(uri, uid=uid), *MIXED_RECORDS)


def test_a_long_curve_is_stored_completely(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=450)
    open_store(root, uid=uid).finish(record)
    assert_stored(read_stored(uri, uid=uid), record)


def test_missing_results_are_written_at_the_end(root: Path, uid: str, uri: str) -> None:
    record = make_record(num_results=6)
    store = open_store(root, uid=uid)
    for i in (1, 3, 3, 4, 4, 1):
        store.update_running(start_of(record), [record.curve[i]])
    store.finish(record)
    assert_stored(read_stored(uri, uid=uid), record)


def test_searches_with_the_same_name_in_two_homes_share_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow writes the artifacts of this database to the working directory
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    one, other = open_store(tmp_path / "one", uid="one"), open_store(tmp_path / "other", uid="other")
    write_live(one, MIXED_RECORDS[0])
    write_live(other, MIXED_RECORDS[0], MIXED_RECORDS[1])
    assert_stored(read_stored(uri, uid="one"), MIXED_RECORDS[0])
    assert_stored(read_stored(uri, uid="other"), MIXED_RECORDS[0], MIXED_RECORDS[1])


def test_two_processes_can_create_a_database_at_the_same_time(tmp_path: Path) -> None:
    """First the default database of the home, then the one in MLFLOW_TRACKING_URI."""
    uris = [f"sqlite:///{tmp_path / name}" for name in ("mlflow.db", "shared.db")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path), uid, uris[1]],
            cwd=tmp_path,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for uid in ("one", "other")
    ]
    for _ in uris:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert all(read_stored(uri, uid=uid) for uri in uris for uid in ("one", "other"))


def test_the_default_store_is_a_database_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(root=tmp_path)
    assert tracking_uri(home) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri(home) == "http://127.0.0.1:1"


def test_mlflow_experiment_name_sets_the_experiment(
    root: Path, uid: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    open_store(root, uid=uid)
    stored = read_stored(uri, uid=uid)
    assert stored is not None
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name("elsewhere")
    assert experiment is not None
    assert stored.parent.info.experiment_id == experiment.experiment_id
