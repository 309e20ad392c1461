"""What the command line prints: tables and JSON."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from lkca_search.records import Record, Result
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
    unfinished = "running" if standing.is_driven else "cut off"
    typer.echo(f"search {standing.name}: {standing.num_finished} of {standing.num_planned} trials finished, {state}")
    echo_rows(("cell", "images", "done", unfinished, "pruned", "failed", f"best {standing.metric}", "best trial"), rows)


def show_what_next(standing: "SearchStanding") -> None:
    """Print what to type once `run` has ended."""
    if standing.num_finished < standing.num_planned:
        typer.echo(f"\n{standing.num_planned - standing.num_finished} trials are left: the same command continues")
    typer.echo("\nbrowse   lkca-search ui")
    typer.echo(f"best     lkca-search best {standing.name}\nrerun    lkca-search rerun {standing.name}")


def show_best(record: Record) -> None:
    """Print a trial: its value, its configuration, and how to train it again."""
    typer.echo(f"{record.trial_id}: {record.metric} {record.value}")
    rows = [(name, str(value)) for name, value in record.spec.configuration.model_dump(exclude_none=True).items()]
    if record.facts:
        rows += [
            ("model", record.facts.model),
            ("train images", str(record.facts.num_train_images)),
            ("parameters", _human(record.facts.num_parameters)),
            ("FLOPs an image", _human(record.facts.flops)),
        ]
    echo_rows(("name", "value"), rows)
    typer.echo(f"\nrerun    lkca-search rerun {record.search} --trial {record.trial_id}")


def show_result(result: Result) -> None:
    """Print one result of a training in a line."""
    typer.echo(
        f"step {result.step:>6}  epoch {result.epoch:7.2f}  train_loss {result.train_loss:.4f}  "
        f"val_loss {result.val_loss:.4f}  val_accuracy {result.val_accuracy:.4f}  {result.seconds:.1f} s"
    )


def _human(count: int) -> str:
    """A count in three digits: 1.03M, 62.1M, 940."""
    for digits, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 0.9995 * 10**digits:
            share = count / 10**digits
            return f"{share:.{2 if share < 9.995 else 1 if share < 99.95 else 0}f}{unit}"
    return str(count)


def _as_list(value: Value | Sequence[Value] | Sequence[str]) -> Sequence[Value | str]:
    return [value] if isinstance(value, Value) else value
