"""Switches of a space file: names whose values are the texts `on` and `off`, which YAML reads as true and false."""

from collections.abc import Mapping
from typing import Any

SWITCHES = frozenset({"compile"})
"""Names of switches."""
_VALUES = ("levels", "choice", "value")
"""Keys below a name that have its values; other keys, as `when`, have those of other names."""


def parse_switch(value: object) -> object:
    """Return `on` for true and `off` for false; any other value unchanged."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def parse_switches(value: Any) -> Any:
    """Return the content of a space file with texts as the values of switches: levels, choices, conditions, base."""
    if isinstance(value, Mapping):
        return {key: _parse_values(entry) if key in SWITCHES else parse_switches(entry) for key, entry in value.items()}
    return tuple(map(parse_switches, value)) if isinstance(value, tuple) else value


def _parse_values(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return {key: _parse_values(value) if key in _VALUES else parse_switches(value) for key, value in entry.items()}
    return tuple(map(parse_switch, entry)) if isinstance(entry, tuple) else parse_switch(entry)
