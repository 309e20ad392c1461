"""Domains of parameters: a choice, a range of integers, a range of floats, or one fixed value."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Scalar, parse_count
from lkca_search.spec.reading.limits import at_most


def _read_count(value: Scalar) -> Scalar:
    """Convert a text that `match_parameters` accepts to a number, so that 250k and 250000 are one level."""
    count = parse_count(value)
    return count if isinstance(count, int) and count >= 1 else value


Level = Annotated[Scalar, AfterValidator(_read_count)]
"""Value of a name in a space file; 250k and 1.0M become numbers."""
Levels = Annotated[tuple[Level, ...], Field(min_length=1, strict=False)]  # not strict: JSON has lists, not tuples
"""Values of a name that a space file lists."""
Condition = Mapping[str, Levels]
"""`when: {family: [lkca]}`: the parameter exists only if each name has one of its listed values."""

_MAX_BOUND = at_most(10**15, "samplers compute in double precision, exact up to 15 digits")

ALWAYS: Mapping[str, tuple[Scalar, ...]] = {}
"""Empty condition, which always holds."""


def holds(when: Condition, chosen: Mapping[str, Scalar]) -> bool:
    """Return True if every name of a condition has one of its listed values in `chosen`."""
    return all(chosen.get(name) in values for name, values in when.items())


class Choice(FrozenModel):
    """One of the listed values."""

    choice: Levels
    """Values, without an order."""
    when: Condition = ALWAYS
    """Condition under which the parameter exists."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.choice)) < len(self.choice):
            raise ValueError(f"choice must have distinct values, got {list(self.choice)}")
        return self

    def values(self) -> tuple[Scalar, ...]:
        """Return every value."""
        return self.choice

    def edges(self) -> tuple[Scalar, ...]:
        """Return the values at which a rule about the parameter can first break: all values."""
        return self.choice


class IntRange(FrozenModel):
    """Integer between two bounds, both included."""

    bounds: Annotated[tuple[int, int], Field(alias="int"), _MAX_BOUND]
    """Smallest and largest value."""
    step: Annotated[int, Field(ge=1), _MAX_BOUND] = 1
    """Distance between neighboring values, counted from the smallest."""
    log: bool = False
    """True if the search is uniform in the logarithm."""
    when: Condition = ALWAYS
    """Condition under which the parameter exists."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_bounds(*self.bounds, log=self.log)
        if self.log and self.step > 1:
            raise ValueError(f"step must be 1 in a logarithmic range, got {self.step}")
        return self

    def values(self) -> range:
        """Return every value."""
        low, high = self.bounds
        return range(low, high + 1, self.step)

    def edges(self) -> tuple[Scalar, ...]:
        """Return every value of a range of at most 64 values, else the smallest and the largest value."""
        low, high = self.bounds
        num_values = (high - low) // self.step + 1  # len(range) fails above 2**63
        return tuple(self.values()) if num_values <= 64 else (low, low + (num_values - 1) * self.step)


class FloatRange(FrozenModel):
    """Real number between two bounds, both included."""

    bounds: Annotated[tuple[float, float], Field(alias="float"), _MAX_BOUND]
    """Smallest and largest value."""
    log: bool = False
    """True if the search is uniform in the logarithm."""
    when: Condition = ALWAYS
    """Condition under which the parameter exists."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_bounds(*self.bounds, log=self.log)
        low, high = self.bounds
        if self.log and math.isinf(high / low):
            rule = "the ratio of the bounds of a logarithmic range must be at most 1e308"
            raise ValueError(f"{rule}, got [{low}, {high}]; raise the first bound")
        return self

    def edges(self) -> tuple[Scalar, ...]:
        """Return the bounds."""
        return self.bounds


class Fixed(FrozenModel):
    """Single value of a parameter that is set, not searched."""

    value: Level
    """Value of the parameter."""
    when: Condition = ALWAYS
    """Condition under which the parameter exists."""

    def values(self) -> tuple[Scalar, ...]:
        """Return the value."""
        return (self.value,)

    def edges(self) -> tuple[Scalar, ...]:
        """Return the value."""
        return (self.value,)


def _check_bounds(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"the first bound must be below the second, got [{low}, {high}]")
    if log and low <= 0:
        raise ValueError(f"the first bound of a logarithmic range must be above 0, got {low}")


def _kind(value: Any) -> str | None:
    kinds = {Choice: "choice", IntRange: "int", FloatRange: "float", Fixed: "value"}
    if isinstance(value, FrozenModel):
        return kinds.get(type(value))
    present = [kind for kind in kinds.values() if isinstance(value, Mapping) and kind in value]
    return present[0] if len(present) == 1 else None


Domain = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[IntRange, Tag("int")]
    | Annotated[FloatRange, Tag("float")]
    | Annotated[Fixed, Tag("value")],
    Discriminator(
        _kind,
        custom_error_type="domain",
        custom_error_message="a parameter must be a mapping with exactly one of the keys choice, int, float, value",
    ),
]
"""Domain of a parameter in a space file."""
