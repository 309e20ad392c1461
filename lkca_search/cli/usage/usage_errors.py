"""Errors of options: the option, the rule and the value, and the command or the key of a space file that is meant."""

from collections.abc import Iterator
from typing import Any

_WITH_OVERRIDES = ("plan", "run", "submit")
_MAX_NAMED = 3
"""Commands with an option that a message names."""
_RULES = {
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "literal_error": "one of {expected}",
}
"""Kind of a pydantic error to the rule of an option; its context fills the rule."""


def explain_usage(error: Any) -> None:
    """Complete the message of an error of typer: the value of a wrong option, and the place of an unknown one."""
    context = getattr(error, "ctx", None)
    name = getattr(error, "option_name", None)
    if context is not None and name is not None and str(error.message).startswith("No such option"):
        error.message += _place_of(name, context)
    elif (details := _first_details(error)) is not None and details["type"] in _RULES:
        rule = _RULES[details["type"]].format(**details.get("ctx", {}))
        error.message = f"must be {rule}, got {details['input']!r}"


def _first_details(error: Any) -> Any:
    """Return the first pydantic error of a value, if typer has checked the value by pydantic."""
    list_details = getattr(error.__cause__, "errors", None)
    return list_details()[0] if callable(list_details) and hasattr(error, "param") else None


def _place_of(name: str, context: Any) -> str:
    """Return the key of a space file that an unknown option stands for, or the commands that have this option."""
    if context.info_name in _WITH_OVERRIDES:
        from lkca_search.spec.space_file import suggest_key

        if (key := suggest_key(name.lstrip("-").replace("-", "_"))) is not None:
            return f"; to change the space file, write {key}=VALUE"
    owners = list(_owners_of(name, context.find_root().command))
    if not owners:
        return ""
    shown = ", ".join(f"`{owner}`" for owner in owners[:_MAX_NAMED]) + (", ..." if len(owners) > _MAX_NAMED else "")
    return f"; it is an option of {shown}: omit it for `{context.command_path.partition(' ')[2]}`"


def _owners_of(option: str, group: Any, names: str = "") -> Iterator[str]:
    """Yield each command with an option; the commands of a group have its name before their own."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _owners_of(option, command, f"{name} ")
        elif any(option in parameter.opts for parameter in command.params):
            yield f"{names}{name}"
