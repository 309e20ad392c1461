"""What the command line prints: tables, progress, JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from lkca_search.records import Record, Result
from lkca_search.spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart
from lkca_search.value import Value

if TYPE_CHECKING:
    from lkca_search.search.standings import SearchStanding

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def echo_json(value: Value | Sequence[Value] | Sequence[str]) -> None:
    """Print a value, or several, as JSON."""
    plain = [item.model_dump(mode="json") if isinstance(item, Value) else item for item in _as_list(value)]
    typer.echo(json.dumps(plain[0] if isinstance(value, Value) else plain, indent=1))


def echo_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; nothing is cut off, and outside a terminal a row is a line."""
    table = Table(*(Column(name, overflow="fold") for name in header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)


def show_standing(standing: "SearchStanding") -> None:
    """Print a search's table of cells, and the best of all."""
    rows = [
        (
            cell.cell,
            "" if cell.num_train_images is None else str(cell.num_train_images),
            f"{cell.complete + cell.pruned + cell.failed}/{cell.budget}",
            str(cell.running),
            str(cell.pruned),
            str(cell.failed),
            "" if cell.best_value is None else f"{cell.best_value:.4f}",
            cell.best_trial or "",
        )
        for cell in standing.cells
    ]
    state = "running" if standing.is_driven else "not running"
    typer.echo(f"search {standing.name}: {standing.num_finished} of {standing.num_planned} trials finished, {state}")
    echo_rows(("cell", "images", "done", "running", "pruned", "failed", f"best {standing.metric}", "best trial"), rows)


def show_best(record: Record) -> None:
    """Print a trial: its value, its configuration, and how to train it again."""
    typer.echo(f"{record.trial_id}: {record.metric} {record.value}")
    rows = [(name, str(value)) for name, value in record.spec.configuration.model_dump(exclude_none=True).items()]
    if record.facts:
        rows += [("train images", str(record.facts.num_train_images)), ("parameters", str(record.facts.num_parameters))]
    echo_rows(("name", "value"), rows)
    typer.echo(f"\nrerun    lkca-search rerun {record.search} --trial {record.trial_id}")


def show_result(result: Result) -> None:
    """Print one result of a training in a line."""
    typer.echo(
        f"step {result.step:>6}  epoch {result.epoch:7.2f}  train_loss {result.train_loss:.4f}  "
        f"val_loss {result.val_loss:.4f}  val_accuracy {result.val_accuracy:.4f}  {result.seconds:.1f} s"
    )


@contextmanager
def progress(spec: SearchSpec, name: str, *, quiet: bool) -> Iterator[Tracker]:
    """A tracker that shows a search as it runs: a live table in a terminal, else a line a finished trial."""
    if quiet:
        yield Tracker()
    elif sys.stdout.isatty():
        with Live(refresh_per_second=4, transient=True) as live:
            yield _LiveTable(live, spec, name)
    else:
        yield _Lines(spec)


class _Lines(Tracker):
    """A line a finished trial."""

    def __init__(self, spec: SearchSpec) -> None:
        self._metric = spec.search.metric

    def trial_finished(self, record: Record) -> None:
        value = "" if record.value is None else f"{self._metric} {record.value:.4f}"
        seconds = f"{record.curve[-1].seconds:.1f} s" if record.curve else ""
        typer.echo(f"{record.trial_id:<48} {record.state:<8} {value}  {seconds}".rstrip())
        if record.error:
            typer.echo(f"  {record.error.strip().splitlines()[-1]}")


class _LiveTable(Tracker):
    """A table of cells, and a line a running trial."""

    def __init__(self, live: Live, spec: SearchSpec, name: str) -> None:
        self._live = live
        self._search = spec.search
        self._name = name
        self._done: Counter[str] = Counter()
        self._best: dict[str, float] = {}
        self._running: dict[str, Result | None] = {}

    def trial_started(self, start: TrialStart) -> None:
        self._running[start.trial_id] = None
        self._refresh()

    def trial_reported(self, trial_id: str, result: Result) -> None:
        self._running[trial_id] = result
        self._refresh()

    def trial_finished(self, record: Record) -> None:
        self._running.pop(record.trial_id, None)
        self._done[record.cell] += 1
        if record.value is not None:
            better = max if self._search.goal == "maximize" else min
            self._best[record.cell] = better(record.value, self._best.get(record.cell, record.value))
        self._refresh()

    def _refresh(self) -> None:
        table = Table("trial or cell", "now", self._search.metric, title=self._name, box=None)
        for cell, done in sorted(self._done.items()):
            best = f"best {self._best[cell]:.4f}" if cell in self._best else ""
            table.add_row(cell, f"{done}/{self._search.trials_per_cell} here", best)
        for trial_id, result in self._running.items():
            now = f"step {result.step}" if result else "starting"
            table.add_row(f"  {trial_id}", now, f"{getattr(result, self._search.metric):.4f}" if result else "")
        self._live.update(table)


def _as_list(value: Value | Sequence[Value] | Sequence[str]) -> Sequence[Value | str]:
    return [value] if isinstance(value, Value) else value
