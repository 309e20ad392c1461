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
        rest, steps = typed.removeprefix("~"), []
        while (match := _STEP.match(rest)) is not None:
            steps.append(match[1] or match[2] or match[3])
            rest = rest[match.end() :]
            if not rest.startswith("."):
                break
            rest = rest[1:]
        else:
            quote = "; a quoted key must end with its quote" if rest[:1] in ("'", '"') else ""
            raise ValueError(_RULE + quote)
        if removes == bool(rest):
            raise ValueError(_RULE)
        return cls(location=tuple(steps), text=rest[1:] if rest else None)
