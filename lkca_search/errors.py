"""The user's mistakes. Each names the rule, the value and the place; the command line ends with exit code 2."""

from collections.abc import Sequence
from typing import NamedTuple

Location = tuple[str | int, ...]
"""Where a value stands in a space file: ("parameters", "depth", "int", 0)."""


class Problem(NamedTuple):
    """One broken rule, and the location of the value that breaks it."""

    location: Location
    rule: str


class UserError(ValueError):
    """Something the user asked for cannot be done as asked; the message says why and what would work."""


class SpaceFileError(UserError):
    """A space file or an override breaks rules; one line a problem, each with its place."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class DataError(UserError):
    """A dataset is missing, malformed or too small for what is asked of it."""


class Interrupted(Exception):
    """A disk, a database or a network failed a driver. Nothing finished is lost, and the same command goes on."""


class NodeError(OSError):
    """A node of a cluster lacks what others have: its images, or the storage that all share."""


class SearchError(UserError):
    """A search cannot be started, continued or found."""
