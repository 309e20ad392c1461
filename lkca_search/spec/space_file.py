"""Reader of space files: overrides, and errors with file and line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lkca_search.errors import Location, Problem, SpaceFileError, did_you_mean, show_value
from lkca_search.spec.configuration import NAMES, SECTIONS
from lkca_search.spec.factors import Factor
from lkca_search.spec.reading.limits import (
    FILE_SIZE,
    LIMIT_ERROR,
    MAX_DEPTH,
    OVERRIDES,
    VARIABLE,
    Limits,
    limit_names,
    shorten,
)
from lkca_search.spec.reading.scalars import check_text
from lkca_search.spec.reading.switches import parse_switches
from lkca_search.spec.reading.text_file import read_text_file
from lkca_search.spec.reading.yaml_reader import YamlReader
from lkca_search.spec.search_spec import SearchSpec

_RULES = {"dict_type": "must be a mapping", "model_type": "must be a mapping", "tuple_type": "must be a list"}
_DOMAIN_KEYS = ("choice", "int", "float", "value", "step", "log", "when")
"""Keys below a parameter."""
_MAX_LINES = 50
"""Maximum lines of an error."""
_MAX_SHOWN = 200
"""Maximum characters of a value or an override in a message."""


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
        return _error(problems, self.positions)


def read_space_file(path: Path, overrides: Sequence[str] = ()) -> SpaceFile:
    """Read and validate a space file within the limits. An override is `key.sub=value`, or `~key.sub` to remove a key.

    Raises:
        SpaceFileError: with one line per broken rule: the rule, the value and the position.
    """
    limits = Limits.from_environment()
    text = read_text_file(path, limits)
    name = shorten(str(path))
    positions: dict[Location, str] = {}
    data = YamlReader(lambda line: f"{name}:{line}", positions, limits).read(text, ())
    if not isinstance(data, dict):
        raise SpaceFileError([f"a space file must be a mapping of sections, got {_kind(data)} ({name}:1)"])
    num_characters = sum(map(len, overrides))
    if limits.breaks(OVERRIDES, len(overrides)):
        raise SpaceFileError([OVERRIDES.rule("the number of overrides", f"{len(overrides):,} (command line)")])
    if limits.breaks(FILE_SIZE, num_characters):
        raise SpaceFileError([FILE_SIZE.rule("the characters of all overrides", f"{num_characters:,} (command line)")])
    for override in overrides:
        _apply_override(override, data, positions, limits)
    try:
        spec = SearchSpec.model_validate(parse_switches(data), context=limits)
    except ValidationError as error:
        all_details = error.errors(include_url=False)
        problems = (problem for details in _causes(all_details) for problem in _problems(details, positions))
        raise _error(problems, positions) from error
    return SpaceFile(text=text, overrides=tuple(overrides), spec=spec, positions=positions)


def list_unknown_allowances() -> list[str]:
    """Return a line per name in LKCA_SEARCH_ALLOW that no limit has: it lifts nothing."""
    known = limit_names()
    given = sorted(name for name in Limits.from_environment().lifted if name and name not in known)
    return [f"{VARIABLE} must have names of limits, got {name!r}{did_you_mean(name, known)}" for name in given]


def _error(problems: Iterable[Problem], positions: Mapping[Location, str]) -> SpaceFileError:
    """Return an error with one line per problem; of many problems, the first ones."""
    remaining = iter(problems)
    lines = [
        f"{shorten(problem.rule)} ({positions[_nearest_location(positions, problem.location)]})"
        for problem in islice(remaining, _MAX_LINES)
    ]
    if next(remaining, None) is not None:
        lines.append("there are more errors: correct these first")
    return SpaceFileError(lines)


def _kind(data: Any) -> str:
    return "a list" if isinstance(data, tuple) else shorten(show_value(data), _MAX_SHOWN)


def _apply_override(override: str, data: dict[str, Any], positions: dict[Location, str], limits: Limits) -> None:
    position = f"override {shorten(repr(override), _MAX_SHOWN)}"
    removes = override.startswith("~")
    key, equals, text = override.removeprefix("~").partition("=")
    location = tuple(key.split("."))
    if removes == bool(equals) or not all(location):
        raise SpaceFileError([f"an override must be key.sub=value, or ~key.sub to remove a key ({position})"])
    if len(location) > MAX_DEPTH:
        raise SpaceFileError([f"values must be nested at most {MAX_DEPTH} deep, got {len(location):,} ({position})"])
    try:
        check_text(key, limits)
    except ValueError as error:
        raise SpaceFileError([f"{shorten(str(error))} ({position})"]) from error
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
        section[location[-1]] = YamlReader(lambda _line: position, positions, limits).read(text, location)
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


def _causes(all_details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without each list that is too short because its items break rules."""
    above = {details["loc"][:depth] for details in all_details for depth in range(len(details["loc"]))}
    return [details for details in all_details if details["type"] != "too_short" or details["loc"] not in above]


