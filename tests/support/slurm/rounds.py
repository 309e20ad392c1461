"""Results of one run of the Slurm script, and observations of it from outside while it trains."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import WAIT_SECONDS, Answer
from tests.support.search.command_line import BackgroundCommand
from tests.support.slurm.allocation import Allocation, address, ended

_LIST_NODES = """
import sys
from ray._raylet import GcsClient
print(*sorted(node.node_name for node in GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10).values()))
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Results of one run of the script."""

    code: int
    printed: str
    requeued: list[str]
    """Jobs that were requeued so far."""
    records: dict[str, bytes]
    """Content of every record file after the run, by trial id."""
    nodes: list[str]
    """Ray's id of the node of each trial that was begun."""


def finish(search: Allocation, job: BackgroundCommand, *, since: int) -> Round:
    """Wait for the end of a job; `since` is the number of trials that were begun before the job."""
    code, printed = ended(job)
    return Round(
        code=code,
        printed=printed,
        requeued=search.written("requeued"),
        records=search.record_bytes(),
        nodes=[event["node"] for event in search.events()[since:]],
    )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """State of a job while it trains."""

    token: str
    modes: list[int]
    """Permissions of the token file and of its folder."""
    command_lines: list[str]
    """Command line of each process, which other users can read."""
    files_with_token: list[Path]
    answers: dict[str, Answer]
    """Answer of the cluster to a request for its nodes, by the token of the request."""


def observe(search: Allocation, job: BackgroundCommand, *, job_id: int) -> Observation:
    """Observe a job while it trains, as its user and as another user."""
    path = search.home / "slurm" / str(job_id) / "token"
    token = path.read_text()
    command_lines = []
    for process in search.processes():
        with suppress(psutil.NoSuchProcess):
            command_lines.append(" ".join(process.cmdline()))
    tokens = {
        "right": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)},
        "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        "none": {"RAY_AUTH_MODE": "disabled"},
    }
    return Observation(
        token=token,
        modes=[each.stat().st_mode & 0o777 for each in (path, path.parent)],
        command_lines=command_lines,
        files_with_token=[file for file in search.root.rglob("*") if _holds(file, token.encode())],
        answers={name: _list_nodes(address(job.printed()), variables) for name, variables in tokens.items()},
    )


def _holds(path: Path, token: bytes) -> bool:
    with suppress(FileNotFoundError):  # a file may be removed at any time
        return path.is_file() and token in path.read_bytes()
    return False


def _list_nodes(cluster_address: str, variables: dict[str, str]) -> Answer:
    command = [sys.executable, "-c", _LIST_NODES, cluster_address]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    return Answer(done.returncode, done.stdout, done.stderr)
