"""Reader of space files: overrides, and errors with file and line."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lkca_search.augmentations import with_joined_levels
from lkca_search.errors import Location, Problem, SpaceFileError, did_you_mean, find_closest, show_value
from lkca_search.spec.configuration import NAMES, SECTIONS, Configuration
from lkca_search.spec.factors import Factor
from lkca_search.spec.reading.hints import (
    DOMAIN_KEYS,
    MAX_SHOWN,
    domain_hint,
    mapping_hint,
    show_keys,
    unused_key,
    value_hint,
)
from lkca_search.spec.reading.limits import (
    FILE_SIZE,
    LIMIT_ERROR,
    MAX_DEPTH,
    OVERRIDES,
    VARIABLE,
    Limits,
    ReadingContext,
    limit_names,
    shorten,
)
from lkca_search.spec.reading.narrowing import narrow
from lkca_search.spec.reading.override import Override, unquoted_rule
from lkca_search.spec.reading.scalars import check_text
from lkca_search.spec.reading.switches import parse_switches
from lkca_search.spec.reading.text_file import read_text_file
from lkca_search.spec.reading.yaml_reader import YamlReader
from lkca_search.spec.search_spec import SearchSpec

_RULES = {"dict_type": "must be a mapping", "model_type": "must be a mapping", "tuple_type": "must be a list"}
_WITH_NAMES = ("factors", "parameters")
"""Sections whose keys are names of NAMES."""
_MAX_LINES = 50
"""Maximum lines of an error."""
_MAX_POSITIONS = 4
"""Maximum positions of an error: with more overrides, none of them is likely to be its cause."""
_OVERRIDE = "override "
"""First characters of the position of a value in an override."""


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
    notes: tuple[str, ...] = ()
    """Lines on parts of the file that the overrides left without meaning."""

    def error(self, problems: Iterable[Problem]) -> SpaceFileError:
        """Return an error with one line per problem, each with its position."""
        return _error(problems, self.positions)


def read_space_file(
    path: Path, overrides: Sequence[str] = (), *, dataset_rule: Callable[[str], str | None] = lambda place: None
) -> SpaceFile:
    """Read and validate a space file within the limits. An override is `key.sub=value`, or `~key.sub` to remove a key.

    Args:
        path: Space file.
        overrides: Overrides, in order.
        dataset_rule: Function that returns the rule which the name or path of a dataset breaks; by default none does.

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
    original = parse_switches(data)
    for i, override in enumerate(overrides):
        try:
            _apply_override(override, data, positions, limits)
        except SpaceFileError as error:
            if (rule := unquoted_rule(overrides, i)) is None:
                raise
            shown = shorten(repr(override), MAX_SHOWN)
            raise SpaceFileError([f"{shorten(rule)} ({_OVERRIDE}{shown})"]) from error
    data = with_joined_levels(parse_switches(data))
    notes = _narrow(with_joined_levels(original), data, positions) if overrides else ()
    try:
        spec = SearchSpec.model_validate(data, context=ReadingContext(limits.lifted, dataset_rule))
    except ValidationError as error:
        all_details = error.errors(include_url=False)
        problems = (problem for details in _causes(all_details) for problem in _problems(details, positions))
        raise _error(problems, positions) from error
    return SpaceFile(text=text, overrides=tuple(overrides), spec=spec, positions=positions, notes=notes)


def list_unknown_allowances() -> list[str]:
    """Return a line per name in LKCA_SEARCH_ALLOW that no limit has: it lifts nothing."""
    known = limit_names()
    given = sorted(name for name in Limits.from_environment().lifted if name and name not in known)
    return [f"{VARIABLE} must have names of limits, got {name!r}{did_you_mean(name, known)}" for name in given]


def suggest_key(name: str) -> str | None:
    """Return the key of a space file that a name stands for, with its section; None if there is none."""
    places = {key: f"{section}.{key}" for section in reversed(SearchSpec.model_fields) for key in _fields(section)}
    places |= {key: f"parameters.{key}.value" for key in NAMES if key not in places}
    close = find_closest(name, places)
    return None if close is None else places[close]


def _error(problems: Iterable[Problem], positions: Mapping[Location, str]) -> SpaceFileError:
    """Return an error with one line per problem; of many problems, the first ones."""
    remaining = iter(problems)
    lines = [
        f"{shorten(problem.rule)} ({_position(positions, problem.location)})"
        for problem in islice(remaining, _MAX_LINES)
    ]
    if next(remaining, None) is not None:
        lines.append("there are more errors: correct these first")
    return SpaceFileError(lines)


