"""Output of the commands: tables and JSON."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.text import Text

from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.streams import console, echo
from lkca_search.cli.terminal.tables import TableView
from lkca_search.faults import cut_text
from lkca_search.records.finding import Finding
from lkca_search.records.objectives import TIE_BREAKS
from lkca_search.records.record import Record, Result
from lkca_search.reporting.values.numbers import format_compact, format_duration, pluralize
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import ImageShape

if TYPE_CHECKING:
    from lkca_search.records.rounds import RoundStatus
    from lkca_search.search.state.best_trials import BestTrial
    from lkca_search.search.state.status import CellStatus, SearchStatus

_MAX_ERROR = 90
"""Characters of an error in `status`."""
_MAX_FINDINGS = 5
"""Damaged files that are listed one by one."""
_COLUMNS = (
    *("cell", "images", "done", "running", "interrupted", "pruned", "failed", "best", "trial"),
    *("steps", "samples", "time", "left"),
)
"""Columns of `status`."""


def echo_json(value: FrozenModel | Sequence[FrozenModel] | Sequence[str]) -> None:
    """Print one value or a list of values as JSON."""
    items: Sequence[FrozenModel | str] = [value] if isinstance(value, FrozenModel) else value
    plain = [item.model_dump(mode="json") if isinstance(item, FrozenModel) else item for item in items]
    echo(json.dumps(plain[0] if isinstance(value, FrozenModel) else plain, indent=1))


def echo_rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = ()) -> None:
    """Print a table without truncation. Outside a terminal, each row is one line.

    A terminal that is too narrow for its words leaves out the columns `optional`, in this order, and a line names them.
    """
    _print(TableView(header=header, rows=rows, optional=optional))


def show_status(status: "SearchStatus") -> None:
    """Print the status table of a search."""
    _print(status_view(status))


def status_view(status: "SearchStatus") -> RenderableType:
    """Return the status of a search as a table with one row per cell. Empty columns are left out to save width."""
    rows = [_cell_row(cell) for cell in status.cells]
    shown = [i for i in range(len(_COLUMNS)) if i < 3 or any(row[i] for row in rows)]
    table = TableView(
        header=[_COLUMNS[i] for i in shown],
        rows=[[row[i] for i in shown] for row in rows],
        numbers=frozenset(range(1, len(shown))),
        gap=1,
        optional=("samples", "steps", "images", "time"),
    )
    state = f"running ({status.driver})" if status.is_driven else "not running"
    if status.is_driven and status.seconds_left:
        state += f", about {format_duration(status.seconds_left)} left"
    title = f"search {status.name}: {status.num_finished} of {status.num_planned} trials finished, {state}"
    follows = status.num_replicates and not status.rounds and (status.num_left or status.has_complete_trial)
    return Group(
        Text(f"{title}; best by the {'highest' if status.goal == 'maximize' else 'lowest'} {status.metric}"),
        table,
        *(Text(line) for line in _failure_lines(status)),
        *([Text(f"confirmation: {status.num_replicates} replicates follow the trials")] if follows else []),
        *(Text(_round_line(round_, status)) for round_ in status.rounds),
        *(Text(line) for line in damage_lines(status.damaged, status.name)),
        *([Text(_kept_line(status))] if status.num_set_aside else []),
    )


def _failure_lines(status: "SearchStatus") -> list[str]:
    """Return the number of failed trials, the most frequent error and the advice; empty if no trial has failed."""
    if not status.num_failed:
        return []
    error = [f"  {cut_text(status.common_error, _MAX_ERROR)}"] if status.common_error else []
    limit = "not set" if status.max_failures is None else f"now {status.max_failures}"
    return [
        f"{status.num_failed} of {pluralize(status.num_finished, 'finished trial')} failed"
        f"{', most often by this error:' if error else ''}",
        *error,
        "Failed trials spend the budget, and the sampler may suggest similar values.",
        "Correct the cause or narrow the parameters.",
        f"limits.max_failures ({limit}) ends a search with many failures.",
    ]


def damage_lines(findings: Sequence[Finding], name: str) -> list[str]:
    """Return the damaged files of a search, which every number leaves out: a count, and a line per file, at most 5."""
    if not findings:
        return []
    count = f"! {pluralize(len(findings), 'damaged file')}, left out of all numbers"
    shown = [f"  {finding.place}: {finding.damage}" for finding in findings[:_MAX_FINDINGS]]
    more = [f"  and {len(findings) - _MAX_FINDINGS} more"] if len(findings) > _MAX_FINDINGS else []
    return [f"{count}; `lkca-search repair {name}` lists and repairs them:", *shown, *more]


def warn_of_damage(findings: Sequence[Finding], name: str) -> None:
    """Print the damaged files of a search on stderr."""
    for line in damage_lines(findings, name):
        echo_prose(line, err=True)


def _kept_line(status: "SearchStatus") -> str:
    files = pluralize(status.num_set_aside, "damaged file")
    return f"{files} kept as NAME.damaged-N; `lkca-search repair {status.name}` lists them"


def _round_line(round_: "RoundStatus", status: "SearchStatus") -> str:
    """Return the progress of a confirmation round as one line."""
    done = f"{round_.complete + round_.failed} of {round_.num_replicates} replicates finished"
    failed = f", {round_.failed} failed" if round_.failed else ""
    is_newest = round_.number == status.rounds[-1].number
    running = f", {status.num_replicating} running" if is_newest and status.num_replicating else ""
    selected = f"{pluralize(round_.num_picks, 'configuration')} selected from {pluralize(round_.num_trials, 'trial')}"
    since = ""
    if round_.num_trials_since > 0:
        since = f"; {pluralize(round_.num_trials_since, 'trial')} finished since then"
        if is_newest and not round_.num_left and not status.num_left:
            since += f"; to select again: lkca-search confirm {status.name} --new-round"
    elif round_.num_trials_since < 0:
        since = f"; {pluralize(-round_.num_trials_since, 'trial')} fewer than then: records are damaged or lost"
    return f"confirmation, round {round_.number}: {done}{failed}{running}; {selected}{since}"


def _cell_row(cell: "CellStatus") -> tuple[str, ...]:
    mark = "exhausted" if cell.exhausted else "plateau" if cell.at_plateau else ""
    return (
        cell.cell,
        "" if cell.num_train_images is None else str(cell.num_train_images),
        f"{cell.num_finished}/{cell.budget}",
        *(str(count or "") for count in (cell.running, cell.cut_off, cell.pruned, cell.failed)),
        "" if cell.best_value is None else f"{cell.best_value:.4f}",
        (cell.best_trial or "").rpartition("/")[2],
        _steps(cell),
        format_compact(cell.samples) if cell.samples else "",
        format_duration(cell.seconds) if cell.seconds else "",
        format_duration(cell.seconds_left) if cell.left and cell.seconds_left else mark,
    )


def _steps(cell: "CellStatus") -> str:
    """Return the optimizer steps of the finished trials; if some ended early, also the planned steps."""
    spent, planned = format_compact(cell.steps), format_compact(cell.planned_steps)
    return "" if not cell.planned_steps else spent if spent == planned else f"{spent}/{planned}"


def show_left(status: "SearchStatus", command: str) -> int:
    """Print the trials and replicates that are left, and the command that resumes; return the number of replicates."""
    replicates_left = status.rounds[-1].num_left if status.rounds else 0
    for left, noun in ((status.num_left, "trial"), (replicates_left, "replicate")):
        if left:
            echo(f"\n{pluralize(left, noun)} left. Repeat {command} to resume.")
    return replicates_left


def show_next_steps(status: "SearchStatus", *, is_job: bool = False) -> None:
    """Print the commands that are useful after `run` or `confirm`.

    The log of a submitted job is read on another machine, so it begins with the variables that they need there.
    """
    replicates_left = show_left(status, "`submit`" if is_job else "the command")
    echo(f"\nbrowse   {describe_mlflow(status.name)}")
    if is_job:
        echo(f"home     {_export_home()}   # first, on a machine that can read it")
    if not status.has_complete_trial:
        return
    levels = {part for cell in status.cells for part in cell.cell.split(",") if part.startswith("dataset=")}
    cell, trial = (" --cell CELL", " --trial TRIAL") if len(levels) > 1 else ("", "")  # datasets cannot be compared
    echo(f"best     lkca-search best {status.name}{cell}\nrerun    lkca-search rerun {status.name}{trial}")
    if not status.num_left and not status.rounds:
        later = "repeat `submit` with 'confirm={draws: 5, seeds: 2}'"
        echo(f"confirm  {later if is_job else f'lkca-search confirm {status.name}'}")
    if status.rounds and not replicates_left:
        echo(f"report   lkca-search report {status.name}")


def describe_mlflow(name: str) -> str:
    """Return the address of the MLflow server, which readers of a job's log may lack, or the command that opens it."""
    return _mlflow_server() or f"lkca-search ui {name}"


