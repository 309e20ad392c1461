"""A simulated Slurm allocation on this machine that runs the real script with real raylets and a real search."""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lkca_search.layout import Home
from lkca_search.records.record import Record, read_records
from tests.support.processes import WAIT_SECONDS
from tests.support.search.command_line import SPACE, BackgroundCommand
from tests.support.slurm.fake_slurm import FOLDER, NODE, PROGRAMS, STEP, processes_with, send_signal

SCRIPT = Path(__file__).parents[3] / "cluster" / "slurm" / "search.sbatch"
_PLACED = Path(__file__).parents[1] / "search" / "placed"
_REMOVED_VARIABLES = ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Allocation:
    """Two nodes of one core and 2 declared GPUs, their shared home, and the jobs that ran on them.

    On exit, the context manager kills every process of every job and removes all files.
    """

    def __init__(self, **faults: str) -> None:
        """Create the files; `faults` maps a node to the fault of its raylet's step, `silent` or `refuses`."""
        self.root = Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))  # short: it holds sockets
        self.home = self.root / "home"
        self.temporary = self.root / "tmp"
        self.space = self.root / "toy.yaml"
        self._programs = self.root / "bin"
        for folder in (self.home, self.temporary, self._programs):
            folder.mkdir()
        self.space.write_text(f"{SPACE}resources: {{cpu: 1, gpu: 0.5}}\n")
        for program in PROGRAMS:
            path = self._programs / program
            fake = Path(__file__).with_name("fake_slurm.py")
            path.write_text(f'#!/bin/bash\nexec "{sys.executable}" "{fake}" {program} "$@"\n')
            path.chmod(0o755)
        nodes = {name: {"gpus": 2, "fault": faults.get(name)} for name in ("n1", "n2")}
        (self.root / "nodes.json").write_text(json.dumps(nodes))
        self._jobs: list[BackgroundCommand] = []
        self.slow_down(0)

    def __enter__(self) -> "Allocation":
        return self

    def __exit__(self, *_: object) -> None:
        send_signal(iter(self.processes()), signal.SIGKILL)
        for job in self._jobs:
            job.process.wait()
        psutil.wait_procs(self.processes(), timeout=30)
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self, job_id: int, *overrides: str, nodes: str = "n[1-2]", **variables: str) -> BackgroundCommand:
        """Start the script as Slurm starts the batch shell of a job, for the first time or after a requeue."""
        arguments = (str(self.space), *overrides)
        return self.start_with(arguments, job_id=job_id, variables={"SLURM_JOB_NODELIST": nodes, **variables})

    def start_with(self, arguments: Sequence[str], *, job_id: int, variables: Mapping[str, str]) -> BackgroundCommand:
        """Start the script with any arguments and with variables added to those of a job."""
        ours = {name: value for name, value in os.environ.items() if _is_inherited(name)}
        environment = {
            **ours,
            "PATH": os.pathsep.join([str(self._programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(_PLACED),
            "PLACED_FOLDER": str(self.root),
            FOLDER: str(self.root),
            "SLURM_JOB_ID": str(job_id),
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_GPUS_ON_NODE": "2",
            NODE: "n1",
            "LKCA_SEARCH_HOME": str(self.home),
            "LKCA_SLURM_TMP": str(self.temporary),
            **variables,
        }
        log = self.root / f"{time.monotonic_ns()}.log"
        self._jobs.append(BackgroundCommand(["bash", str(SCRIPT), *arguments], environment, log))
        return self._jobs[-1]

    def slow_down(self, seconds: float) -> None:
        """Delay each trial that begins from now on."""
        (self.root / "rules.json").write_text(json.dumps({"seconds": seconds}))

    def events(self) -> list[dict[str, Any]]:
        """Return the events of workers: one per trial begun, in order."""
        path = self.root / "events"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def written(self, name: str) -> list[str]:
        """Return the logged requests to Slurm of one kind: `requeued`, `submitted`, `steps` or `modules`."""
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def records(self) -> list[Record]:
        return read_records(Home(root=self.home).search("toy"))

    def record_bytes(self) -> dict[str, bytes]:
        """Return the content of every record file, by trial id."""
        records = Home(root=self.home).search("toy").records()
        return {trial_id: Path(str(path)).read_bytes() for trial_id, path in records.items()}

    def processes(self) -> list[psutil.Process]:
        """Return the processes of all jobs: batch shells, steps, Ray and drivers."""
        return list(processes_with(FOLDER, str(self.root)))

    def kill_node(self, name: str) -> None:
        """Kill each process of the steps on a node, which must not run the batch shell."""
        doomed = [process for process in self.processes() if _is_step_of(process, name)]
        send_signal(iter(doomed), signal.SIGKILL)

    def cancel(self) -> None:
        """Send SIGTERM to every process of the job, as `scancel JOB` does."""
        (self.root / "cancelled").touch()
        send_signal(iter(self.processes()), signal.SIGTERM)

    def assert_nothing_is_left(self) -> None:
        """Assert that jobs left no process, no file on the nodes, and no token in the home."""
        psutil.wait_procs(self.processes(), timeout=10)
        assert [process.cmdline() for process in self.processes()] == []
        assert list(self.temporary.iterdir()) == []
        assert list(self.home.glob("slurm/*/*")) == []


def ended(job: BackgroundCommand) -> tuple[int, str]:
    """Wait for the end of a job and return its exit code and output."""
    return job.process.wait(timeout=WAIT_SECONDS), job.printed()


def wait_for(job: BackgroundCommand, condition: Callable[[], Any]) -> None:
    """Wait until a condition holds. Fail if the job ends before."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert job.process.poll() is None, job.printed()
        assert time.monotonic() < deadline, job.printed()
        time.sleep(0.1)


def near_limit(job: BackgroundCommand) -> None:
    """Send the signal of a near time limit to the batch shell alone."""
    job.process.send_signal(signal.SIGUSR1)


def address(printed: str) -> str:
    """Return the address of the cluster of a job, from the output of the job."""
    found = re.search(r"Ray starts at (\S+);", printed)
    assert found is not None, printed
    return found[1]


def _is_step_of(process: psutil.Process, node: str) -> bool:
    with suppress(psutil.Error, OSError):
        environment = process.environ()
        return STEP in environment and environment.get(NODE) == node
    return False


def _is_inherited(name: str) -> bool:
    return name not in _REMOVED_VARIABLES and not name.startswith(("LKCA_", "MLFLOW_", "SLURM_"))
