"""Commands for a search on a remote Ray cluster: submit, logs, and `status` and `stop` with --address."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lkca_search.api.space import choose_name
from lkca_search.cli.terminal.arguments import Headers, JobsAddress, Json, Name, Overrides, SearchName, Verify
from lkca_search.cli.terminal.folding import echo_note, echo_prose
from lkca_search.cli.terminal.output import echo_json
from lkca_search.cli.terminal.streams import echo, output_is_lost
from lkca_search.errors import UserError
from lkca_search.spec.space_file import read_space_file

if TYPE_CHECKING:
    from lkca_search.search.jobs.client import JobsClient, SearchJob

_INTERRUPTED = 130

_ClusterHome = Annotated[
    str | None,
    typer.Option(help="LKCA_SEARCH_HOME on the cluster: absolute path or URL. Default: the value on this machine."),
]
_ClusterLedger = Annotated[
    str | None,
    typer.Option(
        help="LKCA_SEARCH_LEDGER on the cluster: database URL. Default: the value on this machine, else SQLite."
    ),
]
_ClusterDataDir = Annotated[
    str | None,
    typer.Option(help="LKCA_DATA_DIR on the cluster: an absolute path on every node. Default: not set by the job."),
]
_Include = Annotated[
    list[Path] | None,
    typer.Option(help="File or folder to upload, for example your own samplers. Repeatable. Default: none."),
]
_JobVariables = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Environment variable of the job. Repeatable. Default: none."),
]


def submit(
    space: Annotated[Path | None, typer.Argument(help="Space file (YAML). Omit it with --follow.")] = None,
    overrides: Overrides = None,
    address: JobsAddress = None,
    name: SearchName = None,
    home: _ClusterHome = None,
    ledger: _ClusterLedger = None,
    data_dir: _ClusterDataDir = None,
    include: _Include = None,
    env: _JobVariables = None,
    max_size: Annotated[float, typer.Option(min=0, metavar="MB", help="Upload at most this many megabytes.")] = 20,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return after submission. Default: print the log until the job ends.")
    ] = False,
    follow: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print the log of this submitted search and submit nothing."),
    ] = None,
    headers: Headers = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Start or resume a search as a job on a Ray cluster, and print its log.

    The exit code is that of the job's `run`, or 1 if its driver was killed. Ctrl-C stops printing; the job continues.
    """
    if (space is None) == (follow is None):
        raise UserError("submit needs either a space file, or --follow NAME for a submitted search")
    if follow is not None:
        if any((name, home, ledger, data_dir, include, env, no_wait)):
            raise UserError("--follow submits nothing: omit the options of a submission")
        _follow(cluster := _connect(address, headers, verify), cluster.newest_job(follow), json=json)
        return
    assert space is not None
    spec = read_space_file(space, overrides or ()).spec
    name = choose_name(space, name)
    from lkca_search.search.jobs.submission import build_submission
    from lkca_search.search.jobs.working_dir import collect_working_dir, find_own_modules

    submission = build_submission(
        name=name,
        space=space.name,
        overrides=overrides or (),
        options={"LKCA_SEARCH_HOME": home, "LKCA_SEARCH_LEDGER": ledger, "LKCA_DATA_DIR": data_dir},
        variables=env or (),
        local_environment=os.environ,
    )
    own = find_own_modules(spec, [space.resolve().parent, Path.cwd()], included=include or ())
    added = [*(include or ()), *own]
    working_dir = collect_working_dir(spec, space=space, include=added, max_megabytes=max_size, texts=_differences())
    cluster = _connect(address, headers, verify)
    job = cluster.submit(submission, working_dir)
    if not no_wait:
        _follow(cluster, job, json=json)
    elif json:
        echo_json(job)
    else:
        _print_job(job)
        echo(_next_commands(job))


def _differences() -> dict[str, str]:
    """Return the file with the differences of this checkout, whose package is uploaded without its history."""
    from lkca_search.environment.checkout import SHIPPED_DIFF, read_diff

    diff = read_diff()
    return {} if diff is None else {SHIPPED_DIFF: diff}


def logs(
    name: Name,
    address: JobsAddress = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print until the job ends; exit with its code. Default: print the log so far."),
    ] = False,
    headers: Headers = None,
    verify: Verify = None,
) -> None:
    """Print the log of the latest job of a submitted search."""
    cluster = _connect(address, headers, verify)
    job = cluster.newest_job(name)
    if follow:
        _follow(cluster, job, json=False, needs_reader=True)
    else:
        echo(cluster.log(job.job_id), nl=False, raw=True)


def run_on_cluster(address: str, name: str, *arguments: str, headers: str | None, verify: str | None) -> NoReturn:
    """Run a command on the cluster of a search, print its output and exit with its code."""
    result = _connect(address, headers, verify).run_remote_command(name, *arguments)
    echo(result.stdout, nl=False, raw=True)
    echo(result.stderr, nl=False, err=True, raw=True)
    raise typer.Exit(result.exit_code)


def _connect(address: str | None, headers: str | None, verify: str | None) -> "JobsClient":
    from lkca_search.search.jobs.access import Access
    from lkca_search.search.jobs.client import JobsClient

    if not address:
        raise UserError("--address is required: use --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")
    return JobsClient(address, Access.parse(headers, verify, os.environ))


def _follow(cluster: "JobsClient", job: "SearchJob", *, json: bool, needs_reader: bool = False) -> None:
    """Print the log of a job until it ends, and exit with its code. With `json`, the log goes to standard error.

    With `needs_reader`, also end with code 0 if standard output is closed.
    """

    def write(text: str) -> None:
        echo(text, nl=False, err=json, raw=True)
        if needs_reader and output_is_lost():
            sys.exit(0)

    _print_job(job, err=json)
    try:
        ended = cluster.follow(job.job_id, write, notify=echo_note)
    except KeyboardInterrupt:
        echo(f"\njob {job.job_id} continues\n{_next_commands(job)}", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except ConnectionError as error:
        echo_prose(f"{error}. If it is lost, repeat `submit` on a new cluster to resume.", err=True)
        raise typer.Exit(1) from error
    from lkca_search.search.jobs.client import DRIVER_CODES

    sys.stdout.flush()
    if json:
        echo_json(ended)
    if ended.status != "SUCCEEDED":
        echo_prose(f"job {ended.job_id} ended as {ended.status}{ended.reason}", err=True)
    raise typer.Exit(ended.exit_code if ended.exit_code in DRIVER_CODES else 1)


def _print_job(job: "SearchJob", *, err: bool = False) -> None:
    echo(f"search {job.search} is job {job.job_id} at {job.address}", err=err)


def _next_commands(job: "SearchJob") -> str:
    at = f"{job.search} --address {job.address}"
    return f"follow   lkca-search submit --follow {at}\nstop     lkca-search stop {at}"
