"""Packing of GPUs on a cluster, and exactness of submitted searches under faults of the cluster.

Question:  do 32 trials at half a GPU run 8 at a time on two nodes with two GPUs, and exactly once despite faults?
Command:   python -m benchmarks.cluster [--trials-per-cell 8] [--steps 900] [--only NAME ...]
Expected:  at most 8 trials at once, 2 per GPU, 4 GPUs in use; both nodes train; no broken invariant in any row.
           Otherwise exit code 1.

Two raylets on this machine declare 4 cores and 2 GPUs each. The GPUs do not exist: trials train on the CPU, so times
are not those of GPUs. An MLflow server runs too, and each search is submitted by its own process through the Jobs API,
with a token. The resources in use are read from Ray twice per second. Workers log which trial trains when and on which
GPU. tests/support/chaos/invariants.py has the invariants. The full disk is a file system of 16 MB in memory; it needs
root.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.local.ports import free_port
from lkca_search.records.record import Record
from tests.support.chaos.cluster_faults import (
    LONGER,
    Fault,
    fill_the_storage_once,
    lose_a_worker_node,
    lose_mlflow_for_a_while,
    lose_the_driver,
    lose_the_head,
    small_disk,
)
from tests.support.chaos.submitted_search import TOKEN, Rehearsal, SubmittedSearch, most_at_once, rehearsal
from tests.support.postgres import running_postgres

FAULTS: Mapping[str, Fault] = {
    "worker node": lose_a_worker_node,
    "driver": lose_the_driver,
    "mlflow": lose_mlflow_for_a_while,
    "storage full": fill_the_storage_once,
    "head": lose_the_head,
}
SLOTS, GPUS, PER_GPU = 8, 4, 2
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One search: its fault, and its broken invariants."""

    name: str
    description: str
    num_attempts: int
    """Sum of the attempts of all trials."""
    seconds: float
    broken: tuple[str, ...]


class Sampler:
    """Sampler of the resources in use, in the cluster and per node."""

    def __init__(self) -> None:
        self.num_samples = 0
        self.most: dict[str, float] = defaultdict(float)
        """Maximum in use at once, by resource: in the cluster as `RESOURCE`, on one node as `node RESOURCE`."""

    @contextmanager
    def at_work(self, address: str) -> Iterator["Sampler"]:
        """Sample until the context ends."""
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}  # Ray reads these when it is imported
        import ray

        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        end = threading.Event()
        thread = threading.Thread(target=self._sample, args=(end,))
        thread.start()
        try:
            yield self
        finally:
            end.set()
            thread.join()
            ray.shutdown()

    def _sample(self, end: threading.Event) -> None:
        import ray
        from ray._private.state import available_resources_per_node

        totals = {node["NodeID"]: node["Resources"] for node in ray.nodes()}
        while not end.wait(SAMPLE_SECONDS):
            free = available_resources_per_node()
            for name in ("CPU", "GPU"):
                used = [total[name] - free[node].get(name, 0.0) for node, total in totals.items()]
                self.most[name] = max(self.most[name], sum(used))
                self.most[f"node {name}"] = max(self.most[f"node {name}"], *used)
            self.num_samples += 1


