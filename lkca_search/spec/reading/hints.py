"""Next steps after a value of a space file that breaks a rule of pydantic: the value that was likely meant."""

import re
from collections.abc import Mapping
from typing import Any

from lkca_search.errors import did_you_mean, show_value
from lkca_search.spec.reading.limits import shorten
from lkca_search.spec.reading.scalars import parse_count

MAX_SHOWN = 200
"""Maximum characters of a value or an override in a message."""
DOMAIN_KEYS = ("choice", "int", "float", "value", "step", "log", "when")
"""Keys below a parameter."""
_DOMAINS = ("choice", "int", "float", "value")
_RANGES: Mapping[str, str] = {"step": "only int has steps", "log": "only int and float have a logarithm"}
"""Keys of ranges, each with the reason that another domain has none."""
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "int": ("int_type", "int_parsing", "int_from_float"),
    "float": ("float_type", "float_parsing", "finite_number"),
}
_TRUE, _FALSE = ("true", "yes", "on", 1), ("false", "no", "off", 0)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%")
_COUNT = re.compile(r"(\d+(?:\.\d+)?) ?([kKM])")
_COMMA = re.compile(r"[-+]?\d+,\d+")
_EXAMPLES: Mapping[str, str] = {
    "data": "{dataset: digits}",
    "factors": "{family: [lkca, vit]}",
    "parameters": "{depth: {int: [2, 4]}}",
    "training": "{epochs: 60}",
    "search": "{trials_per_cell: 6}",
    "confirm": "{draws: 5, seeds: 2}",
    "resources": "{cpu: 1}",
    "limits": "{hours: 2}",
    "keep": "{weights: replicates}",
}
"""Section to a mapping that it may have."""
_OPTIONAL = ("confirm", "resources", "limits", "keep")


def value_hint(value: object, kind: str, context: Mapping[str, object]) -> str:
    """Return `; ` and the value to write in place of one that breaks a rule; an empty text if none is likely.

    `kind` and `context` are those of the pydantic error.
    """
    if 1 in (context.get("le"), context.get("lt")) and isinstance(value, int | float) and 1 < value <= 100:
        return f"; write {value / 100:g} for {value:g}%"
    if kind == "bool_type":
        word = value.lower() if isinstance(value, str) else value
        return "; write true" if word in _TRUE else "; write false" if word in _FALSE else ""
    if kind in _NUMBERS["int"] and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    if not isinstance(value, str) or kind not in (*_NUMBERS["int"], *_NUMBERS["float"]):
        return ""
    return _number_hint(value.strip(), is_integer=kind in _NUMBERS["int"])


def _number_hint(text: str, *, is_integer: bool) -> str:
    """Return the hint for a text in place of a number."""
    if _NUMBER.fullmatch(text):
        return "; remove the quotes" if not is_integer or text.isdecimal() else ""
    if (match := _COUNT.fullmatch(text)) is not None:
        count = parse_count(match[1] + (match[2] if match[2] == "M" else "k"))
        return f"; write {count} for {text}"
    if is_integer:
        return ""
    if (match := _PERCENT.fullmatch(text)) is not None:
        return f"; write {float(match[1]) / 100:g} for {match[1]}%"
    return f"; write {text.replace(',', '.')}" if _COMMA.fullmatch(text) else ""


def mapping_hint(section: str, value: object) -> str:
    """Return the hint for a section that is no mapping: an example, and how to do without an optional section."""
    if value is None:
        return f"; give its keys, or write {section}: {{}} for none"
    if section not in _EXAMPLES:
        return ""
    without = f"; remove {section} for none" if value is False else f", or {section}: {{}} for its defaults"
    return f"; write {section}: {_EXAMPLES[section]}{without if section in _OPTIONAL else ''}"


def unused_key(key: str, domain: str) -> str | None:
    """Return the reason that a parameter with this domain has no such key of a range; None if it is no such key."""
    if key not in _RANGES or domain not in _DOMAINS:
        return None
    return f": `{domain}` takes no `{key}`, {_RANGES[key]}; remove it"


def show_keys(entry: Any) -> str:
    """Return the keys of a parameter without a domain, and the key that one of them may stand for."""
    if not isinstance(entry, Mapping):
        return shorten(show_value(entry), MAX_SHOWN)
    unknown = next((key for key in entry if key not in DOMAIN_KEYS), None)
    return shorten(", ".join(map(str, entry)) or "no key", MAX_SHOWN) + did_you_mean(unknown, DOMAIN_KEYS)


def domain_hint(entry: Any) -> str:
    """Return the domain that a value or a list in place of a domain may stand for."""
    if isinstance(entry, tuple) and entry:
        shown = shorten(", ".join(map(str, entry)), MAX_SHOWN)
        return f"; write {{choice: [{shown}]}} for these values"
    return f"; write {{value: {entry}}} for this value alone" if isinstance(entry, int | float) else ""
