"""Commands that train, that end a training, and that send what it left: run, confirm, stop, rerun, sync."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.data import data_dir, download_bars
from lkca_search.cli.output import Json, echo_json, show_status, show_what_next
from lkca_search.cli.progress import progress
from lkca_search.cli.submit import AskedAddress, ask_cluster
from lkca_search.errors import UserError
from lkca_search.layout import Home
from lkca_search.spec.space_file import read_space_file

if TYPE_CHECKING:
    from lkca_search.search.run import RunContext, RunOutcome
    from lkca_search.tracking.tracker import Tracker
    from lkca_search.training.images import DataDirs

Address = Annotated[str | None, typer.Option(help="Ray cluster; by default one of this machine's own.")]
NumCpus = Annotated[int | None, typer.Option(min=1, help="Cores for a cluster of one's own.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(run)
    app.command()(confirm)
    app.command()(stop)
    app.command()(rerun)
    app.command()(sync)


def run(
    space: Annotated[Path, typer.Argument(help="Space file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, or ~key.sub to leave it out.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search; by default that of the file.")] = None,
    address: Address = None,
    num_cpus: NumCpus = None,
    hours: Annotated[float | None, typer.Option(help="limits.hours: no new trial after these.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="limits.max_failures: no new trial after more.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="No new trial after one that failed.")] = False,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="LKCA_SEARCH_LEDGER", help="postgresql://USER@HOST/DB; by default SQLite."),
    ] = None,
    json: Json = False,
) -> None:
    """Start a search, or continue it: the same command goes on where it was cut off.

    Ctrl-C finishes the trials that run and ends; a second one ends at once. With `confirm` in the space file the best
    configurations are retrained and tested at the end, as by the command `confirm`.
    """
    space_file = read_space_file(space, [*(overrides or ()), *_limits(hours, max_failures, fail_fast=fail_fast)])
    home = Home.from_environment()
    folder = home.search(name or space.stem).stored_at(space_file.spec.storage)
    from lkca_search.search.run import run_search
    from lkca_search.training.images import open_train_images

    data_dirs = _data_dirs(home)
    with download_bars(quiet=json) as bars:  # before the live table, which would share the terminal with them
        open_train_images(space_file.spec.data, data_dirs, progress=bars)
    with progress(space_file.spec, folder, quiet=json) as console:
        context = _surroundings(home, console, address, num_cpus, ledger)
        outcome = run_search(space_file, folder, context)
    _conclude(outcome, json=json)
    if not outcome.status.is_answered:
        raise typer.Exit(1)


def confirm(
    name: Annotated[str, typer.Argument(help="Name of the search.")],
    draws: Annotated[
        int | None, typer.Option(min=1, help="Fresh subset draws; by default as the space file says.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings on each draw.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Configurations of every cell.")] = None,
    new_round: Annotated[
        bool, typer.Option("--new-round", help="Freeze anew; earlier rounds stay and are told.")
    ] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Though trials are due: unequal budgets.")] = False,
    address: Address = None,
    num_cpus: NumCpus = None,
    json: Json = False,
) -> None:
    """Retrain the best configuration of each cell on fresh draws with fresh seeds, and test each training once.

    The configurations are frozen in a round that is sealed; the same command goes on with it where it was cut off.
    """
    from lkca_search.search.run import confirm as train_replicates
    from lkca_search.search.state.resume import read_spec
    from lkca_search.training.testing import open_test_images

    home = Home.from_environment()
    folder = home.started_search(name)
    spec, data_dirs = read_spec(folder), _data_dirs(home)
    asked = {key: value for key, value in (("draws", draws), ("seeds", seeds), ("top", top)) if value is not None}
    with download_bars(quiet=json) as bars:
        open_test_images(spec.data, data_dirs, progress=bars)
    with progress(spec, folder, quiet=json) as console:
        context = _surroundings(home, console, address, num_cpus)
        outcome = train_replicates(folder, asked, context, new_round=new_round, unfinished=unfinished)
    _conclude(outcome, json=json)
    if outcome.status.rounds[-1].num_left:
        raise typer.Exit(1)


def _surroundings(
    home: Home, console: "Tracker", address: str | None, num_cpus: int | None, ledger: str | None = None
) -> "RunContext":
    from lkca_search.search.run import RunContext

    return RunContext(
        home=home,
        data_dirs=_data_dirs(home),
        console=console,
        notify=_notify,
        address=address or os.environ.get("RAY_ADDRESS") or None,
        num_cpus=num_cpus,
        ledger=ledger,
    )


def _conclude(outcome: "RunOutcome", *, json: bool) -> None:
    """Print how a search stands once its driver has ended, and what is not as it should be."""
    if json:
        echo_json(outcome.status)
    else:
        show_status(outcome.status)
        show_what_next(outcome.status)
    if outcome.tracking_error is not None:
        missing = f"MLflow lacks at least {outcome.num_untracked} runs ({outcome.tracking_error})"
        typer.echo(f"{missing}; nothing is lost: the same command sends them", err=True)
    if outcome.halt_reason is not None:
        typer.echo(f"ended early: {outcome.halt_reason}", err=True)


def stop(
    name: Annotated[str, typer.Argument(help="Name of the search.")],
    now: Annotated[bool, typer.Option("--now", help="Abandon the trials that run; `run` goes on with them.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Ask, and do not wait for the end.")] = False,
    address: AskedAddress = None,
    json: Json = False,
) -> None:
    """End a search that runs, from any terminal: what runs is finished, nothing new is started; `run` continues it."""
    if address is not None:
        flags = {"--now": now, "--no-wait": no_wait, "--json": json}
        ask_cluster(address, name, "stop", name, *(flag for flag, given in flags.items() if given))
    from lkca_search.search.driver.stopping import request_stop, wait_until_stopped
    from lkca_search.search.state.status import search_status

    folder = Home.from_environment().started_search(name)
    driver = request_stop(folder, now=now)
    if not no_wait:
        wait_until_stopped(folder, driver)
    status = search_status(folder)
    if json:
        echo_json(status)
        return
    has_ended = "is asked to end" if no_wait else "has ended"
    done = f"{status.num_finished} of {status.num_planned} trials are finished, {status.num_left} are left"
    typer.echo(f"search {name} {has_ended}: {done}")


def rerun(
    what: Annotated[str, typer.Argument(help="A search's name, or a file from `best --yaml`.")],
    trial: Annotated[str | None, typer.Option(help="Trial id; by default the search's best.")] = None,
    save: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the weights here, a state dict.")] = None,
    json: Json = False,
) -> None:
    """Train a trial again with the seeds it had, and say how far its metric is from the recorded one."""
    from lkca_search.cli.output import show_result
    from lkca_search.search.rerun import TrialFile
    from lkca_search.search.rerun import rerun as train_again
    from lkca_search.search.state.status import find_record

    home = Home.from_environment()
    if Path(what).suffix in (".yaml", ".yml"):
        if trial is not None:
            raise UserError(f"--trial picks a trial of a search, and {what} is a trial file; leave one of them out")
        file = TrialFile.read(Path(what))
    else:
        file = TrialFile.from_record(find_record(home.started_search(what), trial_id=trial))
    outcome = train_again(file, _data_dirs(home), on_result=show_result if not json else lambda _: None, weights=save)
    if json:
        echo_json(outcome)
        return
    recorded = "" if outcome.recorded is None else f"; recorded {outcome.recorded!r}, difference {outcome.difference!r}"
    typer.echo(f"{outcome.trial_id}: {outcome.metric} {outcome.value!r}{recorded}")
    for change in outcome.changes:
        typer.echo(f"  {change}")


def sync(name: Annotated[str, typer.Argument(help="Name of the search.")]) -> None:
    """Send MLflow what it lacks of a search that does not run: trials that ended while it was away."""
    from lkca_search.search.sync import sync as send

    home = Home.from_environment()
    delivery = send(home.started_search(name), home)
    typer.echo(f"search {name}: {delivery.num_sent} trials sent, {delivery.num_missing} missing")
    if delivery.error is not None:
        typer.echo(f"MLflow: {delivery.error}; nothing is lost: the same command goes on", err=True)
        raise typer.Exit(1)


def _limits(hours: float | None, max_failures: int | None, *, fail_fast: bool) -> list[str]:
    """The overrides that the options of `run` stand for."""
    if fail_fast and max_failures is not None:
        raise UserError("--fail-fast is --max-failures 0; give one of them")
    failures = 0 if fail_fast else max_failures
    named = {"limits.hours": hours, "limits.max_failures": failures}
    return [f"{name}={value}" for name, value in named.items() if value is not None]


def _notify(line: str) -> None:
    typer.echo(line, err=True)


def _data_dirs(home: Home) -> "DataDirs":
    from lkca_search.training.images import DataDirs

    return DataDirs(cache=home.datasets, data_dir=data_dir())
