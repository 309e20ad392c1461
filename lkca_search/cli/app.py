"""The command line `lkca-search`: all commands, grouped by task.

Commands import heavy packages when they are called, so that `--help` is fast.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from lkca_search import __version__
from lkca_search.cli import browse, data, models, plan, report, run, simulate, submit
from lkca_search.errors import Interrupted, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search and compare image classifiers as training data gets scarce, with Ray Tune, Optuna and MLflow.\n\n"
    "Searches are stored in LKCA_SEARCH_HOME (default: ./lkca_runs). Datasets are read from LKCA_DATA_DIR, or "
    "downloaded.",
    epilog="Exit codes: 0 success; 1 ended early, or the result is incomplete; 2 invalid input.",
)

_COMMANDS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "Search": {
        "plan": plan.plan,
        "run": run.run,
        "status": browse.status,
        "stop": run.stop,
        "list": browse.list_searches,
        "confirm": run.confirm,
        "rerun": run.rerun,
    },
    "Results": {
        "best": browse.best,
        "report": report.report,
        "compare": report.compare,
        "export": browse.export,
        "simulate": simulate.simulate,
        "ui": browse.ui,
        "sync": run.sync,
    },
    "Ray cluster": {"submit": submit.submit, "logs": submit.logs},
    "Data and models": {"models": models.models},
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(data.app, name="data", rich_help_panel="Data and models")


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line. Exit code 0: success; 1: ended early or incomplete result; 2: invalid input."""
    try:
        app(prog_name="lkca-search")
    except UserError as error:
        _print_error("error:", str(error))
        sys.exit(2)
    except Interrupted as error:
        _print_error("interrupted:", f"{error}\nFinished trials are kept. Repeat the command to resume.")
        sys.exit(1)


def _print_error(label: str, message: str) -> None:
    # Text objects, since input such as [0.1] would be parsed as Rich markup.
    Console(stderr=True).print(Text.assemble((label, "bold red"), f" {message}"), soft_wrap=True)
