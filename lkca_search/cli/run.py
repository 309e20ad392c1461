"""Commands that train or stop a search: run, confirm, stop."""

import math
import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from lkca_search.api.home import local_data_dirs
from lkca_search.api.run import Display, drive, make_context
from lkca_search.api.space import limits
from lkca_search.cli.data import download_bars
from lkca_search.cli.submit import run_on_cluster
from lkca_search.cli.terminal.arguments import (
    LIMITS,
    Headers,
    Json,
    Ledger,
    Name,
    NumCpus,
    Overrides,
    RayAddress,
    RemoteAddress,
    SearchName,
    Space,
    Verify,
)
from lkca_search.cli.terminal.folding import echo_note, echo_prose
from lkca_search.cli.terminal.output import echo_json, show_next_steps, show_status
from lkca_search.cli.terminal.progress import progress
from lkca_search.cli.terminal.streams import echo
from lkca_search.errors import MissingFolderError, SearchError, UserError
from lkca_search.layout import Home
from lkca_search.records.provenance import import_search_code
from lkca_search.records.record import RecordReader
from lkca_search.search.jobs.versions import SUBMITTED_WITH

if TYPE_CHECKING:
    from lkca_search.search.run_context import RunOutcome
    from lkca_search.spec.search_spec import SearchSpec

_START_SECONDS = 3.0
"""Time for a driver that has just been started to hold its lease, before `stop` reports that none is running."""


def run(
    space: Space,
    overrides: Overrides = None,
    name: SearchName = None,
    address: RayAddress = None,
    num_cpus: NumCpus = None,
    hours: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=LIMITS,
            help="Start no new trial after this many hours. Default: limits.hours of the space file, else no limit.",
        ),
    ] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=LIMITS,
            help="Start no new trial once more trials than this have failed. Default: limits.max_failures of the space "
            "file, else no limit.",
        ),
    ] = None,
    fail_fast: Annotated[
        bool,
        typer.Option(
            "--fail-fast",
            rich_help_panel=LIMITS,
            help="Start no new trial after the first failure. Same as --max-failures 0.",
        ),
    ] = False,
    ledger: Ledger = None,
    json: Json = False,
) -> None:
    """Start a search, or resume it. Finished trials are not trained again.

    Ctrl-C starts no new trial and finishes the running ones. A second Ctrl-C stops at once; `run` resumes the
    interrupted trials from their checkpoints.

    If the space file has a section `confirm`, the best configurations are confirmed at the end, as by `confirm`.
    """
    _, outcome = drive(
        space,
        [*(overrides or ()), *limits(_hours(hours), _max_failures(max_failures, fail_fast=fail_fast))],
        home=Home.from_environment(),
        name=name,
        address=address,
        num_cpus=num_cpus,
        ledger=ledger,
        display=Display(
            notify=echo_note,
            downloads=partial(download_bars, quiet=json),
            trials=partial(progress, quiet=json),
        ),
    )
    _print_outcome(outcome, json=json)
    if not outcome.status.is_answered:
        raise typer.Exit(1)


def confirm(
    name: Name,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of fresh training subsets per configuration. Default: confirm.draws of the space file, else 5 "
            "(one per repeat if the space file sets search.repeats).",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of trainings per subset. Default: confirm.seeds of the space file, else 2."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Number of best trials per cell. Default: confirm.top of the space file, else 1."),
    ] = None,
    new_round: Annotated[
        bool,
        typer.Option("--new-round", help="Select the best trials again, in a new round. Earlier rounds are kept."),
    ] = False,
    unfinished: Annotated[
        bool,
        typer.Option(
            "--unfinished",
            help="Confirm before all trials are finished: cells then have unequal budgets. Default: error.",
        ),
    ] = False,
    address: RayAddress = None,
    num_cpus: NumCpus = None,
    json: Json = False,
) -> None:
    """Retrain the best configuration of each cell with fresh seeds and subsets, and test each training once.

    A round stores the selected configurations and does not change afterwards. Repeat the command to resume a round.
    """
    from lkca_search.search.ray_backend.address import choose_address
    from lkca_search.search.state.lease import hold_lease

    home = Home.from_environment()
    folder = home.started_search(name)
    import_search_code(folder)
    cluster = choose_address(address, os.environ)
    requested = {key: value for key, value in (("draws", draws), ("seeds", seeds), ("top", top)) if value is not None}
    with hold_lease(folder, notify=echo_note) as lease:
        from lkca_search.records.stored_spec import read_spec
        from lkca_search.search.run import confirm as train_replicates

        spec = read_spec(folder)
        _check_test_images(spec, home, name, quiet=json)
        reader = RecordReader(folder)
        with progress(spec, folder, reader, quiet=json) as console:
            context = make_context(folder, console, reader, notify=echo_note, address=cluster, num_cpus=num_cpus)
            outcome = train_replicates(folder, requested, lease, context, new_round=new_round, unfinished=unfinished)
    _print_outcome(outcome, json=json)
    if outcome.status.rounds[-1].num_left:
        raise typer.Exit(1)


