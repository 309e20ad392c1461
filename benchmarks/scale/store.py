"""Requests to an object store per trial: of a whole search on Ray, a resume, and the commands that read a search."""

from collections import Counter
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks.processes import QUIET, command_line, measure
from benchmarks.scale.driver import SHORT
from tests.support.object_store import counted_requests, running_object_store

REPORTS = 4


def count_requests(root: Path, num_trials: int) -> dict[str, Counter[str]]:
    """Run a search with its trials in a local store, and return the requests of each command by kind."""
    space, counts = root / f"store{num_trials}.yaml", {}
    space.write_text(SHORT.format(reports=REPORTS, trials=num_trials))
    with pytest.MonkeyPatch.context() as patch, running_object_store(patch) as url:
        run = ("run", str(space), f"storage={url.replace('?', '/runs?')}", "--num-cpus", "2")
        commands: dict[str, tuple[str, ...]] = {
            "run": run,
            "run, nothing to do": run,
            "status": ("status", space.stem),
            "export": ("export", space.stem),
        }
        variables = {**QUIET, "LKCA_SEARCH_HOME": str(root), "PYTHONWARNINGS": "ignore"}
        for name, arguments in commands.items():
            with counted_requests() as requests:
                measure(command_line(*arguments), variables=variables)
            counts[name] = requests
    return counts


def store_table(found: dict[int, dict[str, Counter[str]]]) -> Table:
    """Return one row per command: all requests, and those that one more trial adds."""
    few, many = sorted(found)
    kinds = ("LIST", "GET", "HEAD", "PUT", "POST", "DELETE")
    table = Table("", f"{few} trials", f"{many} trials", "per trial", *kinds, title="requests; by kind: per trial")
    for name in found[few]:
        added = {kind: (found[many][name][kind] - found[few][name][kind]) / (many - few) for kind in kinds}
        total = sum(added.values())
        table.add_row(
            name,
            str(found[few][name].total()),
            str(found[many][name].total()),
            f"{total:.1f}",
            *(f"{added[kind]:.1f}" for kind in kinds),
        )
    return table
