"""Costs of a search of many trials: every command, the driver, its ledger, its files and an object store.

Question:  what do `run` with nothing to do, `status`, `list`, `best`, `export`, `report`, `doctor`, `sync` and a resume
           cost with 100 to 10,000 finished trials? How many trials and messages per second does a driver handle, how
           much of a core does it take beside two long trials, and how many requests does a trial cost in a store?
Command:   python -m benchmarks.scale [--trials 100 1000 10000] [--simulated 100000] [--only PART ...]
Expected:  the CPU of `status`, `list`, `best` and of `run` with nothing to do grows by at most 1 ms per trial; an
           assignment, a message and a commit cost at most twice as much with the most as with the fewest finished
           trials; the driver takes at most 5% of a core beside two long trials. Otherwise exit code 1.

Searches are made by the real ledger and lease in simulated time, with a durable record per trial; one trial is trained
by `run` on Ray. Runs are in MLflow's own SQLite. The store is a local one with the S3 API.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.scale.commands import CELLS, REPORTS, costs_table, run_commands, sizes, sizes_table
from benchmarks.scale.driver import driver_table, measure_beside_long_trials, measure_per_trial, per_trial_table
from benchmarks.scale.ledger import ledger_table, time_ledger
from benchmarks.scale.store import count_requests, store_table

MOST_MS_PER_TRIAL, MOST_GROWTH, MOST_CORE = 1.0, 2.0, 0.05
PARTS = ("commands", "ledger", "driver", "store")
GROWING = ("run, nothing to do", "status", "list", "best")


def show_commands(options: argparse.Namespace, console: Console) -> Iterator[str]:
    """Print the costs of the commands and the sizes of files, and yield the expectations that are not met."""
    measured, stored = {}, {}
    for count in options.trials:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measured[count] = run_commands(Path(folder), count)
            stored[count] = dict(sizes(Path(folder)))
        console.print(costs_table(measured), sizes_table(stored))
    few, many = min(measured), max(measured)
    for name in GROWING:
        low, high = measured[few][name], measured[many][name]
        if few < many and (growth := 1000 * (high.cpu_seconds - low.cpu_seconds) / (many - few)) > MOST_MS_PER_TRIAL:
            yield f"{name} costs {growth:.2f} ms of CPU per trial, at most {MOST_MS_PER_TRIAL:g}"


def show_ledger(options: argparse.Namespace, console: Console) -> Iterator[str]:
    """Print the cost of the ledger's steps, and yield the expectations that are not met."""
    cases = [(count, CELLS, 8, pruner, False) for pruner in ("none", "hyperband") for count in options.trials]
    cases += [(min(options.trials), 2, 256, "hyperband", False)]
    cases += [(options.simulated, CELLS, 8, "hyperband", True)] if options.simulated else []
    rows: dict[str, dict[str, float]] = {}
    for count, cells, running, pruner, in_memory in cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            label = f"{count:,} / {cells} / {running} / {pruner}{', in memory' if in_memory else ''}"
            rows[label] = time_ledger(
                Path(folder),
                count,
                cells=cells,
                reports=REPORTS,
                running=running,
                pruner=pruner,
                in_memory=in_memory,
            )
        print(label, {name: round(value, 2) for name, value in rows[label].items()}, file=sys.stderr, flush=True)
    console.print(ledger_table(rows))
    few, many = (f"{count:,} / {CELLS} / 8 / none" for count in (min(options.trials), max(options.trials)))
    for name in ("assign, ms", "message, ms", "finish, ms"):
        if (growth := rows[many][name] / rows[few][name]) > MOST_GROWTH:
            yield f"{name.partition(',')[0]} costs {growth:.1f} times as much, at most {MOST_GROWTH:g}"


def show_driver(options: argparse.Namespace, console: Console) -> Iterator[str]:
    """Print the CPU of the driver's process, and yield the expectation that is not met."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        beside = measure_beside_long_trials(Path(folder), seconds=options.seconds)
    console.print(driver_table(beside))
    found = {}
    for reports in (1, 20):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found[reports] = measure_per_trial(Path(folder), trials=options.short, reports=reports)
    console.print(per_trial_table(found))
    if beside["driver"] > MOST_CORE:
        yield f"the driver takes {100 * beside['driver']:.1f}% of a core, at most {100 * MOST_CORE:g}%"


def show_store(options: argparse.Namespace, console: Console) -> Iterator[str]:
    """Print the requests to an object store."""
    found = {}
    for count in (4, 12):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found[count] = count_requests(Path(folder), count)
    console.print(store_table(found))
    yield from ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000], help="multiples of 20")
    parser.add_argument("--simulated", type=int, default=100_000, help="trials with studies in memory; 0 for none")
    parser.add_argument("--seconds", type=float, default=60.0, help="time beside two long trials (default: 60)")
    parser.add_argument("--short", type=int, default=60, help="short trials per search on Ray (default: 60)")
    parser.add_argument("--folder", help="parent of the temporary folders (default: that of the system)")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    options = parser.parse_args()
    show = {"commands": show_commands, "ledger": show_ledger, "driver": show_driver, "store": show_store}
    console, problems = Console(width=150), []
    for part in options.only:
        problems += show[part](options, console)
    for problem in problems:
        print(f"SHORT  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
