"""Commands that read searches: status, list, best, ui."""

import errno
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from lkca_search.cli.submit import run_on_cluster
from lkca_search.cli.terminal.arguments import Headers, Json, Name, RemoteAddress, Verify, complete_search
from lkca_search.cli.terminal.folding import echo_prose
from lkca_search.cli.terminal.live_view import CroppedView
from lkca_search.cli.terminal.output import (
    echo_json,
    echo_rows,
    show_best,
    show_best_of_cells,
    show_front,
    show_left,
    show_status,
    show_unequal_validation,
    status_view,
    warn_of_damage,
)
from lkca_search.cli.terminal.streams import can_refresh, console, echo, output_is_lost
from lkca_search.errors import UserError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import file_url
from lkca_search.records.search.uid import uid_or_name
from lkca_search.reporting.values.numbers import format_bytes, pluralize

if TYPE_CHECKING:
    from lkca_search.search.state.status import StatusReader
    from lkca_search.spec.search_spec import SearchSpec
    from lkca_search.tracking.search_run.search_run import SearchRun


def status(
    name: Name,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the search ends. Ctrl-C stops watching.")
    ] = False,
    every: Annotated[
        float,
        typer.Option(min=0.1, max=86_400, metavar="SECONDS", help="Seconds between refreshes of --watch."),
    ] = 2.0,
    address: RemoteAddress = None,
    headers: Headers = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Show the progress of each cell of a search, running or not."""
    if address is not None:
        if watch:
            raise UserError(
                "--watch and --address cannot be combined; `lkca-search submit --follow NAME` watches a job"
            )
        run_on_cluster(address, name, "status", name, *(["--json"] if json else []), headers=headers, verify=verify)
    from lkca_search.search.state.status import StatusReader

    reader = StatusReader(Home.from_environment().started_search(name))
    if watch:
        try:
            _watch(reader, every, json=json)
        except KeyboardInterrupt:
            return
    status = reader.read()
    echo_json(status) if json else show_status(status)
    if not (json or status.is_driven):
        show_left(status, "its `run`, `confirm` or `submit`")


def _watch(reader: "StatusReader", seconds: float, *, json: bool) -> None:
    """Show the status until the driver ends: refreshed in place if the terminal can, else one below the other."""
    status = reader.read()
    if not json and can_refresh():
        with Live(console=console(), auto_refresh=False, transient=True) as live:
            while status.is_driven:
                live.update(CroppedView(status_view(status)), refresh=True)
                time.sleep(seconds)
                status = reader.read()
    while status.is_driven and not output_is_lost():
        echo_json(status) if json else show_status(status)
        time.sleep(seconds)
        status = reader.read()


def list_searches(json: Json = False) -> None:
    """List all searches in LKCA_SEARCH_HOME, their progress and their size with the trials in their storage."""
    from lkca_search.search.housekeeping.sizes import measure_home
    from lkca_search.search.state.status import list_statuses

    home = Home.from_environment()
    statuses, unreadable = list_statuses(home)
    sizes = measure_home(home)
    if json:
        listed = [{**each.model_dump(mode="json"), "num_bytes": sizes.get(each.name)} for each in statuses]
        listed += [{**each.model_dump(mode="json"), "num_bytes": sizes.get(each.name)} for each in unreadable]
        echo(dumps(listed, indent=1))
        return
    rows = [
        (
            status.name,
            f"{status.num_finished}/{status.num_planned}",
            _size(sizes, status.name),
            "running" if status.is_driven else _interrupted(home, status.name),
            pluralize(status.num_damaged, "file") if status.num_damaged else "",
        )
        for status in statuses
    ]
    rows += [(search.name, "", _size(sizes, search.name), "", search.damaged[0].damage) for search in unreadable]
    shown = 5 if any(row[4] for row in rows) else 4
    header = ("search", "finished", "size", "driver", "damaged")
    echo_rows(header[:shown], [row[:shown] for row in sorted(rows)])
    if not rows:
        missing = isinstance(home.root, Path) and not home.root.exists()
        text = f"no search in {home.root}{', which does not exist' if missing else ''} (LKCA_SEARCH_HOME)"
        console(err=True).print(text, soft_wrap=True, markup=False, highlight=False)


def _size(sizes: Mapping[str, int | None], name: str) -> str:
    return "" if (num_bytes := sizes.get(name)) is None else format_bytes(num_bytes)


def _interrupted(home: Home, name: str) -> str:
    """Return the command that was interrupted while it removed or renamed a search; empty if there is none."""
    from lkca_search.search.state.driver_lock import read_mark

    with suppress(OSError, ValueError):
        mark = read_mark(home.search(name))
        return f"interrupted: {mark.command}" if mark else ""
    return ""


def best(
    name: Name,
    cell: Annotated[
        str | None,
        typer.Option(
            help="Only this cell, named as in `status`. Default: all cells, unless they have different datasets."
        ),
    ] = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print a trial file, which `rerun` accepts.")] = False,
    json: Json = False,
) -> None:
    """Show the champion of a confirmed search, then the best trial of the search or a cell.

    The champion is the replicate that `predict`, `export` and `rerun` take by the name of the search. --yaml takes it
    too, and so does --json for one metric; before a confirmation, they take the best value. If cells have unequal
    validation images, show the best trial of each. With several metrics, show the Pareto front.
    """
    from lkca_search.records.objectives import find_ties
    from lkca_search.records.record import RecordReader
    from lkca_search.records.stored_spec import read_spec
    from lkca_search.search.rerun.trial_file import TrialFile
    from lkca_search.search.state.best_trials import (
        best_of_cells,
        find_best_records,
        list_best_trials,
        read_champion,
        validation_sizes,
    )

    if yaml and json:
        raise UserError("--yaml and --json cannot be combined; use one of them")
    folder = Home.from_environment().started_search(name)
    spec, reader = read_spec(folder), RecordReader(folder)
    front = find_best_records(folder, cell=cell, reader=reader)
    warn_of_damage(reader.findings, name)
    trials = list_best_trials(front, spec.search) if len(spec.search.metrics) > 1 else []
    champion = read_champion(folder, reader, cell=cell)
    best_by_cell = best_of_cells(reader.trials(), spec)
    sizes = validation_sizes(best_by_cell.values()) if cell is None else None
    if champion is not None and not (yaml or json):
        echo(f"champion {champion.trial_id}: the replicate of `predict`, `export` and `rerun {name}`")
    num_tied = len(find_ties(front, spec.search))
    if yaml:
        echo(TrialFile.from_record(champion or front[0]).to_yaml(), nl=False)
    elif json:
        echo_json(trials or champion or front[0])
    elif trials:
        show_front(trials, name, num_tied=num_tied)
    elif sizes is None:
        show_best(front[0], num_tied=num_tied, has_champion=champion is not None)
    else:
        show_best_of_cells(best_by_cell, search=name)
    if sizes is not None and not (champion and (yaml or json)):
        show_unequal_validation(sizes, search=name, is_confirmed=champion is not None, err=yaml or json)


def ui(
    name: Annotated[
        str | None, typer.Argument(autocompletion=complete_search, help="Show only this search. Default: all searches.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server on 127.0.0.1.")] = 5000,
) -> None:
    """Start MLflow's web page with all runs, on 127.0.0.1. Ctrl-C ends it.

    If MLFLOW_TRACKING_URI is a server, print the address of the runs there and exit.
    """
    from lkca_search.records.stored_spec import read_spec
    from lkca_search.tracking.connection import is_default_store, mlflow_command, tracking_uri, without_login

    home = Home.from_environment()
    uri = tracking_uri(home)
    folder = None if name is None else home.started_search(name)
    pages = _pages(home, folder, None if folder is None else read_spec(folder))
    if uri.startswith(("http://", "https://")):
        server = without_login(uri).rstrip("/")
        echo(f"The runs are on the MLflow server: {server}/{pages.pop('trials')}")
        _echo_pages(server, pages)
        return
    _check_port(port)
    server = f"http://127.0.0.1:{port}"
    echo(f"MLflow starts on {server}/{pages.pop('trials')} (Ctrl-C ends it)")
    _echo_pages(server, pages)
    if is_default_store():  # without the variable, they make a database of their own
        echo(f"\nMLflow's own commands: {mlflow_command(home, 'COMMAND')}")
    command = ["mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1"]  # four by default: a busy machine kills and restarts them while they import MLflow
    command += ["--artifacts-destination", file_url(home.mlflow_artifacts)]
    # A warning of MLflow's own code, which no user can mend.
    warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:starlette.middleware.wsgi is"]))
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": warnings}
    sys.stdout.flush()
    # The server replaces this process, so that a signal to this process ends the server.
    os.execve(sys.executable, [sys.executable, "-m", *command], environment)


def _check_port(port: int) -> None:
    """Exit with code 1 if a server cannot listen on a port of 127.0.0.1: MLflow's would end with exit code 0."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
            server.listen()  # only this fails on Linux if the other socket allows to reuse its address
        except OSError as error:
            reason = "another program listens on it" if error.errno == errno.EADDRINUSE else error.strerror
            what = f"MLflow's page cannot start on port {port} of 127.0.0.1: {reason}"
            echo_prose(f"{what}. Choose another one by --port, or end that program.", err=True)
            raise typer.Exit(1) from error  # not 2: the same command succeeds once the port is free


