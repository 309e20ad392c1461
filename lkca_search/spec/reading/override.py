"""Override of a space file as it is typed: `key.sub=value` sets a value, and `~key.sub` removes a key."""

import re
from dataclasses import dataclass
from typing import Self

_STEP = re.compile(r"""(?:"([^"]+)"|'([^']+)'|([^.="'][^.=]*))(?=[.=]|$)""")
"""One key: with dots or equal signs if it is in quotes."""
_RULE = "an override must be key.sub=value, or ~key.sub to remove a key"


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
