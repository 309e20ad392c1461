"""Values of YAML scalars: texts and numbers as they are written, where YAML 1.1 would read another value."""

import re
from typing import Any

import yaml

from lkca_search.spec.reading.limits import DIGITS, TEXT_LENGTH, Limits

TAG = "tag:yaml.org,2002:"
"""Prefix of YAML's own tags, written as !!."""
_TRUE = ("yes", "true", "on")
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE]([-+]?)\d+")
"""Number with an exponent. YAML 1.1 reads it as text if it has no point, or no sign after the e."""
_EXACT = 2**53
"""Integers up to this one are exact in floating point."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line feed, and halves of characters, which UTF-8 cannot have."""


def read_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, limits: Limits) -> Any:
    """Return the value of a scalar: None, a bool, an int, a float or a text.

    Numbers must be decimal: YAML 1.1 reads 0100 as 64, 1:30 as 90 and 0x10 as 16. A date must be quoted. 1e-4 and 1e3
    are numbers, which YAML 1.1 reads as text; 1e3 is the integer 1000.

    Raises:
        ValueError: The scalar breaks a rule; the message has the rule and the value.
    """
    text, kind = node.value, node.tag.removeprefix(TAG)
    if node.style is not None or kind == "str":
        check_text(text, limits)
        if node.style is None and (match := _EXPONENT.fullmatch(text)):
            _check_digits(text, limits)
            return _read_exponent(text, is_integer=match[2] != "-")
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    _check_digits(text, limits)
    if kind in ("int", "float"):
        return _read_number(loader, node, kind)
    meaning = "a date" if kind == "timestamp" else "a key of its own"
    raise ValueError(f"YAML reads {text} as {meaning}: write '{text}' for text")


def parse_count(value: object) -> object:
    """Return the number that 1.0M or 250k stands for; any other value unchanged."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)([kM])", value) if isinstance(value, str) else None
    return round(float(match[1]) * {"k": 1e3, "M": 1e6}[match[2]]) if match else value


def check_text(text: str, limits: Limits) -> None:
    """Raise ValueError if a text is too long, or has a character that cannot be printed."""
    if limits.breaks(TEXT_LENGTH, len(text)):
        raise ValueError(TEXT_LENGTH.rule("the characters of a text", f"{len(text):,}"))
    if found := _UNPRINTABLE.search(text):
        raise ValueError(f"a text must have no control characters, got {found[0]!r} in {text!r}")


def _read_number(loader: yaml.SafeLoader, node: yaml.ScalarNode, kind: str) -> int | float:
    text = node.value
    has_leading_zero = re.match(r"[-+]?0[0-9_]", text) is not None
    try:
        if kind == "int" and not has_leading_zero:
            return int(text, 10)
        if kind == "float":
            return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.lower()))
    except ValueError:  # not decimal
        pass
    value = loader.construct_yaml_int(node) if kind == "int" else loader.construct_yaml_float(node)
    raise ValueError(f"a number must be decimal without a leading zero, got {text}, which YAML reads as {value}")


def _check_digits(text: str, limits: Limits) -> None:
    if limits.breaks(DIGITS, len(text)):
        raise ValueError(DIGITS.rule("the characters of a number", f"{len(text):,}"))


def _read_exponent(text: str, *, is_integer: bool) -> int | float:
    value = float(text)
    return int(value) if is_integer and abs(value) <= _EXACT and value.is_integer() else value