def pack(running: Rehearsal, root: Path, trials_per_cell: int, steps: int) -> list[str]:
    """Run a search of longer trials without faults, print how it was packed, and return every problem."""
    overrides = [f"training.steps={steps}"]
    search = SubmittedSearch(running, root, name="packing", trials_per_cell=trials_per_cell, overrides=overrides)
    begun = time.time()
    with Sampler().at_work(running.cluster.address) as sampler:
        search.finish()
    wall = time.time() - begun
    broken = search.broken()
    records, events = search.records(), search.events()
    overall, on_each = most_at_once(events)
    opened, finished = ([event.time for event in events if event.event == what] for what in ("open", "finish"))
    span = max(finished) - min(opened)
    nodes = Counter(record.facts.provenance.node for record in records.values() if record.facts)
    table = Table(title=f"{len(records)} trials at half a GPU, 2 nodes of 2 declared GPUs and 4 declared cores")
    for name in ("quantity", "measured", "allowed"):
        table.add_column(name)
    for name, measured, allowed in (
        ("submission to end, s", f"{wall:.0f}", ""),
        ("start of the first trial to end of the last, s", f"{span:.0f}", ""),
        ("mean duration of a trial, s", f"{(sum(finished) - sum(opened)) / len(records):.1f}", ""),
        ("maximum of trials at once", f"{overall}", f"{SLOTS}"),
        ("mean of trials at once", f"{(sum(finished) - sum(opened)) / span:.1f}", f"{SLOTS}"),
        ("maximum on one GPU", f"{max(on_each.values())}", f"{PER_GPU}"),
        ("maximum of GPUs in use (Ray)", f"{sampler.most['GPU']:g}", f"{GPUS}"),
        ("maximum of GPUs in use on one node (Ray)", f"{sampler.most['node GPU']:g}", "2"),
        ("maximum of cores in use on one node (Ray)", f"{sampler.most['node CPU']:g}", "4"),
        ("samples", f"{sampler.num_samples}", ""),
        ("trials by node", ", ".join(f"{node}: {count}" for node, count in sorted(nodes.items())), "both"),
        ("invariants broken", f"{len(broken)}", "0"),
    ):
        table.add_row(name, measured, allowed)
    Console(width=100).print(table)
    fine = overall == SLOTS and max(on_each.values()) <= PER_GPU and sampler.most["GPU"] <= GPUS
    fine = fine and sampler.most["node GPU"] <= 2 and sampler.most["node CPU"] <= 4 and len(nodes) == 2
    return [*broken, *([] if fine else ["packing is not as expected"])]


def suffer(name: str, running: Rehearsal, root: Path, trials_per_cell: int, alone: Mapping[str, Record]) -> Row:
    """Run a search with a fault and check its invariants."""
    begun = time.time()
    with ExitStack() as stack:
        overrides, options, home = [], [], None
        if name == "worker node":  # its curves differ from those of the search without faults
            overrides, alone = [LONGER], {}
        if name == "storage full":
            home = stack.enter_context(small_disk()) / "home"
        if name == "head":
            folder = Path("/tmp") / f"lkca-pg-{os.getpid()}"  # a short path that a server without root can read
            postgres = stack.enter_context(running_postgres(folder, free_port()))
            overrides, options = [f"storage=file://{root / 'shared'}"], ["--ledger", postgres.url]
        search = SubmittedSearch(
            running,
            root,
            name=name.replace(" ", "-"),
            home=home,
            trials_per_cell=trials_per_cell,
            overrides=overrides,
            options=options,
            undisturbed=alone,
        )
        try:
            description = FAULTS[name](running, search)
            broken = search.broken()
        except AssertionError as error:
            description, broken = "", [f"{type(error).__name__}: {error}"]
        attempts = sum(record.attempt for record in search.records().values())
        return Row(
            name=name, description=description, num_attempts=attempts, seconds=time.time() - begun, broken=tuple(broken)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials-per-cell", type=int, default=8)
    parser.add_argument("--steps", type=int, default=900, help="steps of a trial in the row `packing` (default: 900)")
    names = ["packing", *FAULTS]
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    wrong: list[str] = []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lkca-cluster-") as folder, rehearsal(Path(folder)) as running:
        if "packing" in options.only:
            wrong = pack(running, Path(folder) / "packing", options.trials_per_cell, options.steps)
        faults = [name for name in options.only if name in FAULTS]
        if faults:
            alone = SubmittedSearch(
                running, Path(folder) / "alone", name="alone", trials_per_cell=options.trials_per_cell
            )
            alone.finish()
        for name in faults:
            root = Path(folder) / name.replace(" ", "-")
            rows.append(suffer(name, running, root, options.trials_per_cell, alone.records()))
            print(f"{name}: {rows[-1].broken or 'exact'}", file=sys.stderr, flush=True)
    if rows:
        table = Table(
            "fault", "description", "attempts", "seconds", "broken", title=f"{4 * options.trials_per_cell} trials each"
        )
        for row in rows:
            table.add_row(row.name, row.description, str(row.num_attempts), f"{row.seconds:.0f}", str(len(row.broken)))
        Console(width=120).print(table)
    problems = [*wrong, *(f"{row.name}: {problem}" for row in rows for problem in row.broken)]
    for problem in problems:
        print(f"BROKEN  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