def _kind(data: Any) -> str:
    return "a list" if isinstance(data, tuple) else shorten(show_value(data), MAX_SHOWN)


def _apply_override(typed: str, data: dict[str, Any], positions: dict[Location, str], limits: Limits) -> None:
    position = f"{_OVERRIDE}{shorten(repr(typed), MAX_SHOWN)}"
    try:
        override = Override.parse(typed)
        location, key = override.location, ".".join(override.location)
        if len(location) > MAX_DEPTH:
            raise ValueError(f"values must be nested at most {MAX_DEPTH} deep, got {len(location):,}")
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
    if override.text is not None:
        section[location[-1]] = YamlReader(lambda _line: position, positions, limits).read(override.text, location)
    elif location[-1] not in section:
        raise SpaceFileError([f"there is no key {key} to remove{did_you_mean(location[-1], section)} ({position})"])
    else:
        del section[location[-1]]


def _narrow(original: dict[str, Any], data: dict[str, Any], positions: dict[Location, str]) -> tuple[str, ...]:
    defaults = {name: field.default for name, field in Configuration.model_fields.items()}
    return narrow(original, data, positions, defaults=defaults, sections=SECTIONS)


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
    """Return the position of the nearest written location, and of overrides of values below it.

    Overrides of other keys of a section are no cause of an error at a key that the section lacks.
    """
    nearest = _nearest_location(positions, location)
    is_close = nearest == location or len(nearest) > 1
    below = {
        position: None
        for written, position in positions.items()
        if nearest and is_close and position.startswith(_OVERRIDE) and written[: len(nearest)] == nearest
    }
    shown = list({positions[nearest]: None, **below})
    return ", ".join(shown if len(shown) <= _MAX_POSITIONS else shown[:1])


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
    got = shorten(show_value(details["input"]), MAX_SHOWN)
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
        rule = f"{name}: {message}, got {show_keys(details['input'])}{domain_hint(details['input'])}"
    elif details["type"] == "value_error":
        rule = f"{name}: {message}"
    elif details["type"] in ("dict_type", "model_type"):
        rule = f"{name}: {message}, got {got}{mapping_hint(name, details['input'])}"
    else:
        rule = f"{name}: {message[0].lower()}{message[1:]}, got {got}"
        rule += value_hint(details["input"], details["type"], details.get("ctx", {}))
    if details["type"] == "literal_error" and isinstance(details["input"], str):
        rule += did_you_mean(details["input"], re.findall("'([^']*)'", details["ctx"]["expected"]))
    return [Problem(nearest, rule)]


def _suggestion(key: str, location: Location) -> str:
    """Return the suggestion for an unknown key at a location: the place where it belongs, or the name that is meant."""
    if len(location) > 1 and location[0] in _WITH_NAMES:
        if location[0] == "parameters" and (reason := unused_key(key, str(location[-1]))) is not None:
            return reason
        return did_you_mean(key, DOMAIN_KEYS if location[0] == "parameters" else Factor.model_fields)
    section = str(location[0]) if location else None
    fields = _fields(section) if section else SearchSpec.model_fields
    places = [f"{name}.{key}" for name in SearchSpec.model_fields if name != section and key in _fields(name)]
    if number := {f"{key}s", key.removesuffix("s")}.intersection(fields):
        other = f"; or write it as {places[0]}" if len(places) == 1 else ""
        return f"; did you mean {number.pop()}?{other}"  # draw for draws, though `draw` is a name too
    if key in NAMES and not (section and places):
        places += [f"{name}.{key}" for name in _WITH_NAMES]
    if len(location) < 2 and len(places) == 1:
        return f"; write it as {places[0]}"
    if len(location) < 2 and places:
        return f"; write it below a section: {', '.join(places[:-1])} or {places[-1]}"
    if hint := did_you_mean(key, fields):
        return hint
    elsewhere = [each for name in SearchSpec.model_fields for each in _fields(name)]
    close = find_closest(key, [*elsewhere, *NAMES]) if len(location) < 2 else None
    return f"; did you mean {close}?{_suggestion(close, location).removeprefix(';')}" if close else ""


def _fields(section: str) -> Iterable[str]:
    """Return the keys of a section of the space file; none for one with names of factors or parameters."""
    field = SearchSpec.model_fields.get(section)
    if field is None or section in _WITH_NAMES:
        return ()
    models = (getattr(each, "model_fields", None) for each in (field.annotation, *get_args(field.annotation)))
    return next(filter(None, models), ())
