"""Cost of ledger, studies, sampler and pruner in a large search, measured in simulated time.

Question:  how long does the driver take per trial, does this grow with the search, and where is the time spent?
Command:   python -m benchmarks.simulated_search [--trials 10000] [--cells 40] [--sampler tpe] [--pruner hyperband]
Expected:  10,000 trials in less than 5 minutes on one core; otherwise exit code 1.

Studies are in memory, so SQLite is not measured. Trial folders are in a temporary folder, so flushes count only if that
folder is on a disk. The profile is that of a second, shorter search, because profiling itself takes time.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lkca_search.layout import SearchFolder
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker

LIMIT_SECONDS = 300
PART = 1000
"""Number of trials at the beginning and at the end that are timed separately."""
MOST_PROFILED = 50
"""Trials per cell in the profiled search."""


def make_spec(options: argparse.Namespace, *, trials_per_cell: int) -> SearchSpec:
    """Return the spec of a search over sizes of the training set."""
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "cifar10"},
            "factors": {"family": ("lkca",), "draw": tuple(range(options.cells))},
            "parameters": {
                "kernel_size": {"choice": (3, 5, 7, 11, 15)},
                "patch_size": {"value": 4},
                "depth": {"int": (2, 9)},
                "width": {"choice": (64, 96, 128, 192)},
                "learning_rate": {"float": (1e-4, 1e-2), "log": True},
                "weight_decay": {"float": (1e-3, 1e-1), "log": True},
            },
            "training": {"steps": 1000, "reports": options.reports},
            "search": {"trials_per_cell": trials_per_cell, "sampler": options.sampler, "pruner": options.pruner},
        }
    )


def run(options: argparse.Namespace, *, trials_per_cell: int) -> list[float]:
    """Simulate a search; return the time at which each trial was assigned, and the end of the last, in seconds."""
    times: list[float] = []
    training = ToyTraining()

    def timed(assignment: Assignment) -> Iterator[Message]:
        times.append(time.perf_counter())
        return training(assignment)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        ledger = Ledger(
            SearchFolder(root=Path(folder) / "simulated"),
            make_spec(options, trials_per_cell=trials_per_cell),
            ImageShape(32, 32, 3),
            10,
            Tracker(),
            storage=open_in_memory_storage(),
        )
        simulate(ledger, timed, num_slots=options.slots)
        times.append(time.perf_counter())
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--pruner", default="hyperband")
    parser.add_argument("--folder", help="parent of the temporary folder (default: that of the system)")
    options = parser.parse_args()
    per_cell = options.trials // options.cells
    begun = time.perf_counter()
    times = run(options, trials_per_cell=per_cell)
    seconds = time.perf_counter() - begun
    part = min(PART, len(times) // 2)
    table = Table("cells", "trials", "seconds", f"ms per trial, first {part}", f"last {part}", title=_title(options))
    table.add_row(
        str(options.cells),
        f"{len(times) - 1:,}",
        f"{seconds:.1f}",
        f"{1000 * (times[part] - times[0]) / part:.2f}",
        f"{1000 * (times[-1] - times[-1 - part]) / part:.2f}",
    )
    Console(width=120).print(table)
    profile = cProfile.Profile()
    profile.runcall(run, options, trials_per_cell=min(per_cell, MOST_PROFILED))
    statistics = pstats.Stats(profile)
    for order in ("cumulative", "tottime"):
        statistics.sort_stats(order).print_stats("lkca_search|optuna|posix", 20)
    return 0 if seconds < LIMIT_SECONDS else 1


def _title(options: argparse.Namespace) -> str:
    return f"{options.sampler}, {options.pruner}, {options.slots} slots, {options.reports} reports a trial"


if __name__ == "__main__":
    sys.exit(main())
