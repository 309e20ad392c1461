"""A whole search on a real Ray cluster and a real MLflow store: its records, its runs, and every command over it."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.search.studies.study import open_storage
from lkca_search.spec.space_file import read_space_file
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import CELLS, COMMAND, ONE_CELL, ONE_WORKER, SPACE, SearchCommands

pytestmark = pytest.mark.timeout(600)  # whole searches, on machines that may be busy


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    """Return a search that ran to its end without a fault."""
    search = SearchCommands(tmp_path_factory.mktemp("finished") / "home")
    search.run()
    return search


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_trial_is_recorded_and_logged(finished: SearchCommands) -> None:
    finished.assert_exact(trials_per_cell=2)
    assert {record.state for record in finished.records()} == {"COMPLETE"}


def test_every_child_run_has_its_parameters_its_tags_and_one_value_per_report(finished: SearchCommands) -> None:
    (parent,), children = finished.runs()
    client = finished.client()
    records = {record.trial_id: record for record in finished.records()}
    for child in children:
        record = records[child.data.tags["lkca.trial_id"]]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert record.facts is not None
        expected = {
            "cell": record.cell,
            "family": record.spec.configuration.family,
            "data_fraction": str(record.spec.configuration.data_fraction),
            "draw": "0",
            "git_commit": record.facts.provenance.git_commit,
            "data_hash": record.facts.data_hash,
        }
        assert {name: child.data.tags[name] for name in expected} == expected
        assert child.data.params["depth"] == str(record.spec.configuration.depth)
        history = client.get_metric_history(child.info.run_id, "val_accuracy")
        assert [(point.step, point.value) for point in history] == [(r.step, r.val_accuracy) for r in record.curve]
    assert {"space.yaml", "spec.json"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_all_families_of_one_data_fraction_train_on_the_same_images(finished: SearchCommands) -> None:
    subsets: dict[float, set[str]] = {}
    for record in finished.records():
        assert record.facts is not None
        subsets.setdefault(record.spec.configuration.data_fraction, set()).add(record.facts.subset_hash)
    assert [len(hashes) for hashes in subsets.values()] == [1, 1]


def test_a_rerun_of_the_best_trial_reproduces_its_metric_exactly(finished: SearchCommands, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(finished.call("best", "toy", "--yaml"))
    outcome = json.loads(finished.call("rerun", str(file), "--json"))
    assert outcome["difference"] == 0.0
    assert outcome["changes"] == []


def test_a_trial_on_a_reused_actor_equals_its_rerun_in_a_fresh_process(finished: SearchCommands) -> None:
    last = max(finished.records(), key=lambda record: record.finished)
    outcome = json.loads(finished.call("rerun", "toy", "--trial", last.trial_id, "--json"))
    assert outcome["value"] == last.value


def test_a_finished_search_run_again_does_nothing(finished: SearchCommands) -> None:
    before = {path: path.read_bytes() for path in finished.folder.trials.glob("*/*/*/record.json")}
    output = finished.run()
    assert "COMPLETE" not in output
    assert {path: path.read_bytes() for path in finished.folder.trials.glob("*/*/*/record.json")} == before


def test_status_and_best_agree_with_the_records(finished: SearchCommands) -> None:
    status = json.loads(finished.call("status", "toy", "--json"))
    assert [cell["cell"] for cell in status["cells"]] == CELLS
    assert [cell["num_train_images"] for cell in status["cells"]] == [231, 1151, 231, 1151]
    best = json.loads(finished.call("best", "toy", "--json"))
    assert best["value"] == max(cell["best_value"] for cell in status["cells"])
    assert status["is_driven"] is False


def test_a_different_space_file_under_the_same_name_is_refused_with_the_differences(finished: SearchCommands) -> None:
    process = finished.start("run", str(finished.space), "training.steps=50")
    code, output = process.wait()
    assert code == 2
    assert "training.steps: 40 -> 50" in output


def test_the_ui_serves_the_runs_on_127_0_0_1_only(finished: SearchCommands) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = finished.start("ui", "toy", "--port", str(port))
    try:
        command.wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        printed = command.printed()
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs" in printed
        assert "viewStateShareKey=" in printed
        assert "DeprecationWarning" not in command.printed(), "warnings of MLflow's code help no user"
        (parent,), _ = finished.runs()
        address = f"http://127.0.0.1:{port}/get-artifact?path=space.yaml&run_uuid={parent.info.run_id}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read().decode() == SPACE
        family = [psutil.Process(command.process.pid), *psutil.Process(command.process.pid).children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
    finally:
        command.end()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, "the server outlived the command"


def test_sync_sends_missing_trials_to_another_store_and_nothing_twice(finished: SearchCommands, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'other.db'}"
    for num_sent in (8, 0):
        printed = finished.call("sync", "toy", MLFLOW_TRACKING_URI=store)
        assert printed == f"search toy: {num_sent} trials sent, 0 missing\n"
    (experiment,) = MlflowClient(store).search_experiments(filter_string="name = 'lkca-search'")
    runs = MlflowClient(store).search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["kind"] for run in runs) == {"search": 1, "trial": 8}
    assert {run.info.status for run in runs} == {"FINISHED"}


def run_with_one_worker(root: Path) -> SearchCommands:
    """Run one cell with a sampler that learns, a pruner, and a learning rate that fails, one trial after another."""
    search = SearchCommands(root)
    search.run(
        *(*ONE_CELL, "search.sampler={name: tpe, n_startup_trials: 6}", "search.pruner=median"),
        *("search.trials_per_cell=12", "training.reports=5"),
        "parameters.learning_rate={choice: [1.0e-3, 1.0e-2, 1.0e+30]}",
    )
    return search


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    return run_with_one_worker(tmp_path_factory.mktemp("one-worker") / "home")


@pytest.mark.slow
def test_records_optuna_and_mlflow_agree_on_pruned_and_failed_trials(one_worker: SearchCommands) -> None:
    records = {record.trial_id: record for record in one_worker.records()}
    states = Counter(record.state for record in records.values())
    assert set(states) == {"COMPLETE", "PRUNED", "FAIL"}
    for record in records.values():
        diverges = record.spec.configuration.learning_rate > 1
        assert (record.state == "FAIL") == diverges
        assert ("is not finite" in (record.error or "")) == diverges
        assert record.facts is not None
        assert (len(record.curve) == 5) == (record.state == "COMPLETE")
    storage = open_storage(find_database(one_worker.folder))
    study = storage.get_study_id_from_name("family=lkca,data_fraction=0.2")
    trained = [trial for trial in storage.get_all_trials(study) if "repeats" not in trial.user_attrs]
    assert Counter(trial.state.name for trial in trained) == states
    _, children = one_worker.runs()
    for child in children:
        record = records[child.data.tags["lkca.trial_id"]]
        assert child.data.tags["state"] == record.state
        assert child.info.status == ("FAILED" if record.state == "FAIL" else "FINISHED")


@pytest.mark.slow
def test_two_runs_with_one_seed_and_one_worker_are_identical(one_worker: SearchCommands, tmp_path: Path) -> None:
    def outcome(search: SearchCommands) -> list[tuple[str, object, str, float | None, list[float]]]:
        return [
            (
                record.trial_id,
                record.spec.configuration,
                record.state,
                record.value,
                [result.val_loss for result in record.curve],
            )
            for record in search.records()
        ]

    once = outcome(one_worker)
    assert len(once) == 12
    assert outcome(run_with_one_worker(tmp_path / "home")) == once


def test_a_second_driver_is_refused_while_the_first_is_alive(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    commit_space_file(search.folder, read_space_file(search.space))
    with hold_lease(search.folder):
        assert json.loads(search.call("status", "toy", "--json"))["is_driven"] is True
        code, output = search.start_run().wait()
    assert code == 2
    assert "is being driven by another driver (process " in output


@pytest.mark.slow
def test_a_run_without_standard_streams_whose_workers_are_killed_trains_everything(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    reader, writer = os.pipe()
    os.close(reader)
    run = [
        *COMMAND,
        "run",
        str(search.space),
        *ONE_WORKER,
        *ONE_CELL,
        "training.steps=2000",
        "training.reports=20",
    ]
    command = ["bash", "-c", f'exec "$@" <&- >&- 2>&{writer}', "bash", *run]
    driver = subprocess.Popen(command, env=search.environment, cwd=tmp_path, pass_fds=(writer,))
    os.close(writer)

    def workers() -> list[psutil.Process]:
        children = psutil.Process(driver.pid).children(recursive=True)
        return [child for child in children if "Trainable.train" in " ".join(child.cmdline())]

    deadline = time.monotonic() + WAIT_SECONDS
    while not (list(search.folder.trials.glob("*/*/attempt-*/checkpoint-*")) and workers()):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for worker in workers():
        worker.kill()
    assert driver.wait(timeout=WAIT_SECONDS) == 0
    search.assert_exact(trials_per_cell=2, cells=CELLS[:1])
    assert max(record.attempt for record in search.records()) == 2
