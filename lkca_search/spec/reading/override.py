"""Override of a space file as it is typed: `key.sub=value` sets a value, and `~key.sub` removes a key."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

_STEP = re.compile(r"""(?:"([^"]+)"|'([^']+)'|([^.="'][^.=]*))(?=[.=]|$)""")
"""One key: with dots or equal signs if it is in quotes."""
_RULE = "an override must be key.sub=value, or ~key.sub to remove a key"
_EQUALS = re.compile(r"\s*=\s*")
_SPACED = re.compile(r"[^=\s]+(?: = ?|= )[^=\s]+")
"""Key and value with a space before or after the equal sign."""
_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[\w\"'-]+)+")
"""Key of a section, without a value."""
_MAX_WORDS = 100
"""Words of the shell that may be parts of one override."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """Place in a space file, and its new value."""

    location: tuple[str, ...]
    """Keys from the section to the value."""
    text: str | None
    """YAML of the new value; None to remove the key."""

    @classmethod
    def parse(cls, typed: str) -> Self:
        """Return an override from its text; ValueError if it is none.

        A key with a dot is quoted: `data.sources."birds.v2"=folder:birds`.
        """
        removes = typed.startswith("~")
        start, steps = int(removes), []
        while (match := _STEP.match(typed, start)) is not None:
            steps.append(match[1] or match[2] or match[3])
            start = match.end() + 1
            if typed[match.end() : start] != ".":
                break
        else:
            quote = "; a quoted key must end with its quote" if typed[start : start + 1] in ("'", '"') else ""
            raise ValueError(_RULE + quote)
        has_value = match.end() < len(typed)
        if removes == has_value:
            raise ValueError(_RULE)
        return cls(location=tuple(steps), text=typed[start:] if has_value else None)


def length_rule(training: Mapping[str, object], names: Sequence[str]) -> str | None:
    """Return the rule that the keys of a section `training` break by two units of the length; None if they do not.

    `names` are all units.
    """
    units = [unit for unit in names if training[unit] is not None]
    if len(units) < 2:
        return None
    bounds = {name for name in ("min_steps", "max_steps") if training[name] is not None}
    choices = []
    for unit in units:
        removed = sorted({*units, *(bounds if unit != "epochs" else ())} - {unit})
        choices.append(f"{' '.join(repr(f'~training.{name}') for name in removed)} to keep {unit}")
    rule = f"training must have exactly one of {', '.join(names)}, got {' and '.join(units)}"
    return f"{rule}; remove the others in the file, or by overrides: {', or '.join(choices)}"


def unquoted_rule(words: Sequence[str], position: int) -> str | None:
    """Return the rule for an override that the shell has split at its spaces; None if its neighbors are no parts of it.

    `factors.family=[lkca, vit]` without quotes is two words, and `search.seed = 1` is three.
    """
    for start in (position, max(0, position - 1)):
        for end in range(max(start, position) + 1, min(len(words), start + _MAX_WORDS) + 1):
            if _are_parts(words[start:end]):
                joined = _EQUALS.sub("=", " ".join(words[start:end]), count=1)
                return f"an override must be one word of the shell, quoted if it has spaces: {shlex.quote(joined)}"
    value = words[position + 1] if position + 1 < len(words) else "="
    if _KEY.fullmatch(words[position]) and "=" not in value and not value.startswith("~"):
        return f"an override must have an equal sign: {shlex.quote(f'{words[position]}={value}')}"
    return None


def _are_parts(words: Sequence[str]) -> bool:
    """Return True if words are a key and a value around an equal sign, or if the last one closes the first bracket."""
    if _SPACED.fullmatch(" ".join(words)):
        return True
    depths = list(accumulate(word.count("[") + word.count("{") - word.count("]") - word.count("}") for word in words))
    return "=" in words[0] and depths[-1] == 0 and len(depths) > 1 and min(depths[:-1]) > 0
