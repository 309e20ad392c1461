"""Values of YAML scalars: texts and numbers as they are written, where YAML 1.1 would read another value."""

import re
from typing import Any

import yaml

from lkca_search.spec.reading.limits import DIGITS, TEXT_LENGTH, Limits

TAG = "tag:yaml.org,2002:"
"""Prefix of YAML's own tags, written as !!."""
_TRUE = ("yes", "true", "on")
_NUMBER_READ_AS_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line feed, and halves of characters, which UTF-8 cannot have."""


def read_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, limits: Limits) -> Any:
    """Return the value of a scalar: None, a bool, an int, a float or a text.

    Numbers must be decimal: YAML 1.1 reads 0100 as 64, 1:30 as 90 and 0x10 as 16. A date must be quoted.

    Raises:
        ValueError: The scalar breaks a rule; the message has the rule and the value.
    """
    text, kind = node.value, node.tag.removeprefix(TAG)
    if node.style is not None or kind == "str":
        check_text(text, limits)
        if node.style is None and _NUMBER_READ_AS_TEXT.fullmatch(text):
            raise ValueError(f"YAML reads {text} as text: write {_as_number(text)}")
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    if limits.breaks(DIGITS, len(text)):
        raise ValueError(DIGITS.rule("the characters of a number", f"{len(text):,}"))
    if kind in ("int", "float"):
        return _read_number(loader, node, kind)
    meaning = "a date" if kind == "timestamp" else "a key of its own"
    raise ValueError(f"YAML reads {text} as {meaning}: write '{text}' for text")


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


def _as_number(text: str) -> str:
    mantissa, exponent = text.lower().split("e")
    sign = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f"{float(mantissa)}e{sign}"
