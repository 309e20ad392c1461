"""Run of a command as a whole process: wall and CPU seconds and memory of it and everything that it starts."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import become_subreaper, cpu_seconds, descendants, end_all, shared_memory

SAMPLE_SECONDS, MEMORY_SECONDS = 0.5, 2.0


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
    become_subreaper()
    before = frozenset(process.pid for process in descendants())
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
    end_all(descendants(before))  # what a command leaves behind would disturb the next one
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}:\n{log.read_text()[-3000:]}")
    return Measured(begun=begun, wall=wall, cpu=sum(seconds.values()), peak_bytes=peak)


def _sample(before: frozenset[int], seconds: dict[tuple[int, float], float], *, with_memory: bool) -> int:
    """Store the CPU seconds of each descendant so far, and return the memory of all, 0 without it."""
    total = 0
    for process in descendants(before):
        key = process.pid, process.create_time()
        seconds[key] = max(seconds.get(key, 0.0), cpu_seconds(process))
        total += shared_memory(process) if with_memory else 0
    return total
