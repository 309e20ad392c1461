"""What a run of the script left, and what can be seen of it from outside while it trains."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import Answer
from tests.support.search.command_line import BackgroundCommand
from tests.support.slurm.allocation import Allocation, address, ended

_ASK_FOR_NODES = """
import sys
from ray._raylet import GcsClient
print(*sorted(node.node_name for node in GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10).values()))
"""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one run of the script left."""

    code: int
    printed: str
    requeued: list[str]
    """The jobs that were taken back into the queue, up to here."""
    records: dict[str, bytes]
    """Every record of the search, as it lies on disk afterwards."""
    nodes: list[str]
    """Of each trial that was begun, the node it was begun on, by Ray's id."""


def finish(search: Allocation, job: BackgroundCommand, *, since: int) -> Round:
    """Wait for a job's end; `since` is how many trials had been begun before it."""
    code, printed = ended(job)
    return Round(
        code=code,
        printed=printed,
        requeued=search.written("requeued"),
        records=search.record_bytes(),
        nodes=[event["node"] for event in search.events()[since:]],
    )


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What was seen of a job while it trained."""

    token: str
    modes: list[int]
    """Of the token's file and its folder."""
    command_lines: list[str]
    """Each process of the job, as other users see it."""
    files_with_token: list[Path]
    asked: dict[str, Answer]
    """What asking the cluster for its nodes gave, with which token."""


def look(search: Allocation, job: BackgroundCommand, *, job_id: int) -> Looks:
    """Look at a job that trains, as its user and as others."""
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
    return Looks(
        token=token,
        modes=[place.stat().st_mode & 0o777 for place in (path, path.parent)],
        command_lines=command_lines,
        files_with_token=[file for file in search.root.rglob("*") if _holds(file, token.encode())],
        asked={name: _ask(address(job.printed()), variables) for name, variables in tokens.items()},
    )


def _holds(path: Path, token: bytes) -> bool:
    with suppress(FileNotFoundError):  # files come and go
        return path.is_file() and token in path.read_bytes()
    return False


def _ask(where: str, variables: dict[str, str]) -> Answer:
    command = [sys.executable, "-c", _ASK_FOR_NODES, where]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    return Answer(done.returncode, done.stdout, done.stderr)