def _mlflow_server() -> str | None:
    """Return the address of the MLflow server without its login; None if the store is no server."""
    server = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    is_server = server.scheme in ("http", "https")
    return f"{server.scheme}://{server.netloc.rpartition('@')[2]}" if is_server else None


def _export_home() -> str:
    """Return the shell command that sets the home and the MLflow server of this process."""
    variables = {"LKCA_SEARCH_HOME": os.environ.get("LKCA_SEARCH_HOME"), "MLFLOW_TRACKING_URI": _mlflow_server()}
    return shlex.join(["export", *(f"{name}={value}" for name, value in variables.items() if value)])


def show_front(front: Sequence["BestTrial"], search: str, *, num_tied: int = 1) -> None:
    """Print a Pareto front, one row per trial, and the command that trains the first one again.

    `num_tied` is the number of trials with the values of the first one.
    """
    metrics = list(front[0].values)
    echo_rows(("trial", *metrics), [(trial.trial_id, *map(_number, trial.values.values())) for trial in front])
    _show_ties(num_tied)
    echo(f"\nrerun    lkca-search rerun {search} --trial {front[0].trial_id}")


def show_best(record: Record, *, num_tied: int = 1, has_champion: bool = False) -> None:
    """Print the best trial, one of `num_tied`, and its `rerun` command. With `has_champion`, it is not the champion."""
    start = "\nbest trial on validation images, not the champion: " if has_champion else ""
    echo(f"{start}{record.trial_id}: {record.metric} {_number(record.value)}")
    _show_ties(num_tied)
    rows = [
        (name, str(value)) for name, value in record.spec.complete_configuration.model_dump(exclude_none=True).items()
    ]
    if record.facts:
        rows += [
            ("model", record.facts.model),
            ("train images", str(record.facts.num_train_images)),
            ("parameters", format_compact(record.facts.num_parameters)),
            ("FLOPs per image", format_compact(record.facts.flops)),
        ]
    echo_rows(("name", "value"), rows)
    end = " of this trial" if has_champion else ""
    echo(f"\nrerun{end}    lkca-search rerun {record.search} --trial {record.trial_id}")