def _echo_pages(server: str, pages: Mapping[str, str]) -> None:
    width = max(map(len, pages), default=0)
    for title, page in pages.items():
        echo(f"{title.ljust(width)}  {server}/{page}")


def _pages(home: Home, folder: SearchFolder | None, spec: "SearchSpec | None") -> dict[str, str]:
    """Return the path and query of the page with the trials, and of others by their title.

    Exit with code 1 if the store cannot be used. If it refuses to save views, print one line.
    """
    from lkca_search.tracking.experiment import open_client
    from lkca_search.tracking.faults import StoreError, describe_fault
    from lkca_search.tracking.runs import describe_missing, find_search_run, runs_page

    try:
        opened = open_client(home)
        missing = None
        try:
            name = folder.name if folder else None
            section = spec.search if spec else None
            metric, direction = (section.metrics[0], section.directions[0]) if section else ("val_accuracy", "maximize")
            pages = {"trials": runs_page(opened.client, home, name, metric, direction=direction)}
            if folder is not None and spec is not None:
                missing = describe_missing(opened.client, home, uid_or_name(folder))
                if run := find_search_run(opened.client, home, uid_or_name(folder)):
                    pages |= _saved_views(run, folder, spec)
        except StoreError as error:  # the server can start: it also shows other experiments
            pages, missing = {"trials": ""}, error.fault
    except Exception as error:  # any error of a store
        echo_prose(f"MLflow: {describe_fault(error, home)}. Then repeat the command.", err=True)
        raise typer.Exit(1) from error
    for line in (*opened.notices, *([missing] if missing else [])):
        echo_prose(f"MLflow: {line}", err=True)
    return pages


def _saved_views(run: "SearchRun", folder: SearchFolder, spec: "SearchSpec") -> dict[str, str]:
    """Return the pages with the views of a search; only that of its run, and one line, if the store refuses them."""
    from lkca_search.records.rounds import read_rounds
    from lkca_search.tracking.faults import describe_fault
    from lkca_search.tracking.pages.saved_view import save_views

    try:
        return save_views(run, spec, search=folder.name, is_confirmed=bool(read_rounds(folder)))
    except Exception as error:  # any error of a store: a server may be read-only
        fault = describe_fault(error, folder.home)
        echo(f"MLflow: the views are not saved, and the page lists all runs: {fault}", err=True)
        return {"search": run.page}
