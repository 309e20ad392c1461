"""Searches run by the command line, with a real Ray cluster and a real MLflow store on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Run

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, read_records
from tests.support.processes import WAIT_SECONDS
from tests.support.tracking.database import copy_fresh_database

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
ONE_CELL = ("factors.family=[lkca]", "factors.data_fraction=[0.2]", "~parameters.num_heads")
"""Overrides that leave the first cell only."""
ONE_WORKER = ("--num-cpus", "1")
"""The start of a worker costs more than its trials. Several train in `test_chaos.py` and `test_capacity.py`."""


class BackgroundCommand:
    """A process that runs beside the test, with its output in a log file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> tuple[int, str]:
        """Wait for the end of the process and return its exit code and output."""
        return self.process.wait(timeout=WAIT_SECONDS), self._log.read_text()

    def printed(self) -> str:
        """Return the output so far."""
        return self._log.read_text()

    def interrupt(self) -> None:
        """Send SIGINT to the whole process group, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Send SIGINT to the process alone and wait for its end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=WAIT_SECONDS)

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds. Fail if the process ends before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)


class SearchCommands:
    """The command line over a home with one space file; its search is named `toy`, and learning rates may diverge."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root=root)
        self.space = root / "toy.yaml"
        self.environment = {**os.environ, "LKCA_SEARCH_HOME": str(root), "LKCA_SEARCH_ALLOW": "learning_rate"}
        root.mkdir(parents=True, exist_ok=True)
        self.space.write_text(SPACE)
        copy_fresh_database(self.home.mlflow_database)

    @property
    def folder(self) -> SearchFolder:
        """Folder of the search, with the storage of its current spec."""
        return self.home.search("toy")

    def start(self, *arguments: str) -> BackgroundCommand:
        return BackgroundCommand(
            [*COMMAND, *arguments], self.environment, self.home.root / f"{time.monotonic_ns()}.log"
        )

    def call(self, *arguments: str, **variables: str) -> str:
        """Run a command to its end and return its output. Fail unless it succeeds."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**self.environment, **variables},
            cwd=self.home.root,  # MLflow puts artifacts here if a store names no other place
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *overrides: str) -> str:
        return self.call("run", str(self.space), *ONE_WORKER, *overrides)

    def start_run(self, *overrides: str) -> BackgroundCommand:
        return self.start("run", str(self.space), *ONE_WORKER, *overrides)

    def records(self) -> list[Record]:
        return read_records(self.folder)

    def runs(self) -> tuple[list[Run], list[Run]]:
        """Return the parent runs and the child runs in MLflow."""
        client = self.client()
        experiment = client.get_experiment_by_name("lkca-search")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        kinds = [[run for run in runs if run.data.tags["kind"] == kind] for kind in ("search", "trial")]
        return kinds[0], kinds[1]

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.home.mlflow_database}")

    def assert_exact(self, *, trials_per_cell: int, cells: Sequence[str] = CELLS) -> None:
        """Assert that records, MLflow and Parquet hold every trial of the budget exactly once."""
        records = self.records()
        ids = sorted(record.trial_id for record in records)
        assert ids == sorted(f"{cell}/{number}" for cell in cells for number in range(trials_per_cell))
        parents, children = self.runs()
        assert [run.info.status for run in parents] == ["FINISHED"]
        assert sorted(run.data.tags["lkca.trial_id"] for run in children) == ids
        assert Counter(run.info.status for run in children) == {"FINISHED": len(ids)}
        self.call("export", "toy")
        assert sorted(pq.read_table(self.folder.root / "trials.parquet")["trial_id"].to_pylist()) == ids
