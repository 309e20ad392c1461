"""The command line `lkca-search`: all commands, grouped by task.

A command is imported when it is called, and heavy packages when they are needed, so that `--help` is fast.
"""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import typer
from rich.text import Text

from lkca_search import __version__
from lkca_search.cli.terminal.folding import fold
from lkca_search.cli.terminal.streams import console, echo, guard_standard_streams, output_error, visible
from lkca_search.cli.usage.lazy_commands import Entry, LazyGroup
from lkca_search.cli.usage.usage_errors import explain_usage
from lkca_search.errors import RESUME_HINT, Interrupted, UserError
from lkca_search.faults import explain_fault
from lkca_search.own_code import import_from

_COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Search": {
        "init": "plan",
        "plan": "plan",
        "run": "run",
        "status": "browse",
        "stop": "run",
        "list": "browse:list_searches",
        "confirm": "run",
        "rerun": "replay",
        "repair": "repair",
    },
    "Results": {
        "best": "browse",
        "report": "report",
        "compare": "report",
        "publish": "report",
        "predict": "kept_models",
        "export": "kept_models",
        "simulate": "replay",
        "ui": "browse",
        "sync": "repair",
        "inspect": "repair",
    },
    "Stored searches": dict.fromkeys(("delete", "rename", "archive", "restore"), "housekeeping"),
    "Ray cluster": dict.fromkeys(("submit", "logs"), "submit"),
    "Data, models and machine": {"models": "models", "doctor": "repair", "data": "data:app"},
}
"""Heading to commands: the name, and the module of its function, which has the same name unless it follows a colon."""
_GROUP_HELP = {"data": "List, prepare and check datasets."}


def _entries() -> Iterator[tuple[str, Entry]]:
    for panel, commands in _COMMANDS.items():
        for name, place in commands.items():
            module, _, function = place.partition(":")
            yield name, Entry(module, function or name, panel, _GROUP_HELP.get(name))


class _Group(LazyGroup):
    """Group of commands that refuses empty arguments, and reports faults of disks, databases and networks."""

    entries: ClassVar[Mapping[str, Entry]] = dict(_entries())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty argument: it would mean the default, the working directory, or nothing at all.

        `help plan` is `plan --help`.
        """
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
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
            explain_usage(error)
            if hasattr(error, "exit_code") or (fault := explain_fault(error)) is None:  # typer's own, or a bug
                raise
            raise fault from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Search and compare image classifiers as training data gets scarce, with Ray Tune, Optuna and MLflow.\n\n"
    "Searches are stored in LKCA_SEARCH_HOME (default: ./lkca_runs). Datasets are read from LKCA_DATA_DIR, or "
    "downloaded.",
    epilog="Exit codes: 0 success; 1 ended early, or the result is incomplete; 2 invalid input.",
)

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
        *("delete", "rename", "archive", "restore", "init"),
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
    gc.set_threshold(100_000, 20, 50)  # imports make so many objects that collections take an eighth of a plan's time
    atexit.register(gc.freeze)  # the interpreter's last collection then visits none of them: a tenth of a plan's time
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
        for text in error.texts:
            print_error("error:", text)
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
    screen = console(err=True)
    text = f"{label} {visible(message)}"
    # A Text object, since input such as [0.1] would be parsed as Rich markup.
    line = Text("\n".join(fold(text, screen.width, cuts=False)) if screen.is_terminal else text)
    line.stylize("bold red", 0, len(label))
    screen.print(line, soft_wrap=True)
