"""Time from a command to its first trial, and of a command with nothing to do.

Question:  how many seconds pass from `run` to its first line, to Ray, to the first trial, to its first step, and to
           the end? How many CPU seconds do all processes take? How many take a `run` of a finished search, and `plan`?
Command:   python -m benchmarks.start [--before CHECKOUT] [--repeats 3] [--only NAME]
Expected:  on two quiet cores the first step within 8 s, and a `run` of a finished search within 2 s. Otherwise exit
           code 1.

The search trains smallest models on digits for one step each. With `--before`, the code of another checkout runs in
turn with this one, with the same Python. The CPU seconds count every process that the command starts.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import QUIET, become_subreaper, command_line, cpu_seconds, descendants

MOST_SECONDS, MOST_IDLE_SECONDS = 8.0, 2.0
SPACE = """
data: {dataset: digits, validation: 0.1, scale_validation: true}
factors:
  family: [lkca, vit]
parameters:
  data_fraction: {value: 0.1}
  kernel_size:   {value: 3, when: {family: [lkca]}}
  patch_size:    {value: 2}
  depth:         {value: 1}
  width:         {value: 8}
  learning_rate: {float: [1.0e-4, 1.0e-1], log: true}
training: {steps: 1, reports: 1, batch_size: 2}
search:   {sampler: tpe, trials_per_cell: 2}
"""
CONFIRM = "confirm: {draws: 2, seeds: 1}\n"
COMMANDS = {
    "run": ("run", "start.yaml"),
    "idle run": ("run", "start.yaml"),
    "run confirmed": ("run", "confirmed.yaml"),
    "idle confirmed": ("run", "confirmed.yaml"),
    "plan": ("plan", "start.yaml"),
}
"""Commands in their order. Each idle one repeats the command before it, in the same folder."""
END, FIRST_STEP = "end", "first step"
_POLL_SECONDS = 0.02


def marks(root: Path, name: str) -> Mapping[str, Callable[[], bool]]:
    """Return the signs of each phase of a run in the folder `root`."""
    trials = root / "searches" / name / "trials"
    return {
        "Ray": lambda: any(root.glob("ray/session_2*/sockets/raylet*")),
        "first trial": lambda: any(trials.glob("*/*/*/start.json")),
        FIRST_STEP: lambda: any(trials.glob("*/*/*/record.json")),
    }


def measure(arguments: tuple[str, ...], code: Path, root: Path) -> dict[str, tuple[float, float]]:
    """Run a command, and return the seconds and CPU seconds from its start to each phase."""
    own = {"PYTHONPATH": str(code), "LKCA_SEARCH_HOME": str(root), "RAY_TMPDIR": str(root)}
    phases = dict(marks(root, Path(arguments[-1]).stem)) if arguments[0] == "run" else {}
    phases = {name: is_reached for name, is_reached in phases.items() if not is_reached()}
    found: dict[str, tuple[float, float]] = {}
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began = time.monotonic()
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=root,
        env={**os.environ, **QUIET, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[tuple[float, bytes]] = []
    stream = process.stdout
    reader = threading.Thread(target=lambda: lines.extend((time.monotonic(), line) for line in stream))
    reader.start()
    while process.poll() is None:
        for name, is_reached in phases.items():
            if name not in found and is_reached():
                spent = sum(cpu_seconds(each, with_ended=True) for each in descendants())
                found[name] = time.monotonic() - began, spent
        time.sleep(_POLL_SECONDS)
    ended = time.monotonic() - began
    reader.join()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    assert process.returncode == 0, b"".join(line for _, line in lines).decode()
    found[END] = ended, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    return {"first line": (lines[0][0] - began, float("nan")), **found}


def run_all(code: Path, names: list[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Run the commands once in a fresh folder."""
    root = Path(tempfile.mkdtemp(prefix="lkca", dir="/tmp"))
    try:
        (root / "start.yaml").write_text(SPACE)
        (root / "confirmed.yaml").write_text(SPACE + CONFIRM)
        return {name: measure(COMMANDS[name], code, root) for name in names}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def show(results: Mapping[str, list[dict[str, dict[str, tuple[float, float]]]]]) -> None:
    """Print one row per command and phase, with the medians of each checkout."""
    from rich.console import Console
    from rich.table import Table

    columns = [f"{label}, {unit}" for label in results for unit in ("s", "CPU s")]
    table = Table("command", "phase", *columns, title="time since the command, medians")
    first = next(iter(results.values()))[0]
    for name, phases in first.items():
        for phase in phases:
            values = []
            for repeats in results.values():
                pairs = [each[name][phase] for each in repeats if phase in each[name]]
                values += [f"{statistics.median(column):.1f}" for column in zip(*pairs, strict=True)] or ["", ""]
            table.add_row(name, phase, *(value if value != "nan" else "" for value in values))
    Console(width=120).print(table)


def shortfalls(repeats: list[dict[str, dict[str, tuple[float, float]]]]) -> list[str]:
    """Return every expectation that is not met."""
    found = []
    for name in repeats[0]:
        phase, most = (END, MOST_IDLE_SECONDS) if name.startswith("idle") else (FIRST_STEP, MOST_SECONDS)
        seconds = [each[name][phase][0] for each in repeats if phase in each[name]]
        if seconds and statistics.median(seconds) > most:
            found.append(f"{name}: {phase} after at most {most:g} s, got {statistics.median(seconds):.1f} s")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="other checkout, which runs in turn with this one")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command (default: 3)")
    parser.add_argument("--only", choices=COMMANDS, nargs="+", default=list(COMMANDS))
    options = parser.parse_args()
    become_subreaper()
    codes = {"here": Path(__file__).resolve().parents[1]}
    if options.before:
        codes["before"] = options.before.resolve()
    results: dict[str, list[dict[str, dict[str, tuple[float, float]]]]] = {label: [] for label in codes}
    for repeat in range(options.repeats):
        for label, code in codes.items():
            results[label].append(run_all(code, options.only))
            print(f"{label}: {repeat + 1} of {options.repeats}", file=sys.stderr, flush=True)
    show(results)
    problems = shortfalls(results["here"])
    for problem in problems:
        print(f"SHORT  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
