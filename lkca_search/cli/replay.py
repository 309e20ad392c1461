"""Commands that repeat recorded trials: rerun trains one again, simulate replays a search without training."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.home import local_data_dirs
from lkca_search.api.output import check_output_folder
from lkca_search.cli.terminal.arguments import Json, complete_search
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.output import echo_json, echo_rows
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import SearchError, UserError, did_you_mean
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.records.record import Result
    from lkca_search.records.rerun import RerunRecord
    from lkca_search.search.rerun.retraining import RecordedTraining
    from lkca_search.search.simulation.replay_results import CellReplay, CellSpread, Replay, Spread


_Source = Annotated[
    str,
    typer.Argument(
        help="NAME of a search: its champion, or its best trial before the confirmation. NAME/CELL/NUMBER or "
        "NAME/CELL/NUMBER/draw=D,seed=S: that trial or replicate. Or a file: a trial file from `best --yaml`, the JSON "
        "of `best --json`, a record.json, or a configuration. Or the id of an MLflow run, or models:/NAME@champion."
    ),
]
_Changes = Annotated[
    list[str] | None,
    typer.Argument(
        help="CELL/NUMBER or CELL/NUMBER/draw=D,seed=S of the search, and changes: key=value sets a value, ~key "
        "restores its default. A changed training is not compared. Default: none."
    ),
]
_Trial = Annotated[str | None, typer.Option(help="Id of a trial or replicate. Default: the champion of the search.")]
_Seeds = Annotated[
    int, typer.Option(min=0, max=1_000, help="Train this many fresh seeds instead of the recorded one. Default: 0.")
]
_Draws = Annotated[
    int, typer.Option(min=0, max=1_000, help="Train on this many fresh draws instead of the recorded one. Default: 0.")
]
_Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AREA",
        help="Accept a fatal difference, and compare nothing: data, subset, model or own-code. Default: refuse it.",
    ),
]
_Exact = Annotated[bool, typer.Option("--exact", help="Exit with code 1 unless the result is identical, bit for bit.")]
_TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="MLflow store with the search. Default: MLFLOW_TRACKING_URI, else that of the home."
    ),
]
_Save = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Keep the trained model in this folder. Default: not kept.")
]

_Trust = Annotated[
    bool,
    typer.Option(
        "--trust-own-code",
        help="Import the Python modules that a training in MLflow names as its code. Default: refuse. A search of this "
        "home and a file are trusted, as a space file is.",
    ),
]
_Lists = Annotated[
    bool, typer.Option("--list", help="List the reruns of the search so far, and train nothing. Default: train.")
]


def rerun(
    source: _Source,
    overrides: _Changes = None,
    trial: _Trial = None,
    seeds: _Seeds = 0,
    draws: _Draws = 0,
    allow: _Allow = None,
    exact: _Exact = False,
    tracking_uri: _TrackingUri = None,
    save: _Save = None,
    lists: _Lists = False,
    trust_own_code: _Trust = False,
    json: Json = False,
) -> None:
    """Train a recorded trial again, and state whether the result is identical, within tolerance, or different.

    Data, code and machine are compared first. A fatal difference ends the command with code 2. The tolerance is the 95%
    interval of another training, from the spread of the replicates. Exit code 0: identical, within tolerance, or
    undecided, because a fresh seed or draw has no interval; 1: different, or not compared. A pruned trial ends where it
    was pruned.

    The rerun is recorded in the home, and in MLflow as a run of kind `rerun`. No table, study or report counts it.
    """
    from lkca_search.cli.terminal.reruns import show_several
    from lkca_search.search.rerun.design import list_trainings
    from lkca_search.search.rerun.sources import read_source, take_trial

    if lists:
        _list_reruns(source, json=json)
        return
    if tracking_uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    _check_areas(allow or ())
    if save is not None:
        check_output_folder(save, "--save")
    home = Home.from_environment()
    given, changes = take_trial(list(overrides or ()), source, home)
    if given is not None and trial is not None:
        raise UserError(f"a trial must be given once, got {given} and --trial {trial}")
    recorded = read_source(source, given or trial, home, trusts_code=trust_own_code)
    trainings = list_trainings(recorded, changes, seeds=seeds, draws=draws)
    folders = [save and (save / each.label if len(trainings) > 1 else save) for each in trainings]
    records = [
        _train(each, home, allow or (), save=folder, quiet=json)
        for each, folder in zip(trainings, folders, strict=True)
    ]
    outcomes = [record.outcome for record in records]
    if json:
        echo_json(outcomes if seeds or draws else outcomes[0])
    elif len(outcomes) > 1:
        show_several(outcomes)
    if not all(outcome.verdict.is_success(exact=exact) for outcome in outcomes):
        raise typer.Exit(1)


def _list_reruns(search: str, *, json: bool) -> None:
    from lkca_search.cli.terminal.reruns import show_reruns
    from lkca_search.records.rerun import read_reruns, reruns_folder

    records = read_reruns(reruns_folder(Home.from_environment(), search))
    if json:
        echo_json([record.outcome for record in records.values()])
    else:
        show_reruns(records, search)


def _check_areas(allowed: Sequence[str]) -> None:
    from lkca_search.search.rerun.differences import AREAS

    for area in allowed:
        if area not in AREAS:
            raise UserError(f"--allow must be one of {', '.join(AREAS)}, got {area!r}{did_you_mean(area, AREAS)}")


def _train(
    recorded: "RecordedTraining", home: Home, allowed: Sequence[str], *, save: Path | None, quiet: bool
) -> "RerunRecord":
    """Open, show, train, record and log one rerun."""
    from lkca_search.cli.terminal.output import show_result
    from lkca_search.cli.terminal.reruns import show_differences, show_rerun
    from lkca_search.records.rerun import reruns_folder, write_rerun
    from lkca_search.search.rerun.retraining import open_rerun, train
    from lkca_search.tracking.faults import describe_fault
    from lkca_search.tracking.reruns.rerun_run import log_rerun

    opened = open_rerun(recorded, local_data_dirs(home), allowed=allowed)
    if not quiet:
        randomness = f"seed {opened.trial.seed}, draw {opened.trial.configuration.draw}"
        echo(f"{recorded.repeats.search}: {recorded.repeats.trial_id}, {randomness}")
    if not quiet and recorded.file.facts is not None:
        show_differences(opened.edits, opened.changes)
    on_result: Callable[[Result], None] = (
        (lambda _: None) if quiet else partial(show_result, metric=recorded.file.metric)
    )
    record = train(opened, on_result=on_result, save=save)
    path = write_rerun(record, reruns_folder(home, record.repeats.search))
    run, fault = None, ""
    try:
        run = log_rerun(home, record)
    except SearchError as error:  # a home in an object store has no default store
        fault = str(error)
    except Exception as error:  # any error of a store: the record is on disk
        fault = str(describe_fault(error, home))
    if not quiet:
        show_rerun(record.outcome)
        echo(f"record   {path}" + (f"\nMLflow   run {run}" if run else ""))
    if fault:
        echo_prose(f"MLflow lacks the rerun: {fault}", err=True)
    return record


def simulate(
    name: Annotated[str, typer.Argument(autocompletion=complete_search, help="Name of a finished search.")],
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
        echo_prose(
            f"search {result.search} with pruner {result.pruner}: trials in recorded order, {result.num_slots} at a "
            "time"
        )
    else:
        variation = "other seeds"
        echo_prose(
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
        echo_prose(
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
