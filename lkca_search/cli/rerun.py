"""The command `rerun`: trains a recorded trial again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.cli.arguments import Json, check_output_file
from lkca_search.cli.data import local_data_dirs
from lkca_search.cli.terminal.output import echo_json
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import UserError
from lkca_search.layout import Home

if TYPE_CHECKING:
    from lkca_search.search.rerun import RerunOutcome


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
        file = TrialFile.from_record(find_record(home.started_search(source), trial))
    outcome = train_again(
        file, local_data_dirs(home), on_result=show_result if not json else lambda _: None, weights=save
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
