"""Reader of space files: YAML with the line of every value, overrides, and errors with file and line."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lkca_search.errors import Location, Problem, SpaceFileError
from lkca_search.spec.search_spec import SearchSpec

_RULES = {"dict_type": "must be a mapping", "model_type": "must be a mapping", "tuple_type": "must be a list"}
_NUMBER_READ_AS_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """Valid space file: its spec, its text, and the position of each value."""

    text: str
    """Text of the file, without the overrides."""
    overrides: tuple[str, ...]
    """Overrides, as typed."""
    spec: SearchSpec
    """Spec of the file with the overrides applied."""
    positions: Mapping[Location, str]
    """Location to position: `file:line` or `override 'key=value'`."""

    def error(self, problems: Iterable[Problem]) -> SpaceFileError:
        """Return an error with one line per problem, each with its position."""
        return SpaceFileError(
            [f"{problem.rule} ({_position(self.positions, problem.location)})" for problem in problems]
        )


def read_space_file(path: Path, overrides: Sequence[str] = ()) -> SpaceFile:
    """Read and validate a space file. An override is `key.sub=value`, or `~key.sub` to remove a key.

    Raises:
        SpaceFileError: with one line per broken rule: the rule, the value and the position.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceFileError([f"cannot read the space file {path}: {error}"]) from error
    positions: dict[Location, str] = {}
    data = _YamlConverter(lambda line: f"{path}:{line}", positions).read(text, ())
    if not isinstance(data, dict):
        raise SpaceFileError([f"a space file must be a mapping of sections ({path}:1)"])
    for override in overrides:
        _apply_override(override, data, positions)
    try:
        spec = SearchSpec.model_validate(data)
    except ValidationError as error:
        raise SpaceFileError([line for details in error.errors() for line in _messages(details, positions)]) from error
    return SpaceFile(text=text, overrides=tuple(overrides), spec=spec, positions=positions)


class _YamlConverter:
    """Converter of YAML to plain values (sequences become tuples); it records the position of each value."""

    def __init__(self, position_of_line: Callable[[int], str], positions: dict[Location, str]) -> None:
        """Record positions in `positions`; `position_of_line` returns the position of a line of the text."""
        self._position_of_line = position_of_line
        self._positions = positions

    def read(self, text: str, location: Location) -> Any:
        self._positions.setdefault(location, self._position_of_line(1))
        try:
            loader = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            position = self._position_of_line(text.count("\n", 0, error.position) + 1)
            raise SpaceFileError([f"not YAML: {error.reason}, got {chr(error.character)!r} ({position})"]) from error
        try:
            node = loader.get_single_node()
            return None if node is None else self._value(loader, node, location, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise SpaceFileError(
                [f"not YAML: {error.problem or error.context} ({self._position_of_line(line)})"]
            ) from error
        finally:
            loader.dispose()

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, location: Location, ancestors: tuple[int, ...]) -> Any:
        position = self._position_of_line(node.start_mark.line + 1)
        self._positions.setdefault(location, position)
        if id(node) in ancestors:
            raise SpaceFileError([f"an anchor must not contain itself ({position})"])
        ancestors = (*ancestors, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, location, ancestors)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._value(loader, item, (*location, i), ancestors) for i, item in enumerate(node.value))
        try:
            value = loader.construct_object(node)
        except ValueError as error:  # a date like 2024-99-99, or a tag that does not fit the text
            raise SpaceFileError([f"not YAML: {error} ({position})"]) from error
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if is_plain and isinstance(value, str) and _NUMBER_READ_AS_TEXT.fullmatch(value):
            raise SpaceFileError([f"YAML reads {value} as text: write {_as_number(value)} ({position})"])
        return value

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, location: Location, ancestors: tuple[int, ...]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            position = self._position_of_line(key_node.start_mark.line + 1)
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise SpaceFileError([f"a key must be text, got {key!r} ({position})"])
            if key in result:
                raise SpaceFileError([f"a key must appear once per mapping, got {key!r} twice ({position})"])
            self._positions[(*location, key)] = position
            result[key] = self._value(loader, value_node, (*location, key), ancestors)
        return result


def _as_number(text: str) -> str:
    mantissa, exponent = text.lower().split("e")
    sign = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f"{float(mantissa)}e{sign}"


def _apply_override(override: str, data: dict[str, Any], positions: dict[Location, str]) -> None:
    position = f"override {override!r}"
    removes = override.startswith("~")
    key, equals, text = override.removeprefix("~").partition("=")
    location = tuple(key.split("."))
    if removes == bool(equals) or not all(location):
        raise SpaceFileError([f"an override must be key.sub=value, or ~key.sub to remove a key ({position})"])
    section = data
    for i, part in enumerate(location[:-1]):
        positions.setdefault(location[: i + 1], position)
        if not isinstance(section.setdefault(part, {}), dict):
            raise SpaceFileError(
                [f"{'.'.join(location[: i + 1])} must be a mapping to have a key below it ({position})"]
            )
        section = section[part]
    for stale in [written for written in positions if written[: len(location)] == location]:
        del positions[stale]
    if not removes:
        section[location[-1]] = _YamlConverter(lambda _line: position, positions).read(text, location)
    elif location[-1] not in section:
        raise SpaceFileError([f"there is no key {key} to remove ({position})"])
    else:
        del section[location[-1]]


def _nearest_location(positions: Mapping[Location, str], location: Location) -> Location:
    """Return the nearest written location at or above `location`, without a step that is the tag of a union."""
    candidates: list[Location] = []
    for skipped in (None, *range(len(location))):
        written: Location = ()
        for i, step in enumerate(location):
            if i != skipped and (*written, step) in positions:
                written = (*written, step)
        candidates.append(written)
    return max(candidates, key=lambda written: (written[-1:] == location[-1:], len(written)))


def _position(positions: Mapping[Location, str], location: Location) -> str:
    return positions[_nearest_location(positions, location)]


def _messages(details: ErrorDetails, positions: Mapping[Location, str]) -> list[str]:
    if details["type"] == "spec_rules":
        return [f"{problem.rule} ({_position(positions, problem.location)})" for problem in details["ctx"]["problems"]]
    location = details["loc"]
    nearest = _nearest_location(positions, location)
    name = ".".join(str(step) for step in nearest) or "space file"
    message = _RULES.get(details["type"], details["msg"]).removeprefix("Value error, ")
    message = message.replace("Tuple", "list").replace(" after validation", "")
    if details["type"] == "extra_forbidden":
        return [f"unknown key {name}{_suggestion(str(location[-1]), location[:-1])} ({positions[nearest]})"]
    if details["type"] == "missing":
        kind = "item" if isinstance(location[-1], int) else "key"
        return [f"required {kind} {'.'.join(map(str, (*nearest, location[-1])))} is missing ({positions[nearest]})"]
    if details["type"] in ("value_error", "domain"):
        return [f"{name}: {message} ({positions[nearest]})"]
    return [f"{name}: {message[0].lower()}{message[1:]}, got {details['input']!r} ({positions[nearest]})"]


def _suggestion(key: str, location: Location) -> str:
    section = SearchSpec.model_fields.get(str(location[0])) if location else None
    fields = getattr(section.annotation, "model_fields", {}) if section else SearchSpec.model_fields
    close = get_close_matches(key, fields, n=1)
    return f"; did you mean {close[0]}?" if close else ""
