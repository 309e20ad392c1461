"""Cost of every command on a search with a given number of finished trials, and the sizes of its files."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from benchmarks.processes import QUIET, Cost, command_line, measure
from lkca_search.layout import Home
from lkca_search.search.housekeeping.sizes import measure_search
from tests.support.search.large import make_large_search, write_space

NAME = "large"
CELLS, REPORTS = 20, 20


def run_commands(root: Path, num_trials: int) -> dict[str, Cost]:
    """Make a search in a folder, run every command on it, and return the costs by the name of the command.

    All trials but one are made by the real ledger in simulated time. The last one is trained by `run` on Ray.
    """
    home, space = Home(root=root), root / f"{NAME}.yaml"
    write_space(space, num_trials, num_cells=CELLS, reports=REPORTS, sampler="random")
    make_large_search(home, space, num_left=1)
    run = ("run", str(space), "--num-cpus", "2")
    commands: dict[str, tuple[str, ...]] = {
        "status": ("status", NAME),
        "list": ("list",),
        "best": ("best", NAME, "--cell", "family=lkca,data_fraction=1.0"),
        "export": ("export", NAME),
        "report": ("report", NAME, "--no-mlflow"),
        "doctor": ("doctor", NAME),
        "sync, all to send": ("sync", NAME),
        "sync, nothing to send": ("sync", NAME),
        "run, one trial left": run,
        "run, nothing to do": run,
    }
    costs = {}
    for name, arguments in commands.items():
        costs[name] = measure(command_line(*arguments), variables={**QUIET, "LKCA_SEARCH_HOME": str(root)})
        print(f"{num_trials}: {name}: {_cell(costs[name])}", file=sys.stderr, flush=True)
    shutil.rmtree(root / "datasets", ignore_errors=True)
    return costs


def sizes(root: Path) -> Iterator[tuple[str, int]]:
    """Yield the bytes of each kind of file of the search, of its tables, and of MLflow's database."""
    folder = Home(root=root).search(NAME)
    for part in measure_search(folder):
        yield part.kind, part.num_bytes
    for table in ("trials", "curves"):
        yield f"{table}.parquet", (root / "searches" / NAME / f"{table}.parquet").stat().st_size
    yield "mlflow.db", (root / "mlflow.db").stat().st_size


def costs_table(measured: dict[int, dict[str, Cost]]) -> Table:
    """Return one row per command: seconds, CPU seconds and memory for each number of trials."""
    table = Table("", *(f"{count:,} trials" for count in measured), title="wall s / CPU s / peak MB")
    for name in next(iter(measured.values())):
        table.add_row(name, *(_cell(costs[name]) for costs in measured.values()))
    return table


def sizes_table(measured: dict[int, dict[str, int]]) -> Table:
    """Return one row per kind of file: megabytes for each number of trials."""
    table = Table("", *(f"{count:,} trials" for count in measured), title="MB")
    for name in next(iter(measured.values())):
        table.add_row(name, *(f"{found.get(name, 0) / 1e6:.1f}" for found in measured.values()))
    return table


def _cell(cost: Cost) -> str:
    return f"{cost.seconds:.1f} / {cost.cpu_seconds:.1f} / {cost.memory / 1e6:.0f}"
