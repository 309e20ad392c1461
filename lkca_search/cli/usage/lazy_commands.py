"""Group of commands whose modules are imported when a command is used; its help reads their docstrings as text."""

import ast
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from lkca_search.cli.usage.help_texts import describe, example

_PACKAGE = "lkca_search.cli"
_FOLDER = Path(__file__).parents[1]


class Entry(NamedTuple):
    """Command that may not be imported yet."""

    module: str
    """Module in `cli`."""
    function: str
    """Function of the command; `app` for a group of commands."""
    panel: str
    """Heading of the command in the help."""
    help: str | None = None
    """Help of a group; that of a command is its docstring."""


class _PlainFlags:
    """Command whose help shows no type beside a flag: a flag takes no value."""

    def get_params(self, ctx: Any) -> Any:
        """Return the arguments and options, with --help."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            if getattr(each, "is_flag", False):
                each.metavar = ""
        return params


class PlainCommand(_PlainFlags, TyperCommand):
    """Command."""


class PlainGroup(_PlainFlags, TyperGroup):
    """Group of commands."""


class LazyGroup(PlainGroup):
    """Group of the commands in `entries`."""

    entries: ClassVar[Mapping[str, Entry]] = {}
    """Name to command, in the order of the help."""

    def __init__(self, **attributes: Any) -> None:
        """Create a group; none of its commands is imported."""
        super().__init__(**attributes)
        self.commands = _Commands(self.entries)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        with self._summaries():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return the commands and options that begin with a text."""
        with self._summaries():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _summaries(self) -> Iterator[None]:
        """Replace each command in the block by its name and docstring."""
        loaded = self.commands
        docstrings: dict[str, dict[str, str]] = {}
        self.commands = {}
        for name, entry in self.entries.items():
            if entry.help is None and entry.module not in docstrings:
                docstrings[entry.module] = _read_docstrings(_FOLDER / f"{entry.module}.py")
            text = entry.help or docstrings[entry.module][entry.function]
            self.commands[name] = TyperCommand(name, help=text, rich_help_panel=entry.panel)
        try:
            yield
        finally:
            self.commands = loaded


class _Commands(MutableMapping[str, Any]):
    """Commands by name, each imported when it is first read."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._commands: dict[str, Any] = dict.fromkeys(entries)

    def __getitem__(self, name: str) -> Any:
        if self._commands[name] is None:
            self._commands[name] = _load(name, self._entries[name])
        return self._commands[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


def _load(name: str, entry: Entry) -> Any:
    found = getattr(import_module(f"{_PACKAGE}.{entry.module}"), entry.function)
    if isinstance(found, typer.Typer):
        group: Any = get_command(found)
        group.name, group.help, group.rich_help_panel = name, entry.help, entry.panel
        return group
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, cls=PlainCommand, rich_help_panel=entry.panel, help=describe(found), epilog=example(name))(
        found
    )
    return get_command(single)


def _read_docstrings(path: Path) -> dict[str, str]:
    """Return the docstrings of the functions of a module, which is not imported."""
    functions = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    return {function.name: ast.get_docstring(function) or "" for function in functions}
