"""The command line: `lkca-search COMMAND`. Commands import what they need when called, so that `--help` is instant."""

import sys

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
    help="How do image classifiers behave as training data gets scarce, and does LKCA help there?",
)
run.register(app)
plan.register(app)
browse.register(app)
data.register(app)
models.register(app)
report.register(app)
simulate.register(app)
submit.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True)) -> None:
    """Searches live in LKCA_SEARCH_HOME (default ./lkca_runs), datasets in LKCA_DATA_DIR."""


def main() -> None:
    """Run the command line: exit code 0 when what was asked was done, 2 for the user's mistake."""
    try:
        app()
    except UserError as error:
        _complain("error:", str(error))
        sys.exit(2)
    except Interrupted as error:
        _complain("interrupted:", f"{error}\nnothing that is finished is lost: the same command goes on")
        sys.exit(1)


def _complain(what: str, message: str) -> None:
    # As text: what the user wrote, [0.1] for one, may look like markup.
    Console(stderr=True).print(Text.assemble((what, "bold red"), f" {message}"), soft_wrap=True)
