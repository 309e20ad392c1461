"""Time and memory in which broken space files are refused.

Question:  is every broken space file refused with rule, value and place in under 2 s and 300 MB?
Command:   python -m benchmarks.broken_space_files [--tries 5]
Expected:  each of the 125 files ends `plan` with exit code 2 and its message, in under 2 s and 300 MB; exit code 0.

Each file of tests/support/broken_space_files.py is read by a `lkca-search plan` in a process of its own. `seconds` are
wall time with the start of Python, `CPU` is its processor time, and `MB` is the peak of its resident memory. A file
that takes 2 s or more is tried again, up to `--tries` times, because other processes may have slowed it down; its
fastest try counts. The exit code is 1 if a file breaks a limit.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Cost, command_line, measure
from tests.support.broken_space_files import BROKEN, DATASETS, FILE, BrokenFile

MAX_SECONDS, MAX_MEGABYTES, MB = 2.0, 300.0, 1 << 20
TIMEOUT_SECONDS = 60


def fault_of(broken: BrokenFile, refusal: Cost) -> str:
    """Return the fault of a refusal; empty if it has none."""
    missing = [part for part in (broken.rule, broken.value, broken.place) if part not in refusal.output]
    faults = {
        "exit code": refusal.code != 2,
        "seconds": refusal.seconds >= MAX_SECONDS,
        "MB": refusal.memory >= MAX_MEGABYTES * MB,
        f"message lacks {missing}": bool(missing),
    }
    return ", ".join(fault for fault, is_present in faults.items() if is_present)


def refuse(broken: BrokenFile, home: Path) -> Cost:
    """Plan a broken file in a new process and return its end."""
    with tempfile.TemporaryDirectory() as folder:
        broken.write(Path(folder))
        return measure(
            command_line("plan", FILE, *broken.overrides),
            variables={"LKCA_SEARCH_HOME": str(home), "PYTHONPATH": os.getcwd(), "LKCA_SEARCH_ALLOW": ""},
            folder=Path(folder),
            most_seconds=TIMEOUT_SECONDS,
            allowed=None,
        )


def fastest_refusal(broken: BrokenFile, home: Path, tries: int) -> Cost:
    """Return the first refusal in time, or the fastest one of all tries."""
    refusals: list[Cost] = []
    while len(refusals) < tries and not any(refusal.seconds < MAX_SECONDS for refusal in refusals):
        refusals.append(refuse(broken, home))
    return min(refusals, key=lambda refusal: refusal.seconds)


def main() -> None:
    """Print one row per file, and the largest time and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5)
    tries = parser.parse_args().tries
    table = Table("broken space file", "seconds", "CPU", "MB", "exit code", "fault", "message")
    refusals: list[Cost] = []
    num_faults = 0
    with tempfile.TemporaryDirectory() as home:
        for broken in (*BROKEN, *DATASETS):
            refusal = fastest_refusal(broken, Path(home), tries)
            fault = fault_of(broken, refusal)
            num_faults += bool(fault)
            first = refusal.output.partition("\n")[0].removeprefix("error: ")
            shown = first if len(first) <= 100 else f"{first[:60]} ... {first[-40:]}"
            numbers = (
                f"{refusal.seconds:.2f}",
                f"{refusal.cpu_seconds:.2f}",
                f"{refusal.memory / MB:.0f}",
                str(refusal.code),
            )
            table.add_row(broken.name, *numbers, fault, shown.replace("[", "\\["))
            refusals.append(refusal)
    Console(width=200).print(table)
    seconds, megabytes = max(each.seconds for each in refusals), max(each.memory for each in refusals) / MB
    print(f"{len(refusals)} files, at most {seconds:.2f} s and {megabytes:.0f} MB; {num_faults} with a fault")
    sys.exit(num_faults > 0)


if __name__ == "__main__":
    main()
