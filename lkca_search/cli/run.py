"""Commands that train: run, rerun."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.data import data_dir, download_bars
from lkca_search.cli.output import Json, echo_json, show_standing, show_what_next
from lkca_search.cli.progress import progress
from lkca_search.errors import UserError
from lkca_search.space_file import read_space_file
from lkca_search.storage import Home

if TYPE_CHECKING:
    from lkca_search.training.assembly import DataPlace


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(run)
    app.command()(rerun)


def run(
    space: Annotated[Path, typer.Argument(help="Space file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, or ~key.sub to leave it out.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search; by default that of the file.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; by default one of this machine's own.")] = None,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="Cores for a cluster of one's own.")] = None,
    json: Json = False,
) -> None:
    """Start a search, or continue it: the same command goes on where it was cut off."""
    space_file = read_space_file(space, overrides or ())
    home = Home.from_environment()
    folder = home.search(name or space.stem)
    from lkca_search.search.launch import launch
    from lkca_search.training.assembly import open_train_images

    place = _place(home)
    with download_bars(quiet=json) as bars:  # before the live table, which would share the terminal with them
        open_train_images(space_file.spec.data, place, progress=bars)
    address = address or os.environ.get("RAY_ADDRESS") or None
    with progress(space_file.spec, folder, quiet=json) as console:
        outcome = launch(
            space_file, folder, home=home, place=place, console=console, address=address, num_cpus=num_cpus
        )
    if json:
        echo_json(outcome.standing)
    else:
        show_standing(outcome.standing)
        show_what_next(outcome.standing)
    if outcome.tracking_error is not None:
        missing = f"MLflow lacks at least {outcome.num_untracked} trials ({outcome.tracking_error})"
        typer.echo(f"{missing}; nothing is lost: the same command sends them", err=True)
    if not outcome.standing.is_answered:
        raise typer.Exit(1)


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
    from lkca_search.search.standings import find_record

    home = Home.from_environment()
    if Path(what).suffix in (".yaml", ".yml"):
        if trial is not None:
            raise UserError(f"--trial picks a trial of a search, and {what} is a trial file; leave one of them out")
        file = TrialFile.read(Path(what))
    else:
        file = TrialFile.from_record(find_record(home.started_search(what), trial_id=trial))
    outcome = train_again(file, _place(home), on_result=show_result if not json else lambda _: None, weights=save)
    if json:
        echo_json(outcome)
        return
    recorded = "" if outcome.recorded is None else f"; recorded {outcome.recorded!r}, difference {outcome.difference!r}"
    typer.echo(f"{outcome.trial_id}: {outcome.metric} {outcome.value!r}{recorded}")
    for change in outcome.changes:
        typer.echo(f"  {change}")


def _place(home: Home) -> "DataPlace":
    from lkca_search.training.assembly import DataPlace

    return DataPlace(cache=home.datasets, data_dir=data_dir())
