"""Overrides of a training: `key=value` for any value of its spec, as for a space file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from lkca_search.errors import UserError, did_you_mean
from lkca_search.own_code import is_dotted
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import LENGTH_NAMES, NAMES, SECTIONS, SIZE_NAMES
from lkca_search.spec.reading.limits import OVERRIDES, Limits, shorten
from lkca_search.spec.reading.switches import parse_switches
from lkca_search.spec.reading.yaml_reader import YamlReader
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection

_CONFIGURATION = "configuration"
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataSection,
    "training": TrainingSection,
    "resources": TrialResources,
}
_TOP = ("seed", "split_seed", "metrics")
_ALTERNATIVES = (LENGTH_NAMES, SIZE_NAMES)
"""Names of which a training has one: a value of one replaces that of the others."""
_MAX_SHOWN = 100


class _Key(NamedTuple):
    """Place of a value in the JSON of a training."""

    section: str
    """Section, or an empty text for a value of the training itself."""
    name: str


def apply_overrides(trial: TrialSpec, overrides: Sequence[str]) -> TrialSpec:
    """Return a training with overrides applied in order: `key=value` sets a value, `~key` restores its default.

    A key is `SECTION.NAME` with the section data, training, resources or configuration, or `NAME` alone. A length
    replaces one in another unit, and the size of a subset one in the other unit.

    Raises:
        UserError: An override has no such key, or breaks a rule.
    """
    limits = Limits.from_environment()
    if limits.breaks(OVERRIDES, len(overrides)):
        raise UserError(OVERRIDES.rule("the number of overrides", f"{len(overrides):,} (command line)"))
    content: dict[str, Any] = trial.model_dump(mode="json", exclude_none=True)
    for override in overrides:
        _apply(override, content, trial, limits)
    try:
        # Through JSON, because strict validation accepts a list as a tuple only there.
        return TrialSpec.model_validate_json(json.dumps(content), context=limits)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        key = ".".join(map(str, details["loc"]))
        rule = details["msg"].removeprefix("Value error, ")
        given = ", ".join(shorten(override, _MAX_SHOWN) for override in overrides)
        raise UserError(f"{f'{key}: ' if key else ''}{rule} (overrides {given})") from error


def _apply(override: str, content: dict[str, Any], trial: TrialSpec, limits: Limits) -> None:
    shown = f"override {shorten(repr(override), _MAX_SHOWN)}"
    removes = override.startswith("~")
    text, equals, value_text = override.removeprefix("~").partition("=")
    if removes == bool(equals) or not text:
        raise UserError(f"an override must be key=value, or ~key for the default ({shown})")
    key = _find_key(text, trial, shown)
    places = _places(key, content)
    for place in places:
        for name in next((names for names in _ALTERNATIVES if key.name in names), (key.name,)):
            place.pop(name, None)
    if not removes:
        value = YamlReader(lambda _line: shown, {}, limits).read(value_text, (text,))
        places[-1][key.name] = parse_switches({key.name: value})[key.name]
        if key == _Key(_CONFIGURATION, "dataset"):  # the section has the place of the images, which counts
            content["data"]["dataset"] = value


def _places(key: _Key, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a training that have the value of a key; the last one receives a new value.

    A name that the configuration and a section share is set in the configuration if that has it, since its value
    counts there.
    """
    if not key.section:
        return [content]
    owner = "data" if key.name == "dataset" else SECTIONS.get(key.name)
    if owner is None or key.section == "resources":
        return [content.setdefault(key.section, {})]
    if key == ("data", "dataset"):
        return [content["data"]]
    names = next((names for names in _ALTERNATIVES if key.name in names), (key.name,))
    in_configuration = any(name in content[_CONFIGURATION] for name in names)
    parts = [content[_CONFIGURATION], content[owner]]
    return parts[::-1] if in_configuration else parts


def _find_key(text: str, trial: TrialSpec, shown: str) -> _Key:
    """Return the place of a key; UserError if there is none."""
    section, dot, name = text.partition(".")
    if dot and section not in (*_SECTIONS, _CONFIGURATION):
        known = ", ".join((*_SECTIONS, _CONFIGURATION))
        raise UserError(
            f"a section must be one of {known}, got {section!r}{did_you_mean(section, _SECTIONS)} ({shown})"
        )
    if not dot and text in _TOP:
        return _Key("", text)
    sections = [section] if dot else [_CONFIGURATION, *_SECTIONS]
    names = {each: tuple(_SECTIONS[each].model_fields) if each in _SECTIONS else NAMES for each in sections}
    wanted = name if dot else text
    for each, fields in names.items():
        if wanted in fields:
            return _Key(each, wanted)
    if _CONFIGURATION in names and is_dotted(trial.configuration.family):
        return _Key(_CONFIGURATION, wanted)  # a name of your own family, which its signature checks
    known_names = [*(() if dot else _TOP), *(each for fields in names.values() for each in fields)]
    raise UserError(f"a training has no {text!r}{did_you_mean(wanted, known_names)} ({shown})")
