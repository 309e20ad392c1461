"""The main job, on a real Ray cluster of this machine, with a real MLflow store: run, kill, continue, browse, rerun."""

import json
import signal
import socket
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import open_storage
from tests.support.search.command_line import CELLS, SPACE, SearchCommands

pytestmark = pytest.mark.timeout(600)  # whole searches, on machines that may be busy


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SearchCommands:
    """A search that was run to its end without a fault."""
    searching = SearchCommands(tmp_path_factory.mktemp("finished") / "home")
    searching.run()
    return searching


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_trial_is_recorded_and_logged(finished: SearchCommands) -> None:
    finished.assert_exact(trials_per_cell=2)
    assert {record.state for record in finished.records()} == {"COMPLETE"}


def test_every_child_has_its_parameters_tags_and_a_value_a_report(finished: SearchCommands) -> None:
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


def test_families_of_a_fraction_train_on_the_same_images(finished: SearchCommands) -> None:
    subsets: dict[float, set[str]] = {}
    for record in finished.records():
        assert record.facts is not None
        subsets.setdefault(record.spec.configuration.data_fraction, set()).add(record.facts.subset_hash)
    assert [len(hashes) for hashes in subsets.values()] == [1, 1]


def test_rerun_of_the_best_trial_gives_its_metric_bit_for_bit(finished: SearchCommands, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(finished.call("best", "toy", "--yaml"))
    for what in ("toy", str(file)):
        outcome = json.loads(finished.call("rerun", what, "--json"))
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


def test_status_and_best_speak_of_the_records(finished: SearchCommands) -> None:
    status = json.loads(finished.call("status", "toy", "--json"))
    assert [cell["cell"] for cell in status["cells"]] == CELLS
    best = json.loads(finished.call("best", "toy", "--json"))
    assert best["value"] == max(cell["best_value"] for cell in status["cells"])
    assert status["is_driven"] is False


def test_another_space_file_under_the_same_name_is_refused_with_the_differences(finished: SearchCommands) -> None:
    process = finished.start("run", str(finished.space), "training.steps=50")
    code, output = process.wait()
    assert code == 2
    assert "training.steps: 40 -> 50" in output


def test_the_ui_shows_the_runs_on_this_machine_alone(finished: SearchCommands) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = finished.start("ui", "toy", "--port", str(port))
    try:
        command.wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        printed = command.printed()
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs" in printed
        assert "tags.search%20%3D%20%27toy%27" in printed
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


def test_sync_sends_another_store_what_it_lacks_and_nothing_twice(finished: SearchCommands, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'other.db'}"
    for num_sent in (8, 0):
        said = finished.call("sync", "toy", MLFLOW_TRACKING_URI=store)
        assert said == f"search toy: {num_sent} trials sent, 0 missing\n"
    (experiment,) = MlflowClient(store).search_experiments(filter_string="name = 'lkca-search'")
    runs = MlflowClient(store).search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["kind"] for run in runs) == {"search": 1, "trial": 8}
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_pruned_and_failed_trials_are_so_in_the_records_in_optuna_and_in_mlflow(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    searching.run(
        *("factors.family=[lkca]", "factors.data_fraction=[0.2]", "~parameters.num_heads"),
        *("search.sampler=random", "search.pruner=median", "search.trials_per_cell=12", "training.reports=5"),
        "parameters.learning_rate={choice: [1.0e-3, 1.0e-2, 1.0e+30]}",
        "--num-cpus=1",  # one after another, so that the pruner sees the same each time
    )
    records = {record.trial_id: record for record in searching.records()}
    states = Counter(record.state for record in records.values())
    assert set(states) == {"COMPLETE", "PRUNED", "FAIL"}
    for record in records.values():
        is_absurd = record.spec.configuration.learning_rate > 1
        assert (record.state == "FAIL") == is_absurd
        assert ("is not finite" in (record.error or "")) == is_absurd
        assert record.facts is not None
        assert (len(record.curve) == 5) == (record.state == "COMPLETE")
    storage = open_storage(find_database(searching.folder))
    study = storage.get_study_id_from_name("family=lkca,data_fraction=0.2")
    trained = [trial for trial in storage.get_all_trials(study) if "repeats" not in trial.user_attrs]
    assert Counter(trial.state.name for trial in trained) == states
    _, children = searching.runs()
    for child in children:
        record = records[child.data.tags["lkca.trial_id"]]
        assert child.data.tags["state"] == record.state
        assert child.info.status == ("FAILED" if record.state == "FAIL" else "FINISHED")


@pytest.mark.slow
def test_two_runs_with_one_seed_and_one_worker_are_identical(tmp_path: Path) -> None:
    def outcome(home: str) -> list[tuple[str, object, float | None, list[float]]]:
        searching = SearchCommands(tmp_path / home)
        searching.run(
            *("factors.family=[lkca]", "~parameters.num_heads", "search.sampler={name: tpe, n_startup_trials: 2}"),
            *("search.trials_per_cell=4", "search.pruner=median", "--num-cpus=1"),
        )
        return [
            (record.trial_id, record.spec.configuration, record.value, [result.val_loss for result in record.curve])
            for record in searching.records()
        ]

    once = outcome("once")
    assert len(once) == 8
    assert outcome("twice") == once


@pytest.mark.slow
def test_a_driver_killed_again_and_again_leaves_an_exact_search(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    durable: dict[Path, bytes] = {}
    for records_so_far in (1, 4, 7):
        process = searching.start_run("search.trials_per_cell=3", "training.steps=200", "training.reports=10")
        process.wait_until(lambda n=records_so_far: len(searching.records()) >= n)
        process.process.send_signal(signal.SIGKILL)
        process.wait()
        durable |= {path: path.read_bytes() for path in searching.folder.trials.glob("*/*/*/record.json")}
    searching.run("search.trials_per_cell=3", "training.steps=200", "training.reports=10")
    searching.assert_exact(trials_per_cell=3)
    for path, content in durable.items():
        assert path.read_bytes() == content
        assert path.parent == max(path.parents[1].glob("attempt-*")), "a finished trial was tried again"
    continued = [record for record in searching.records() if record.attempt > 1]
    assert continued
    for record in continued:
        outcome = json.loads(searching.call("rerun", "toy", "--trial", record.trial_id, "--json"))
        assert outcome["difference"] == 0.0


@pytest.mark.slow
def test_a_killed_worker_costs_no_trial(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    process = searching.start_run("training.steps=400", "training.reports=20")

    def workers() -> list[psutil.Process]:
        children = psutil.Process(process.process.pid).children(recursive=True)
        return [child for child in children if "Trainable.train" in " ".join(child.cmdline())]

    process.wait_until(lambda: list(searching.folder.trials.glob("*/*/attempt-*/checkpoint-*")) and workers())
    for worker in workers():
        worker.kill()
    code, output = process.wait()
    assert code == 0, output
    searching.assert_exact(trials_per_cell=2)
    assert max(record.attempt for record in searching.records()) == 2


@pytest.mark.slow
def test_a_second_driver_is_refused_while_the_first_is_alive(tmp_path: Path) -> None:
    searching = SearchCommands(tmp_path / "home")
    first = searching.start_run()
    first.wait_until(find_database(searching.folder).exists)
    status = json.loads(searching.call("status", "toy", "--json"))
    assert status["is_driven"] is True
    assert [cell["num_train_images"] for cell in status["cells"]] == [231, 1151, 231, 1151]
    code, output = searching.start_run().wait()
    assert code == 2
    assert "is being driven by another driver (process " in output
    assert first.wait()[0] == 0
