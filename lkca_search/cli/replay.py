"""Commands that repeat recorded trials: rerun trains one again, simulate replays a search without training."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.home import local_data_dirs
from lkca_search.api.output import check_output_file
from lkca_search.cli.terminal.arguments import Json
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import UserError
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.search.rerun import RerunOutcome
    from lkca_search.search.simulation.replay_results import CellReplay, CellSpread, Replay, Spread


def rerun(
    source: Annotated[str, typer.Argument(help="Name of a search, or a trial file (.yaml) from `best --yaml`.")],
    trial: Annotated[
        str | None, typer.Option(help="Id of a trial or replicate. Default: the best trial of the search.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Save the trained weights (a state dict) in this file. Default: not saved."),
    ] = None,
    json: Json = False,
) -> None:
    """Train one trial again with its recorded seeds, and print the difference from the recorded metric.

    A pruned trial ends where it was pruned. A trial file can be edited: its training then takes its whole schedule, the
    edits are listed in place of a difference, and the exit code is 1.
    """
    from lkca_search.cli.terminal.output import show_result
    from lkca_search.records.provenance import import_search_code
    from lkca_search.search.rerun import TrialFile
    from lkca_search.search.rerun import rerun as train_again
    from lkca_search.search.state.best_trials import find_record

    home = Home.from_environment()
    if save is not None:
        check_output_file(save, "--save")
    if Path(source).suffix in (".yaml", ".yml"):
        if trial is not None:
            raise UserError(f"--trial selects a trial of a search, but {source} is a trial file; omit one of them")
        file = TrialFile.read(Path(source))
    else:
        folder = home.started_search(source)
        import_search_code(folder)
        file = TrialFile.from_record(find_record(folder, trial))
    outcome = train_again(
        file,
        local_data_dirs(home),
        on_result=partial(show_result, metric=file.metric) if not json else lambda _: None,
        weights=save,
    )
    echo_json(outcome) if json else _show_rerun(outcome)
    if not outcome.is_repeat:
        raise typer.Exit(1)


def _show_rerun(outcome: "RerunOutcome") -> None:
    recorded = "" if outcome.recorded is None else f"; recorded {outcome.recorded!r}"
    if outcome.difference is not None:
        recorded += f", difference {outcome.difference!r}"
    echo(f"{outcome.trial_id}: {outcome.metric} {outcome.value!r} after {outcome.step} steps{recorded}")
    if outcome.error is not None:
        echo(f"  failed: {outcome.error}")
    if outcome.edits:
        echo("not a repeat of the recorded training, so the values are not compared:")
    for line in (*outcome.edits, *outcome.changes):
        echo(f"  {line}")


def simulate(
    name: Annotated[str, typer.Argument(help="Name of a finished search.")],
    pruner: Annotated[str, typer.Option(help="Pruner to try, named as in a space file, with default arguments.")],
    sampler: Annotated[
        str | None, typer.Option(help="Sampler to try. Default: replay the recorded configurations.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Number of trials that run at the same time.")] = 1,
    seeds: Annotated[
        int,
        typer.Option(min=0, help="Number of additional replays in shuffled order; with --sampler, with other seeds."),
    ] = 0,
    json: Json = False,
) -> None:
    """Show the training steps that another pruner would have saved, and the loss in the best value.

    The search is replayed from its recorded curves. Nothing is trained, and the search is not changed.
    """
    from lkca_search.records.provenance import import_search_code
    from lkca_search.search.simulation.replay import replay

    folder = Home.from_environment().started_search(name)
    import_search_code(folder)
    result = replay(folder, pruner=pruner, sampler=sampler, num_slots=slots, num_seeds=seeds)
    echo_json(result) if json else _show_replay(result)


def _show_replay(result: "Replay") -> None:
    if result.sampler is None:
        variation = "shuffled orders"
        echo(
            f"search {result.search} with pruner {result.pruner}: trials in recorded order, {result.num_slots} at a "
            "time"
        )
    else:
        variation = "other seeds"
        echo(
            f"search {result.search} with pruner {result.pruner} and sampler {result.sampler}, {result.num_slots} at a "
            "time: each suggestion uses the curve of the nearest recorded configuration"
        )
    header = ("cell", "trials", "pruned", "steps", "saved", f"best {result.metric}", "recorded best", "regret")
    echo_rows(
        (*header, "recorded best pruned"), [_row(cell, is_total=cell is result.cells[-1]) for cell in result.cells]
    )
    if result.spreads:
        echo(f"\nover {result.num_seeds} {variation}: mean (range of the central 95%)")
        columns = ("cell", "pruned", "saved", "regret", "recorded best pruned")
        echo_rows(columns, [_spread_row(cell) for cell in result.spreads])
    if result.num_recorded_pruned:
        echo(
            f"\n{result.num_recorded_pruned} recorded trials were pruned, so their curves are incomplete. "
            f"{result.cells[-1].num_cut_short} of them would have continued here: each ends with its recorded curve "
            "and counts as failed. `saved` is a share of the recorded steps."
        )


def _row(cell: "CellReplay", *, is_total: bool) -> tuple[str, ...]:
    return (
        cell.cell,
        str(cell.num_trials),
        str(cell.num_pruned),
        f"{cell.num_steps:,}",
        f"{cell.share_saved:.0%}",
        _number(cell.best_value),
        _number(cell.recorded_best),
        ("at most " if is_total else "") + _number(cell.regret) if cell.regret is not None else "",
        f"{cell.best_pruned:.0%} of cells" if is_total else "yes" if cell.best_pruned else "no",
    )


def _spread_row(cell: "CellSpread") -> tuple[str, ...]:
    return (
        cell.cell,
        _spread(cell.num_pruned, ".1f"),
        _spread(cell.share_saved, ".0%"),
        _spread(cell.regret, ".4f") if cell.regret else "",
        f"{cell.best_pruned:.0%}",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _spread(spread: "Spread", digits: str) -> str:
    return f"{spread.mean:{digits}} ({spread.low:{digits}} to {spread.high:{digits}})"
