"""Commands in processes of their own: their wall and CPU seconds, and their peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one command."""

    seconds: float
    """Wall time from start to end."""
    cpu_seconds: float
    """User and system time of the process, and of the processes that it has waited for."""
    memory: int
    """Largest resident memory of the process, in bytes."""


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs a command of this package."""
    return [sys.executable, "-m", "lkca_search", *arguments]


def measure(home: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> Cost:
    """Run a command of this package to its end and return its cost. Fail if its exit code is another one."""
    begun = time.perf_counter()
    process = start(home, *arguments)
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds, process.returncode = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
    assert process.returncode in allowed, output[-3000:]
    return Cost(seconds=seconds, cpu_seconds=usage.ru_utime + usage.ru_stime, memory=1024 * usage.ru_maxrss)


def start(home: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start a command of this package."""
    environment = {**os.environ, **QUIET, "LKCA_SEARCH_HOME": str(home), **(variables or {})}
    return subprocess.Popen(
        command_line(*arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
