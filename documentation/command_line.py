"""Page of the command line: every command with its arguments, options and defaults."""

from collections.abc import Iterator
from typing import Any

import typer.main

from documentation.markdown import NOTE, code, join, table
from lkca_search.cli.app import app

_PROGRAM = "lkca-search"
_EXITS = "Exit codes: 0 success; 1 ended early, or the result is incomplete; 2 invalid input."


def command_line_page() -> str:
    """Return the page. Commands are in the order of `lkca-search --help`."""
    root = typer.main.get_command(app)
    parts = [text for names, command in list_commands(root) for text in _section(names, command)]
    return join("# Command line", NOTE, f"`{_PROGRAM} --help` lists the commands. {_EXITS}", *parts)


def list_commands(group: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command below a group with its names, such as `("data", "prepare")`."""
    context = group.context_class(group, info_name=_PROGRAM)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from list_commands(command, (*names, name))
        else:
            yield (*names, name), command


def _section(names: tuple[str, ...], command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-") and not each.hidden]
    words = [_PROGRAM, *names, *(_word(each) for each in arguments), *(["[OPTIONS]"] if options else [])]
    yield f"## {' '.join(names)}"
    yield "    " + " ".join(words)
    yield _plain(command.help or "")
    yield _plain(command.epilog or "")
    if arguments:
        yield table(("argument", "meaning"), [(code(_name(each)), each.help or "") for each in arguments])
    if options:
        rows = [
            (code(" ".join([*each.opts, *each.secondary_opts])), _meaning(each), _default(each)) for each in options
        ]
        yield table(("option", "meaning", "default"), rows)


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _word(argument: Any) -> str:
    several = "..." if argument.nargs == -1 or argument.multiple else ""
    return f"{_name(argument)}{several}" if argument.required else f"[{_name(argument)}]{several}"


def _meaning(option: Any) -> str:
    """Return the help without its default, and the environment variable that sets the option."""
    text = (option.help or "").partition(" Default: ")[0]
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    return " ".join([text, *(f"Variable: `{name}`." for name in variables)])


def _default(option: Any) -> str:
    """Return the default that the help states, else the value."""
    stated = (option.help or "").partition(" Default: ")[2].removesuffix(".")
    if stated:
        return str(stated)
    return "" if option.default in (None, False) or callable(option.default) else code(option.default)


def _plain(text: str) -> str:
    """Return a help text in paragraphs, without the indentation of its source."""
    return "\n".join(line.strip() for line in text.strip().replace("\b", "").splitlines())