def show_best_of_cells(best: Mapping[str, Record], *, search: str) -> None:
    """Print the best trial of each cell, for cells with unequal validation images, and the commands for one cell."""
    metric = next(iter(best.values())).metric
    rows = [
        (cell, str(each.number), str(each.facts.num_validation_images) if each.facts else "", _number(each.value))
        for cell, each in best.items()
    ]
    echo_rows(("cell", "best trial", "validation images", metric), rows)
    echo(
        f"\none cell  lkca-search best {search} --cell CELL\nrerun     lkca-search rerun {search} --trial CELL/NUMBER\n"
    )


def show_unequal_validation(sizes: tuple[int, int], *, search: str, is_confirmed: bool, err: bool) -> None:
    """Print the reason why the best trials of different cells cannot be ranked, and the command that compares cells."""
    command = f"{'report' if is_confirmed else 'confirm'} {search}"
    verb = "compares the cells" if is_confirmed else "tests them all"
    echo_prose(
        f"! Cells have {sizes[0]} to {sizes[1]} validation images, and values on few images vary more. So these values "
        f"do not rank the cells; `lkca-search {command}` {verb} on the same test images.",
        err=err,
    )


def _show_ties(num_tied: int) -> None:
    if num_tied > 1:
        echo_prose(f"{num_tied} trials tie for first place. Ties are ordered by {TIE_BREAKS}.")


def show_result(result: Result, metric: str = "val_accuracy") -> None:
    """Print one evaluation of a trial as one line, with loss, accuracy and the metric by which trials are compared."""
    leading = f"  {metric} {result.value(metric):.4f}" if metric in result.metrics else ""
    echo(
        f"step {result.step:>6}  epoch {result.epoch:7.2f}  train_loss {result.train_loss:.4f}  "
        f"val_loss {result.val_loss:.4f}  val_accuracy {result.val_accuracy:.4f}{leading}  {result.seconds:.1f} s"
    )


def describe_images(shape: ImageShape, num_classes: int) -> str:
    """Format the shape and the number of classes: 28x28x1 images of 10 classes."""
    return f"{shape.height}x{shape.width}x{shape.channels} images of {num_classes} classes"


def _number(value: float | None) -> str:
    """Format an integer above 1 in full, and any other number with four decimals; None as an empty text."""
    if value is None:
        return ""
    return str(int(value)) if value.is_integer() and abs(value) > 1 else f"{value:.4f}"


def _print(view: RenderableType) -> None:
    screen = console()
    if screen.is_terminal:
        screen.print(view)
        return
    with screen.capture() as captured:
        screen.print(view)
    echo("\n".join(line.rstrip() for line in captured.get().splitlines()))  # Rich fills each line with spaces
