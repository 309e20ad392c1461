"""Commands that work through a Ray cluster from outside: submit, logs, and `status` and `stop` with an address."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lkca_search.cli.output import Json, echo_json
from lkca_search.errors import UserError
from lkca_search.layout import check_name
from lkca_search.spec.space_file import read_space_file

if TYPE_CHECKING:
    from lkca_search.search.jobs.client import JobsClient, SearchJob

_INTERRUPTED = 130

Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="Dashboard of the cluster: http://HEAD:8265."),
]
AskedAddress = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Ask on the Ray cluster with this dashboard, http://HEAD:8265; no variable stands for it.",
    ),
]
"""For commands that by default look at this machine: nothing but the flag sends them elsewhere."""


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(submit)
    app.command()(logs)


def submit(
    space: Annotated[Path | None, typer.Argument(help="Space file.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, or ~key.sub to leave it out.")] = None,
    address: Address = None,
    name: Annotated[str | None, typer.Option(help="Name of the search; by default that of the file.")] = None,
    home: Annotated[str | None, typer.Option(help="LKCA_SEARCH_HOME of the cluster: absolute path or URL.")] = None,
    ledger: Annotated[str | None, typer.Option(help="LKCA_SEARCH_LEDGER of the cluster: a database's URL.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="LKCA_DATA_DIR of the cluster: a path on every node.")] = None,
    include: Annotated[
        list[Path] | None, typer.Option(help="File or folder to ship, as samplers of one's own.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Variable of the job.")] = None,
    max_size: Annotated[float, typer.Option(min=0, metavar="MB", help="Most that is shipped.")] = 20,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit, and do not wait for the end.")] = False,
    follow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Submit nothing; follow this search's job.")
    ] = None,
    json: Json = False,
) -> None:
    """Start or continue a search on a Ray cluster, as a job there; show its log, and end as its driver ends.

    Ctrl-C leaves the job alone.
    """
    if (space is None) == (follow is None):
        raise UserError("submit takes a space file, or --follow and the name of a search that was submitted")
    if follow is not None:
        if any((name, home, ledger, data_dir, include, env, no_wait)):
            raise UserError("--follow submits nothing, so that no other option goes with it but --address and --json")
        _follow(cluster := _connect(address), cluster.newest_job(follow), json=json)
        return
    assert space is not None
    read_space_file(space, overrides or ())
    name = name or space.stem
    check_name(name)
    from lkca_search.search.jobs.submission import build_submission
    from lkca_search.search.jobs.working_dir import collect_working_dir

    submission = build_submission(
        name=name,
        space=space.name,
        overrides=overrides or (),
        options={"LKCA_SEARCH_HOME": home, "LKCA_SEARCH_LEDGER": ledger, "LKCA_DATA_DIR": data_dir},
        variables=env or (),
        local_environment=os.environ,
    )
    working_dir = collect_working_dir(space=space, include=include or (), max_megabytes=max_size)
    cluster = _connect(address)
    job = cluster.submit(submission, working_dir)
    if not no_wait:
        _follow(cluster, job, json=json)
    elif json:
        echo_json(job)
    else:
        _introduce(job)
        typer.echo(_how_to_go_on(job))


def logs(
    name: Annotated[str, typer.Argument(help="Name of the search.")],
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends, and end as it does.")] = False,
) -> None:
    """Show what the newest driver of a submitted search has printed."""
    cluster = _connect(address)
    job = cluster.newest_job(name)
    if follow:
        _follow(cluster, job, json=False)
    else:
        typer.echo(cluster.log(job.job_id), nl=False)


def ask_cluster(address: str, name: str, *arguments: str) -> NoReturn:
    """Run a command on a search's cluster, print what it prints there, and end with its exit code."""
    from lkca_search.search.jobs.client import JobsClient

    result = JobsClient(address).run_remote_command(name, *arguments)
    typer.echo(result.stdout, nl=False)
    typer.echo(result.stderr, nl=False, err=True)
    raise typer.Exit(result.exit_code)


def _connect(address: str | None) -> "JobsClient":
    from lkca_search.search.jobs.client import JobsClient

    if not address:
        raise UserError("which cluster? Give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")
    return JobsClient(address)


def _follow(cluster: "JobsClient", job: "SearchJob", *, json: bool) -> None:
    """Show a job's log until it ends, on standard error if standard output is for JSON; end as it ends."""
    _introduce(job, err=json)
    try:
        ended = cluster.follow(job.job_id, lambda text: typer.echo(text, nl=False, err=json))
    except KeyboardInterrupt:
        typer.echo(f"\nleft job {job.job_id} alone, it goes on\n{_how_to_go_on(job)}", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except ConnectionError as error:
        typer.echo(f"{error}\nif the cluster is lost, the same `submit` on a new one goes on", err=True)
        raise typer.Exit(1) from error
    sys.stdout.flush()
    if json:
        echo_json(ended)
    if ended.status != "SUCCEEDED":
        reason = "" if ended.exit_code is not None else f": {ended.message}"
        code = "" if ended.exit_code is None else f" with exit code {ended.exit_code}"
        typer.echo(f"job {ended.job_id} ended as {ended.status}{code}{reason}", err=True)
    raise typer.Exit(1 if ended.exit_code is None else ended.exit_code)


def _introduce(job: "SearchJob", *, err: bool = False) -> None:
    typer.echo(f"search {job.search} is job {job.job_id} at {job.address}", err=err)


def _how_to_go_on(job: "SearchJob") -> str:
    at = f"{job.search} --address {job.address}"
    return f"follow   lkca-search submit --follow {at}\nstop     lkca-search stop {at}"
