"""The command line `lkca-search`: all commands, grouped by task.

Commands import heavy packages when they are called, so that `--help` is fast.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from lkca_search import __version__
from lkca_search.cli import browse, data, housekeeping, kept_models, models, plan, repair, replay, report, run, submit
from lkca_search.cli.terminal.streams import console, echo, guard_standard_streams, output_error, visible
from lkca_search.errors import RESUME_HINT, Interrupted, UserError
from lkca_search.faults import explain_fault
from lkca_search.own_code import import_from


class _Group(TyperGroup):
    """Group of commands that refuses empty arguments, and reports faults of disks, databases and networks."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty argument: it would mean the default, the working directory, or nothing at all."""
        for position, argument in enumerate(args):
            name, equals, value = argument.partition("=")
            if name.startswith("--") and equals and not value:
                raise UserError(f"{name} must not be empty; omit it for its default")
            if not argument:
                option = args[position - 1] if position and args[position - 1].startswith("--") else "an argument"
                raise UserError(f"{option} must not be empty; omit it for its default")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. A fault of the machine becomes a UserError or Interrupted."""
        try:
            return super().invoke(ctx)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            if hasattr(error, "exit_code") or (fault := explain_fault(error)) is None:  # typer's own, or a bug
                raise
            raise fault from error


app = typer.Typer(
    cls=_Group,
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
        "rerun": replay.rerun,
        "repair": repair.repair,
    },
    "Results": {
        "best": browse.best,
        "report": report.report,
        "compare": report.compare,
        "predict": kept_models.predict,
        "export": kept_models.export,
        "simulate": replay.simulate,
        "ui": browse.ui,
        "sync": repair.sync,
        "inspect": repair.inspect,
    },
    "Stored searches": {
        "delete": housekeeping.delete,
        "rename": housekeeping.rename,
        "archive": housekeeping.archive,
        "restore": housekeeping.restore,
    },
    "Ray cluster": {"submit": submit.submit, "logs": submit.logs},
    "Data, models and machine": {"models": models.models, "doctor": repair.doctor},
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(data.app, name="data", rich_help_panel="Data, models and machine")


_EFFECTS = frozenset(
    {
        *(
            "run",
            "confirm",
            "stop",
            "rerun",
            "sync",
            "repair",
            "inspect",
            "export",
            "report",
            "submit",
            "ui",
            "data prepare",
        ),
        *("delete", "rename", "archive", "restore"),
    }
)
"""Commands with a result besides their output. Output that is lost does not change their exit code."""


def _print_version(requested: bool) -> None:
    if requested:
        echo(__version__)
        raise typer.Exit


_READS_SPACES = frozenset({"plan", "run", "submit", "data"})
"""Commands that read space files, within the limits that LKCA_SEARCH_ALLOW leaves."""


@app.callback()
def _options(
    ctx: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    if os.environ.get("LKCA_SEARCH_ALLOW") and ctx.invoked_subcommand in _READS_SPACES:
        from lkca_search.spec.space_file import list_unknown_allowances

        for line in list_unknown_allowances():
            echo(f"{line}; it lifts no limit", err=True)


def main() -> None:
    """Run the command line. Exit code 0: success; 1: ended early or incomplete result; 2: invalid input."""
    guard_standard_streams()
    code = _run()
    sys.stdout.flush()
    error = output_error()
    if error is not None:
        print_error("error:", f"standard output could not be written ({error.strerror}), and the rest of it is lost")
        command = " ".join(sys.argv[1:3] if sys.argv[1:2] == ["data"] else sys.argv[1:2])
        code = code or (0 if command in _EFFECTS else 1)
    sys.exit(code)


def _run() -> int:
    try:
        import_from(_working_directory())
        app(prog_name="lkca-search")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except UserError as error:
        _print_traceback()
        print_error("error:", str(error))
        return 2
    except Interrupted as error:
        _print_traceback()
        print_error("interrupted:", f"{error}\n{RESUME_HINT}")
        return 1
    return 0


def _print_traceback() -> None:
    """Print the traceback of the error that is handled, if LKCA_SEARCH_DEBUG is set."""
    if os.environ.get("LKCA_SEARCH_DEBUG"):
        traceback.print_exc()


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the working directory must exist, but it was removed; change to another one") from error


def print_error(label: str, message: str) -> None:
    """Print a message to standard error, its label in red."""
    # Text objects, since input such as [0.1] would be parsed as Rich markup.
    console(err=True).print(Text.assemble((label, "bold red"), f" {visible(message)}"), soft_wrap=True)
