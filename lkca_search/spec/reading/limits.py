"""Limits of new space files, and the environment variable that lifts them.

Beyond a limit, a space file is more likely a mistake, or an attack, than a plan. Each limit states its reason. Limits
apply to space files that are read. The spec of a started search is not checked again.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, get_args

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

VARIABLE = "LKCA_SEARCH_ALLOW"
"""Environment variable with the names of limits to lift, separated by commas."""
LIMIT_ERROR = "limit"
"""Type of the pydantic error of a number over its limit; its context has the Limit as `limit`."""

MAX_LINE = 1_000
"""Maximum characters of a rule in a message: longer values are cut."""
MAX_DEPTH = 32
"""Maximum nesting, which cannot be lifted. Keys need 5 levels, and each pruner that `patient` wraps one more."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Largest number of something in a space file."""

    name: str
    """Name in LKCA_SEARCH_ALLOW."""
    maximum: int
    reason: str
    """Reason for the number: the cost at the limit, or the reason that no plan exceeds it."""

    def rule(self, subject: str, got: object) -> str:
        """Return the message of a broken limit: `subject` must be at most ..., `got` is the value or its text."""
        return f"{subject} must be at most {self.maximum:,}, got {got}: {self.hint}"

    @property
    def hint(self) -> str:
        """Reason of the limit, and the way to lift it."""
        return f"{self.reason}; set {VARIABLE}={self.name} to allow more"


FILE_SIZE = Limit(
    name="file_size", maximum=65_536, reason="a larger file takes seconds to parse, and shipped files have 2,000 bytes"
)
VALUES = Limit(
    name="values", maximum=10_000, reason="values behind an alias (*name) count each time, and shipped files have 100"
)
TEXT_LENGTH = Limit(name="text_length", maximum=4_096, reason="Linux allows no longer path")
DIGITS = Limit(name="digits", maximum=100, reason="a float has 17 significant digits")
OVERRIDES = Limit(name="overrides", maximum=100, reason="write a space file for more changes")
NUM_NAMES = Limit(name="names", maximum=200, reason="shipped files have 12, and each factor multiplies the cells")
CELLS = Limit(name="cells", maximum=5_000, reason="each cell has its own study and at least one trial")
TRIALS = Limit(
    name="trials", maximum=1_000_000, reason="each trial is a folder and an MLflow run, and 1,000,000 take over 10 GB"
)
ARGUMENTS = Limit(
    name="arguments", maximum=100_000, reason="Optuna allocates memory for as many candidates or trials per suggestion"
)
REPLICATES = Limit(
    name="replicates", maximum=1_000_000, reason="each replicate is a folder and an MLflow run, as a trial"
)


@dataclass(frozen=True)
class Limits:
    """Limits that apply to a space file; the context of its validation. Without it, no limit applies."""

    lifted: frozenset[str] = frozenset()
    """Names of limits that do not apply."""

    @classmethod
    def from_environment(cls) -> Self:
        """Return all limits except those that LKCA_SEARCH_ALLOW names."""
        return cls(frozenset(name.strip() for name in os.environ.get(VARIABLE, "").split(",")))

    def breaks(self, limit: Limit, number: float) -> bool:
        """Return True if a number is over a limit that applies."""
        return number > limit.maximum and limit.name not in self.lifted


@dataclass(frozen=True)
class ReadingContext(Limits):
    """Limits of a space file that is read, and the datasets that exist."""

    dataset_rule: Callable[[str], str | None] = lambda place: None
    """Function that returns the rule which the name or path of a dataset breaks, or None."""


_names_of_fields: set[str] = set()
"""Names of all fields with `at_most`."""


def register_fields(fields: dict[str, Any]) -> None:
    """Add the fields of a model that have a limit to the names that LKCA_SEARCH_ALLOW may have."""
    for name, field in fields.items():
        if any(_is_at_most(found) for found in (*field.metadata, *_nested(field.annotation))):
            _names_of_fields.add(name)


def limit_names() -> list[str]:
    """Return every name that LKCA_SEARCH_ALLOW may have: those of limits, and of the fields of imported models."""
    return sorted({*_names_of_fields, *(limit.name for limit in globals().values() if isinstance(limit, Limit))})


def _nested(annotation: Any) -> Iterator[Any]:
    for argument in get_args(annotation):
        yield argument
        yield from _nested(argument)


def _is_at_most(annotation: Any) -> bool:
    return isinstance(annotation, AfterValidator) and annotation.func.__qualname__.startswith(f"{at_most.__name__}.")


def breaks(context: Any, limit: Limit, number: float) -> bool:
    """Return True if a number is over a limit in the context of a validation. Without limits there, none is broken."""
    return isinstance(context, Limits) and context.breaks(limit, number)


def check_limit(context: Any, limit: Limit, number: float) -> None:
    """Raise PydanticCustomError if the absolute value of a number is over a limit in the context of a validation."""
    if breaks(context, limit, abs(number)):
        raise PydanticCustomError(LIMIT_ERROR, "{rule}", {"rule": limit.rule(limit.name, number), "limit": limit})


def at_most(maximum: int, reason: str) -> AfterValidator:
    """Return the annotation of a numeric field of a space file with a largest absolute value; see `Limit.reason`."""

    def check(value: Any, info: ValidationInfo) -> Any:
        limit = Limit(name=str(info.field_name), maximum=maximum, reason=reason)
        for number in value if isinstance(value, tuple) else (value,):
            check_limit(info.context, limit, number)
        return value

    return AfterValidator(check)


def shorten(text: str, length: int = MAX_LINE) -> str:
    """Return the text on one line, without the middle of a longer one."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: 2 * length])
    return line if len(line) <= length else f"{line[: length - 100]} ... ({len(text):,} characters)"
