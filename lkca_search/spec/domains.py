"""The domains a parameter is searched over: a choice, a range of integers, a range of floats, or one fixed value."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration, Scalar, broken_rule


def _read_count(value: Scalar) -> Scalar:
    """A text that `match_parameters` takes is a number: 250k and 250000 are one level."""
    if isinstance(value, str) and broken_rule("match_parameters", value) is None:
        count = Configuration.model_validate({"match_parameters": value}).match_parameters
        assert count is not None
        return count
    return value


Level = Annotated[Scalar, AfterValidator(_read_count)]
"""One value that a space file gives to a name; 250k and 1.0M are read as numbers."""
Levels = Annotated[tuple[Level, ...], Field(min_length=1, strict=False)]  # not strict, so that JSON's lists will do
"""Values that a space file lists for a name."""
Condition = Mapping[str, Levels]
"""`when: {family: [lkca]}`: the parameter exists only where each name has one of the listed values."""

_ANYWHERE: Mapping[str, tuple[Scalar, ...]] = {}


def holds(when: Condition, chosen: Mapping[str, Scalar]) -> bool:
    """Whether every name of a condition has one of its values among those chosen."""
    return all(chosen.get(name) in values for name, values in when.items())


class Choice(FrozenModel):
    """One of the listed values."""

    choice: Levels
    """The values, without an order."""
    when: Condition = _ANYWHERE
    """Where the parameter exists."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.choice)) < len(self.choice):
            raise ValueError(f"choices must be distinct, got {list(self.choice)}")
        return self

    def values(self) -> tuple[Scalar, ...]:
        """Every value."""
        return self.choice

    def edges(self) -> tuple[Scalar, ...]:
        """The values at which a rule about the parameter can first break: all of them."""
        return self.choice


class IntRange(FrozenModel):
    """An integer between two bounds, both included."""

    bounds: Annotated[tuple[int, int], Field(alias="int")]
    """Smallest and largest value."""
    step: Annotated[int, Field(ge=1)] = 1
    """Distance between neighbouring values, counted from the smallest."""
    log: bool = False
    """Whether the logarithm is searched."""
    when: Condition = _ANYWHERE
    """Where the parameter exists."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_bounds(*self.bounds, log=self.log)
        if self.log and self.step > 1:
            raise ValueError(f"a logarithmic range takes no step, got step {self.step}")
        return self

    def values(self) -> range:
        """Every value."""
        low, high = self.bounds
        return range(low, high + 1, self.step)

    def edges(self) -> tuple[Scalar, ...]:
        """Every value of a range of at most 64, else the smallest and the largest."""
        values = self.values()
        return tuple(values) if len(values) <= 64 else (values[0], values[-1])


class FloatRange(FrozenModel):
    """A number between two bounds, both included."""

    bounds: Annotated[tuple[float, float], Field(alias="float")]
    """Smallest and largest value."""
    log: bool = False
    """Whether the logarithm is searched."""
    when: Condition = _ANYWHERE
    """Where the parameter exists."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_bounds(*self.bounds, log=self.log)
        return self

    def edges(self) -> tuple[Scalar, ...]:
        """The bounds."""
        return self.bounds


class Fixed(FrozenModel):
    """One value: a parameter that is set, not searched."""

    value: Level
    """The value."""
    when: Condition = _ANYWHERE
    """Where the parameter exists."""

    def values(self) -> tuple[Scalar, ...]:
        """The value."""
        return (self.value,)

    def edges(self) -> tuple[Scalar, ...]:
        """The value."""
        return (self.value,)


def _check_bounds(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"a range needs its smallest value before its largest, got [{low}, {high}]")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range must start above 0, got {low}")


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
        custom_error_message="a parameter is a mapping with exactly one of the keys choice, int, float, value",
    ),
]
"""A parameter's domain as written in a space file."""
