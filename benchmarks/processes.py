"""Processes of benchmarks: a command run to its end and its cost, and the use of a core by other processes."""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "",
}
"""Variables with which commands print their own lines only, compute on one thread, and find compiled code after the
first one, as those of a user do."""
_SMALL_PARENT = Path(__file__).with_name("small_parent.py")
_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost and end of one command."""

    seconds: float
    """Wall time from start to end."""
    cpu_seconds: float
    """User and system time of the process, and of the processes that it has waited for."""
    memory: int
    """Largest resident memory of the process, or of one that it has waited for, in bytes."""
    code: int
    """Exit code."""
    output: str
    """Standard output and standard error."""


def command_line(*arguments: str) -> list[str]:
    """Return the command line that runs a command of this package."""
    return [sys.executable, "-m", "lkca_search", *arguments]


def measure(
    command: Sequence[str],
    *,
    variables: Mapping[str, str],
    folder: Path | None = None,
    most_seconds: float = 3600.0,
    allowed: Sequence[int] | None = (0,),
) -> Cost:
    """Run a command to its end, or kill it after `most_seconds`, and return its cost.

    It fails if the exit code is not allowed; None allows all.
    """
    with tempfile.TemporaryDirectory() as own:
        file = Path(own, "cost.json")
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_SMALL_PARENT), str(file), str(most_seconds), *command],
            env={**os.environ, **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, done.stdout[-3000:]
        cost = Cost(**json.loads(file.read_text()), output=done.stdout)
    assert allowed is None or cost.code in allowed, cost.output[-3000:]
    return cost


def become_subreaper() -> None:
    """Make orphans of descendants children of this process, so that what Ray leaves behind is counted here."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(before: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """Return the processes below this one, without those in `before`."""
    return [process for process in psutil.Process().children(recursive=True) if process.pid not in before]


def cpu_seconds(process: psutil.Process, *, with_ended: bool = False) -> float:
    """Return the CPU seconds of a process so far, 0 if it has ended; `with_ended`: and of those it has waited for."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        ended = times.children_user + times.children_system if with_ended else 0.0
        return float(times.user + times.system + ended)
    return 0.0


def own_peak_memory() -> int:
    """Return the largest resident memory of this process in bytes; `getrusage` would count that of its parent too."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def shared_memory(process: psutil.Process) -> int:
    """Return the proportional set size of a process in bytes, where shared pages count once; 0 if it has ended."""
    with suppress(psutil.Error, OSError):
        return int(process.memory_full_info().pss)
    return 0


def end_all(processes: Sequence[psutil.Process]) -> None:
    """End processes, by force after five seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=5)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
