"""Time to send a large search to MLflow, compared with a client that makes one call per value.

Question:  how long do opening a store, a full sync and a sync with nothing missing take, on SQLite and on a server?
Command:   python -m benchmarks.tracking_load [--trials 2000] [--reports 20] [--naive-trials 20] [--only sqlite server]
Expected:  a trial is sent at least 5 times as fast as by the naive client on SQLite, and 15 times on a server, in three
           calls; opening, and a sync with nothing missing, take less than 10 ms per trial. Otherwise exit code 1.

Every trial has its parameters, seven metrics per report, and the values written at its end. The naive client works like
Ray's MLflowLoggerCallback: one call per parameter, and one per metric of each report. The server is MLflow's own, with
one worker, on this machine and over SQLite. A network adds its delay to each call.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.store.tracking.rest_store import RestStore
from rich.console import Console
from rich.table import Table

from cluster.local.mlflow_server import MLflowServer
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.mlflow_tracker import send_missing
from lkca_search.tracking.run_fields import CURVE
from tests.support.tracking.recorded import make_record, write_record

LEAST_GAIN = {"sqlite": 5.0, "server": 15.0}
MOST_OPENING_SECONDS, MOST_CALLS = 0.010, 3.1
PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of one kind of store."""

    naive: float
    """Seconds per trial of the naive client."""
    naive_calls: float
    """Calls per trial to the server by the naive client; 0 on SQLite."""
    all_missing: float
    """Seconds per trial of a full sync."""
    calls: float
    """Calls per trial to the server by a full sync; 0 on SQLite."""
    opening: float
    """Seconds to open a store that has every trial."""
    nothing_missing: float
    """Seconds of a sync with nothing missing."""


def send_naively(records: Sequence[Record], uri: str) -> None:
    """Send trials with one run per trial and one call per value."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("naive")
    for record in records:
        run_id = client.create_run(experiment, run_name=record.trial_id).info.run_id
        for name, value in record.spec.configuration.model_dump(exclude_none=True).items():
            client.log_param(run_id, name, value)
        for result in record.curve:
            for name in CURVE:
                client.log_metric(run_id, name, getattr(result, name), step=result.step)
        client.set_terminated(run_id)


def timed(action: Callable[[], Any]) -> float:
    """Return the duration of an action in seconds."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count the calls to servers."""
    real, calls = RestStore._call_endpoint, Counter[str]()

    def counting(self: RestStore, api: Any, *arguments: Any, **options: Any) -> Any:
        calls[api.__name__] += 1
        return real(self, api, *arguments, **options)

    RestStore._call_endpoint = counting
    try:
        yield calls
    finally:
        RestStore._call_endpoint = real


def measure(kind: str, options: argparse.Namespace) -> Costs:
    """Send a search to a fresh store of one kind and return the costs."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        home = Home(root=root)
        folder = home.search("load")
        records = [make_record(f"lkca/{number}", num_results=options.reports) for number in range(options.trials)]
        for record in records:
            write_record(folder, record)
        with MLflowServer(root) if kind == "server" else nullcontext() as server:
            uri = server.uri if server else f"sqlite:///{home.mlflow_database}"
            os.environ["MLFLOW_TRACKING_URI"] = uri
            open_store(home)  # creates the tables
            with counted_calls() as naive_calls:
                naive = timed(lambda: send_naively(records[: options.naive_trials], uri))
            with counted_calls() as calls:
                all_missing = timed(lambda: sync(home, folder, records, num_missing=len(records)))
            return Costs(
                naive=naive / options.naive_trials,
                naive_calls=naive_calls.total() / options.naive_trials,
                all_missing=all_missing / len(records),
                calls=calls.total() / len(records),
                opening=timed(lambda: open_store(home)),
                nothing_missing=timed(lambda: sync(home, folder, records, num_missing=0)),
            )


def open_store(home: Home) -> MLflowStore:
    """Open the store of the search."""
    return MLflowStore(home, uid="load", name="load", texts={"space.yaml": "a: 1"})


def sync(home: Home, folder: SearchFolder, records: Sequence[Record], *, num_missing: int) -> None:
    """Send missing trials, like the command `sync`."""
    best = max(records, key=lambda record: record.value or 0.0)
    result = send_missing(lambda: open_store(home), folder, complete=True, best=best, patience_seconds=PATIENCE_SECONDS)
    assert (result.num_sent, result.num_missing, result.fault) == (num_missing, 0, None)


def show(costs: dict[str, Costs], options: argparse.Namespace) -> None:
    """Print one row per kind of store."""
    title = f"{options.trials} trials of {options.reports} reports; the naive client sends {options.naive_trials}"
    names = ("", "naive, ms a trial", "calls", "sync, ms a trial", "calls", "gain", "opening, s", "nothing missing, s")
    table = Table(*names, title=title)
    for kind, cost in costs.items():
        table.add_row(
            kind,
            f"{cost.naive * 1000:.0f}",
            f"{cost.naive_calls:.0f}" if cost.naive_calls else "",
            f"{cost.all_missing * 1000:.1f}",
            f"{cost.calls:.2f}" if cost.calls else "",
            f"{cost.naive / cost.all_missing:.1f}",
            f"{cost.opening:.2f}",
            f"{cost.nothing_missing:.2f}",
        )
    Console(width=120).print(table)


def shortfalls(costs: dict[str, Costs], *, num_trials: int) -> Iterator[str]:
    """Return every expectation that is not met."""
    for kind, cost in costs.items():
        gain = cost.naive / cost.all_missing
        if gain < LEAST_GAIN[kind]:
            yield f"{kind}: {gain:.1f} times as fast as the naive client, at least {LEAST_GAIN[kind]:g}"
        if cost.calls > MOST_CALLS:
            yield f"{kind}: {cost.calls:.2f} calls a trial, at most {MOST_CALLS}"
        for name, seconds in (("opening", cost.opening), ("a sync of nothing", cost.nothing_missing)):
            if seconds / num_trials > MOST_OPENING_SECONDS:
                yield f"{kind}: {name} takes {seconds / num_trials * 1000:.1f} ms a trial, at most 10"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=20, help="reports per trial (default: 20)")
    parser.add_argument("--naive-trials", type=int, default=20, help="trials of the naive client (default: 20)")
    parser.add_argument("--only", choices=("sqlite", "server"), nargs="+", default=("sqlite", "server"))
    options = parser.parse_args()
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    costs = {kind: measure(kind, options) for kind in options.only}
    show(costs, options)
    problems = list(shortfalls(costs, num_trials=options.trials))
    for problem in problems:
        print(f"SHORT  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
