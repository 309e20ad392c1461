"""Run of a command as a whole process: wall and CPU seconds and memory of it and everything that it starts."""

import ctypes
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS, MEMORY_SECONDS = 0.5, 2.0
_SET_CHILD_SUBREAPER = 36
"""Number of Linux's prctl that makes orphans of descendants children of this process, so that none is missed."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Cost of a command and its descendants."""

    begun: float
    """Unix time."""
    wall: float
    """Seconds from start to exit."""
    cpu: float
    """Seconds of user and system time; the last `SAMPLE_SECONDS` of a short process may be missing."""
    peak_bytes: int
    """Most memory at a time, shared pages counted once (PSS)."""


def run_measured(command: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> Measured:
    """Run a command, with its output in `log.txt` of a folder; RuntimeError if it fails."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    seconds: dict[tuple[int, float], float] = {}
    peak, measured, log = 0, 0.0, folder / "log.txt"
    begun = time.time()
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            is_due = time.time() - measured >= MEMORY_SECONDS  # the kernel walks all pages for it
            measured = time.time() if is_due else measured
            peak = max(peak, _sample(before, seconds, with_memory=is_due))
            time.sleep(SAMPLE_SECONDS)
    wall = time.time() - begun
    _sample(before, seconds, with_memory=False)
    _end_orphans(before)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}:\n{log.read_text()[-3000:]}")
    return Measured(begun=begun, wall=wall, cpu=sum(seconds.values()), peak_bytes=peak)


def _sample(before: set[int], seconds: dict[tuple[int, float], float], *, with_memory: bool) -> int:
    """Store the CPU seconds of each descendant so far, and return the memory of all, 0 without it."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        if process.pid in before:
            continue
        try:
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
            total += _memory(process.pid) if with_memory else 0
        except (psutil.Error, OSError):
            continue  # it has ended
    return total


def _memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _end_orphans(before: set[int]) -> None:
    """End what a command has left behind, so that it does not disturb the next one."""
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    for process in left:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
