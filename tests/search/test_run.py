"""The main job, on a real Ray cluster of this machine, with a real MLflow store: run, kill, continue, browse, rerun."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lkca_search.records import Record, read_records
from lkca_search.search.studies import open_storage
from lkca_search.storage import Home, SearchFolder

COMMAND = [sys.executable, "-c", "from lkca_search.cli.app import main; main()"]
SPACE = """
data: {dataset: digits, validation: 0.2, augment: [crop]}
factors:
  family: [lkca, vit]
  data_fraction: [0.2, 1.0]
parameters:
  kernel_size:   {choice: [3, 5, 7], when: {family: [lkca]}}
  num_heads:     {value: 4, when: {family: [vit]}}
  patch_size:    {value: 2}
  depth:         {int: [1, 2]}
  width:         {choice: [16, 32]}
  learning_rate: {float: [1.0e-3, 1.0e-2], log: true}
training: {steps: 40, reports: 4, batch_size: 64}
search:   {sampler: tpe, trials_per_cell: 2, checkpoint_seconds: 0}
"""
CELLS = [f"family={family},data_fraction={fraction}" for family in ("lkca", "vit") for fraction in (0.2, 1.0)]
WAIT_SECONDS = 240

pytestmark = pytest.mark.timeout(600)  # whole searches, on machines that may be busy


class Command:
    """A command line that runs beside the test."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def wait(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        return self.process.wait(timeout=WAIT_SECONDS), self._log.read_text()

    def printed(self) -> str:
        """What it printed so far."""
        return self._log.read_text()

    def end(self) -> None:
        """Interrupt it, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=WAIT_SECONDS)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition that must come true while it runs."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)


class Searching:
    """A home with one space file, and the command line over it."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root=root)
        self.space = root / "toy.yaml"
        self.folder: SearchFolder = self.home.search("toy")
        self._environment = {**os.environ, "LKCA_SEARCH_HOME": str(root)}
        root.mkdir(parents=True, exist_ok=True)
        self.space.write_text(SPACE)

    def start(self, *arguments: str) -> Command:
        return Command([*COMMAND, *arguments], self._environment, self.home.root / f"{time.monotonic_ns()}.log")

    def call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments], env=self._environment, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *overrides: str) -> str:
        return self.call("run", str(self.space), "--num-cpus", "2", *overrides)

    def start_run(self, *overrides: str) -> Command:
        return self.start("run", str(self.space), "--num-cpus", "2", *overrides)

    def records(self) -> list[Record]:
        return read_records(self.folder)

    def runs(self) -> tuple[list[Run], list[Run]]:
        """The parent runs and the child runs in MLflow."""
        client = self.client()
        experiment = client.get_experiment_by_name("lkca-search")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        kinds = [[run for run in runs if run.data.tags["kind"] == kind] for kind in ("search", "trial")]
        return kinds[0], kinds[1]

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.home.mlflow_database}")

    def assert_exact(self, *, trials_per_cell: int) -> None:
        """Every cell has its budget; MLflow and Parquet have the same trials, each once."""
        records = self.records()
        ids = sorted(record.trial_id for record in records)
        assert ids == sorted(f"{cell}/{number}" for cell in CELLS for number in range(trials_per_cell))
        parents, children = self.runs()
        assert [run.info.status for run in parents] == ["FINISHED"]
        assert sorted(run.data.tags["lkca.trial_id"] for run in children) == ids
        assert Counter(run.info.status for run in children) == {"FINISHED": len(ids)}
        self.call("export", "toy")
        assert sorted(pq.read_table(self.folder.root / "trials.parquet")["trial_id"].to_pylist()) == ids


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """A search that was run to its end without a fault."""
    searching = Searching(tmp_path_factory.mktemp("finished") / "home")
    searching.run()
    return searching


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_trial_is_recorded_and_logged(finished: Searching) -> None:
    finished.assert_exact(trials_per_cell=2)
    assert {record.state for record in finished.records()} == {"COMPLETE"}


def test_every_child_has_its_parameters_tags_and_a_value_a_report(finished: Searching) -> None:
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


def test_families_of_a_fraction_train_on_the_same_images(finished: Searching) -> None:
    subsets: dict[float, set[str]] = {}
    for record in finished.records():
        assert record.facts is not None
        subsets.setdefault(record.spec.configuration.data_fraction, set()).add(record.facts.subset_hash)
    assert [len(hashes) for hashes in subsets.values()] == [1, 1]


def test_rerun_of_the_best_trial_gives_its_metric_bit_for_bit(finished: Searching, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(finished.call("best", "toy", "--yaml"))
    for what in ("toy", str(file)):
        outcome = json.loads(finished.call("rerun", what, "--json"))
        assert outcome["difference"] == 0.0
        assert outcome["changes"] == []


def test_a_trial_on_a_reused_actor_equals_its_rerun_in_a_fresh_process(finished: Searching) -> None:
    last = max(finished.records(), key=lambda record: record.finished)
    outcome = json.loads(finished.call("rerun", "toy", "--trial", last.trial_id, "--json"))
    assert outcome["value"] == last.value


def test_a_finished_search_run_again_does_nothing(finished: Searching) -> None:
    before = {path: path.read_bytes() for path in finished.folder.trials.glob("*/*/*/record.json")}
    output = finished.run()
    assert "COMPLETE" not in output
    assert {path: path.read_bytes() for path in finished.folder.trials.glob("*/*/*/record.json")} == before


def test_status_and_best_speak_of_the_records(finished: Searching) -> None:
    standing = json.loads(finished.call("status", "toy", "--json"))
    assert [cell["cell"] for cell in standing["cells"]] == CELLS
    best = json.loads(finished.call("best", "toy", "--json"))
    assert best["value"] == max(cell["best_value"] for cell in standing["cells"])
    assert standing["is_driven"] is False


def test_another_space_file_under_the_same_name_is_refused_with_the_differences(finished: Searching) -> None:
    process = finished.start("run", str(finished.space), "training.steps=50")
    code, output = process.wait()
    assert code == 2
    assert "training.steps: 40 -> 50" in output


def test_the_ui_shows_the_runs_on_this_machine_alone(finished: Searching) -> None:
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


@pytest.mark.slow
def test_pruned_and_failed_trials_are_so_in_the_records_in_optuna_and_in_mlflow(tmp_path: Path) -> None:
    searching = Searching(tmp_path / "home")
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
    storage = open_storage(searching.folder.ledger, read_only=True)
    study = storage.get_study_id_from_name("family=lkca,data_fraction=0.2")
    assert Counter(trial.state.name for trial in storage.get_all_trials(study)) == states
    _, children = searching.runs()
    for child in children:
        record = records[child.data.tags["lkca.trial_id"]]
        assert child.data.tags["state"] == record.state
        assert child.info.status == ("FAILED" if record.state == "FAIL" else "FINISHED")


@pytest.mark.slow
def test_a_driver_killed_again_and_again_leaves_an_exact_search(tmp_path: Path) -> None:
    searching = Searching(tmp_path / "home")
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
    searching = Searching(tmp_path / "home")
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
    searching = Searching(tmp_path / "home")
    first = searching.start_run()
    first.wait_until(searching.folder.ledger.exists)
    standing = json.loads(searching.call("status", "toy", "--json"))
    assert standing["is_driven"] is True
    assert [cell["num_train_images"] for cell in standing["cells"]] == [231, 1151, 231, 1151]
    code, output = searching.start_run().wait()
    assert code == 2
    assert "is being driven by another process" in output
    assert first.wait()[0] == 0