def _problems(details: ErrorDetails, positions: Mapping[Location, str]) -> list[Problem]:
    """Return the broken rules of an error of pydantic, each with the rule, the value and the location."""
    if details["type"] == "spec_rules":
        return list(details["ctx"]["problems"])
    location = details["loc"]
    nearest = _nearest_location(positions, location)
    name = ".".join(str(step) for step in nearest) or "space file"
    got = shorten(show_value(details["input"]), _MAX_SHOWN)
    message = _RULES.get(details["type"], details["msg"]).removeprefix("Value error, ")
    message = message.replace("Tuple", "list").replace(" after validation", "")
    if details["type"] == LIMIT_ERROR:
        rule = details["ctx"]["limit"].rule(name, got)
    elif details["type"] == "extra_forbidden":
        rule = f"unknown key {name}{_suggestion(str(location[-1]), location[:-1])}"
    elif details["type"] == "missing":
        kind = "item" if isinstance(location[-1], int) else "key"
        rule = f"required {kind} {'.'.join(map(str, (*nearest, location[-1])))} is missing"
    elif details["type"] == "domain":
        rule = f"{name}: {message}, got {_show_keys(details['input'])}"
    elif details["type"] == "value_error":
        rule = f"{name}: {message}"
    elif details["type"] in ("dict_type", "model_type") and details["input"] is None:
        rule = f"{name}: {message}, got nothing; give its keys, or write {name}: {{}} for none"
    else:
        rule = f"{name}: {message[0].lower()}{message[1:]}, got {got}"
    if details["type"] == "literal_error" and isinstance(details["input"], str):
        rule += did_you_mean(details["input"], re.findall("'([^']*)'", details["ctx"]["expected"]))
    return [Problem(nearest, rule)]


def _show_keys(entry: Any) -> str:
    """Return the keys of a parameter without a domain, and the key that one of them may stand for."""
    if not isinstance(entry, Mapping):
        return shorten(show_value(entry), _MAX_SHOWN)
    unknown = next((key for key in entry if key not in _DOMAIN_KEYS), None)
    return shorten(", ".join(map(str, entry)) or "no key", _MAX_SHOWN) + did_you_mean(unknown, _DOMAIN_KEYS)


def _suggestion(key: str, location: Location) -> str:
    if len(location) > 1 and location[0] in ("factors", "parameters"):
        return did_you_mean(key, _DOMAIN_KEYS if location[0] == "parameters" else Factor.model_fields)
    section = SearchSpec.model_fields.get(str(location[0])) if location else None
    fields = getattr(section.annotation, "model_fields", {}) if section else SearchSpec.model_fields
    if not location and key in NAMES:
        places = [f"{SECTIONS[key]}.{key}"] if key in SECTIONS else []
        places += [f"factors.{key}", f"parameters.{key}"]
        return f"; write it below a section: {', '.join(places[:-1])} or {places[-1]}"
    if len(location) == 1 and key in SECTIONS:
        return f"; write it as {SECTIONS[key]}.{key}"
    return did_you_mean(key, fields)
