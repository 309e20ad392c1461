"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="Name of the search.")]
Space = Annotated[Path, typer.Argument(help="Space file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the space file: key.sub=value sets a value, ~key.sub removes one. Default: none."),
]
SearchName = Annotated[str | None, typer.Option(help="Name of the search. Default: file name without .yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON. Default: as text.")]
Ledger = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="LKCA_SEARCH_LEDGER",
        help="Database for the Optuna studies, postgresql://USER@HOST/DB. Default: SQLite in the search's folder.",
    ),
]
RayAddress = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster. Default: RAY_ADDRESS, else start Ray on this machine.")
]
NumCpus = Annotated[
    int | None,
    typer.Option(min=1, help="Number of CPU cores, if Ray is started on this machine. Default: all cores."),
]
JobsAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", metavar="URL", help="URL of the Ray dashboard, for example http://HEAD:8265."
    ),
]
Headers = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_JOB_HEADERS",
        metavar="JSON",
        help="HTTP headers for a dashboard behind a login. The variable hides them from other users. Default: none.",
    ),
]
Verify = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Certificate authority of the dashboard's certificate (PEM), or false for no check. Default: "
        "REQUESTS_CA_BUNDLE, else those of the system.",
    ),
]
RemoteAddress = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Run this command on the Ray cluster with this dashboard, for example http://HEAD:8265. Default: this "
        "machine. RAY_API_SERVER_ADDRESS is ignored.",
    ),
]
"""Cluster of a command that runs on this machine by default. No variable sets it, so that the default is stable."""