def _check_test_images(spec: "SearchSpec", home: Home, name: str, *, quiet: bool) -> None:
    """Open the test images of a search, with progress bars for downloads, before its driver starts."""
    from lkca_search.training.testing import open_all_test_images

    try:
        with download_bars(quiet=quiet) as bars:
            open_all_test_images(spec, local_data_dirs(home), progress=bars)
    except MissingFolderError as error:
        raise error.with_step(f"first repeat `lkca-search run` of {name} with data.dataset=") from error


def _print_outcome(outcome: "RunOutcome", *, json: bool) -> None:
    """Print the status at the end of a driver, and the warnings."""
    if json:
        echo_json(outcome.status)
    else:
        show_status(outcome.status)
        show_next_steps(outcome.status, is_job=SUBMITTED_WITH in os.environ)
    if outcome.tracking_fault is not None:
        lacking = f"at least {outcome.num_untracked} runs" if outcome.num_untracked else "the end of the search"
        reason = "the reason is in an earlier line" if outcome.is_fault_told else f"{outcome.tracking_fault}"
        missing = f"MLflow lacks {lacking}: {reason}."
        send = f"Then send them from the records on disk: lkca-search sync {outcome.status.name}"
        echo_prose(f"{missing} {send}", err=True)
    if outcome.halt_reason is not None:
        echo_prose(f"ended early: {outcome.halt_reason}", err=True)


def stop(
    name: Name,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Interrupt the running trials; `run` resumes them from their checkpoints. Default: finish them.",
        ),
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return at once. Default: wait until the search has ended.")
    ] = False,
    address: RemoteAddress = None,
    headers: Headers = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Stop a running search from any terminal: finish the running trials and start no new one. `run` resumes it."""
    if address is not None:
        flags = {"--now": now, "--no-wait": no_wait, "--json": json}
        set_flags = [flag for flag, is_set in flags.items() if is_set]
        run_on_cluster(address, name, "stop", name, *set_flags, headers=headers, verify=verify)
    from lkca_search.search.driver.stopping import request_stop, wait_until_stopped
    from lkca_search.search.state.status import read_status

    home = Home.from_environment()
    folder = home.search(name)
    try:
        driver = request_stop(folder, now=now, patience_seconds=_START_SECONDS)
    except SearchError:
        home.started_search(name)  # a search that does not exist has a better message
        raise
    if not no_wait:
        wait_until_stopped(folder, driver)
    state = "is stopping" if no_wait else "has stopped"
    if not folder.spec.exists():  # its driver has not committed it yet
        echo("null" if json else f"search {name} {state} before a trial was started")
        return
    status = read_status(folder)
    if json:
        echo_json(status)
        return
    done = f"{status.num_finished} of {status.num_planned} trials finished, {status.num_left} left"
    if left := status.num_replicates_left:
        done += f"; {status.num_replicates - left} of {status.num_replicates} replicates finished, {left} left"
    echo(f"search {name} {state}: {done}")


def _hours(hours: float | None) -> float | None:
    if hours is not None and not 0 < hours < math.inf:
        raise UserError(f"--hours must be a number above 0, got {hours:g}; omit it for no limit")
    return hours


def _max_failures(max_failures: int | None, *, fail_fast: bool) -> int | None:
    if fail_fast and max_failures is not None:
        raise UserError("--fail-fast is the same as --max-failures 0; use one of them")
    if max_failures is not None and max_failures < 0:
        raise UserError(f"--max-failures must be at least 0, got {max_failures}; omit it for no limit")
    return 0 if fail_fast else max_failures
