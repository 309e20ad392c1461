"""Reading a space file: YAML with the line of every value, overrides from the command line, errors with their place."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lkca_search.errors import Location, Problem, SpaceFileError
from lkca_search.spec.search_spec import SearchSpec

_IN_WORDS = {"dict_type": "must be a mapping", "model_type": "must be a mapping", "tuple_type": "must be a list"}
_NUMBER_READ_AS_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """A valid space file: its spec, its text, and where each of its values was written."""

    text: str
    """The file as read, without the overrides."""
    overrides: tuple[str, ...]
    """The overrides, as typed."""
    spec: SearchSpec
    """What file and overrides say together."""
    places: Mapping[Location, str]
    """Location to `file:line` or `override 'key=value'`."""

    def error(self, problems: Iterable[Problem]) -> SpaceFileError:
        """An error that shows each problem at its place."""
        return SpaceFileError([f"{problem.rule} ({_place(self.places, problem.location)})" for problem in problems])


def read_space_file(path: Path, overrides: Sequence[str] = ()) -> SpaceFile:
    """Read and check a space file; each override is `key.sub=value`, or `~key.sub` to leave a key out.

    Raises SpaceFileError with one line a broken rule: the rule, the value and the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceFileError([f"cannot read the space file {path}: {error}"]) from error
    places: dict[Location, str] = {}
    data = _Composer(lambda line: f"{path}:{line}", places).read(text, ())
    if not isinstance(data, dict):
        raise SpaceFileError([f"a space file is a mapping of sections ({path}:1)"])
    for override in overrides:
        _apply(override, data, places)
    try:
        spec = SearchSpec.model_validate(data)
    except ValidationError as error:
        raise SpaceFileError([line for details in error.errors() for line in _lines(details, places)]) from error
    return SpaceFile(text=text, overrides=tuple(overrides), spec=spec, places=places)


class _Composer:
    """Turns YAML into plain values (sequences become tuples) and notes the place of each."""

    def __init__(self, place: Any, places: dict[Location, str]) -> None:
        self._place = place
        self._places = places

    def read(self, text: str, location: Location) -> Any:
        self._places.setdefault(location, self._place(1))
        try:
            loader = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            place = self._place(text.count("\n", 0, error.position) + 1)
            raise SpaceFileError([f"not YAML: {error.reason}, got {chr(error.character)!r} ({place})"]) from error
        try:
            node = loader.get_single_node()
            return None if node is None else self._value(loader, node, location, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise SpaceFileError([f"not YAML: {error.problem or error.context} ({self._place(line)})"]) from error
        finally:
            loader.dispose()

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, location: Location, above: tuple[int, ...]) -> Any:
        place = self._place(node.start_mark.line + 1)
        self._places.setdefault(location, place)
        if id(node) in above:
            raise SpaceFileError([f"an anchor cannot contain itself ({place})"])
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, location, above)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._value(loader, item, (*location, i), above) for i, item in enumerate(node.value))
        try:
            value = loader.construct_object(node)
        except ValueError as error:  # of a date like 2024-99-99, or a tag that the text does not fit
            raise SpaceFileError([f"not YAML: {error} ({place})"]) from error
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if is_plain and isinstance(value, str) and _NUMBER_READ_AS_TEXT.fullmatch(value):
            raise SpaceFileError([f"YAML reads {value} as text: write {_as_number(value)} ({place})"])
        return value

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, location: Location, above: tuple[int, ...]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node.start_mark.line + 1)
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise SpaceFileError([f"a key must be text, got {key!r} ({place})"])
            if key in result:
                raise SpaceFileError([f"key {key!r} stands twice in one mapping ({place})"])
            self._places[(*location, key)] = place
            result[key] = self._value(loader, value_node, (*location, key), above)
        return result


def _as_number(text: str) -> str:
    mantissa, exponent = text.lower().split("e")
    sign = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f"{float(mantissa)}e{sign}"


def _apply(override: str, data: dict[str, Any], places: dict[Location, str]) -> None:
    place = f"override {override!r}"
    removes = override.startswith("~")
    key, equals, text = override.removeprefix("~").partition("=")
    location = tuple(key.split("."))
    if removes == bool(equals) or not all(location):
        raise SpaceFileError([f"an override is key.sub=value, or ~key.sub to leave a key out ({place})"])
    section = data
    for i, part in enumerate(location[:-1]):
        places.setdefault(location[: i + 1], place)
        if not isinstance(section.setdefault(part, {}), dict):
            raise SpaceFileError([f"{'.'.join(location[: i + 1])} is no mapping, so it has no key below it ({place})"])
        section = section[part]
    for stale in [known for known in places if known[: len(location)] == location]:
        del places[stale]
    if not removes:
        section[location[-1]] = _Composer(lambda _line: place, places).read(text, location)
    elif location[-1] not in section:
        raise SpaceFileError([f"there is no {key} to leave out ({place})"])
    else:
        del section[location[-1]]


def _known(places: Mapping[Location, str], location: Location) -> Location:
    """The nearest written location at or above one; a step that names no key (the tag of a union) is passed over."""
    found: list[Location] = []
    for skipped in (None, *range(len(location))):
        written: Location = ()
        for i, step in enumerate(location):
            if i != skipped and (*written, step) in places:
                written = (*written, step)
        found.append(written)
    return max(found, key=lambda written: (written[-1:] == location[-1:], len(written)))


def _place(places: Mapping[Location, str], location: Location) -> str:
    return places[_known(places, location)]


def _lines(details: ErrorDetails, places: Mapping[Location, str]) -> list[str]:
    if details["type"] == "spec_rules":
        return [f"{problem.rule} ({_place(places, problem.location)})" for problem in details["ctx"]["problems"]]
    location = details["loc"]
    known = _known(places, location)
    name = ".".join(str(step) for step in known) or "space file"
    message = _IN_WORDS.get(details["type"], details["msg"]).removeprefix("Value error, ")
    message = message.replace("Tuple", "list").replace(" after validation", "")
    if details["type"] == "extra_forbidden":
        return [f"unknown key {name}{_suggestion(str(location[-1]), location[:-1])} ({places[known]})"]
    if details["type"] == "missing":
        kind = "item" if isinstance(location[-1], int) else "key"
        return [f"required {kind} {'.'.join(map(str, (*known, location[-1])))} is missing ({places[known]})"]
    if details["type"] in ("value_error", "domain"):
        return [f"{name}: {message} ({places[known]})"]
    return [f"{name}: {message[0].lower()}{message[1:]}, got {details['input']!r} ({places[known]})"]


def _suggestion(key: str, location: Location) -> str:
    section = SearchSpec.model_fields.get(str(location[0])) if location else None
    fields = getattr(section.annotation, "model_fields", {}) if section else SearchSpec.model_fields
    close = get_close_matches(key, fields, n=1)
    return f"; did you mean {close[0]}?" if close else ""
