"""Domains of parameters (a choice, a range, or one fixed value), and the conditional space that they make."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Generic, Protocol, Self, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from lkca_search.errors import Location, Problem
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Scalar, own_name_rule, value_rule
from lkca_search.spec.reading.limits import at_most
from lkca_search.spec.reading.scalars import parse_count


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


def may_hold(when: Condition, levels: Mapping[str, Scalar], factors: Container[str]) -> bool:
    """Return True if a condition holds for some values of parameters in the cell with these levels."""
    return holds({name: values for name, values in when.items() if name in factors}, levels)


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


def domain_problems(name: str, domain: Choice | IntRange | FloatRange | Fixed, limits: Any) -> Iterator[Problem]:
    """Yield each rule that a value of a domain breaks; one for a range, whose values break the same.

    `limits` is the context of the validation.
    """
    location = ("parameters", name)
    problems = (problem for edge in domain.edges() for problem in value_problems(name, edge, location, limits))
    if not isinstance(domain, IntRange | FloatRange):
        yield from problems
    elif (first := next(problems, None)) is not None:
        takes_numbers = any(value_rule(name, number) is None for number in (0, 1, 2, 0.5))
        low, high = domain.bounds
        rule = f"{name} must have `choice` or `value`, as its values are no numbers, got a range from {low} to {high}"
        yield first if takes_numbers else Problem(location, rule)


def value_problems(name: str, value: Scalar, location: Location, limits: Any) -> Iterator[Problem]:
    """Yield the rule that a value of a name breaks, if any, at its location."""
    rule = value_rule(name, value, limits) if name in NAMES or own_name_rule(name) is None else None
    if rule is not None:
        yield Problem(location, rule)


class Conditional(Protocol):
    """A factor, or the domain of a parameter."""

    @property
    def when(self) -> Condition:
        """Values of other names under which this one exists."""


T = TypeVar("T", bound=Conditional)


@dataclass(frozen=True)
class Space(Generic[T]):
    """Names of a space file with their factors, or with the domains of parameters."""

    entries: Mapping[str, T]
    """Name to domain or factor."""

    @property
    def order(self) -> tuple[str, ...]:
        """Every name, after those that its condition depends on; graphlib.CycleError if there is no such order."""
        graph = {name: [other for other in entry.when if other in self.entries] for name, entry in self.entries.items()}
        return tuple(TopologicalSorter(graph).static_order())

    def walk(self, choose: Callable[[str, T], Scalar], start: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return `start` with one chosen value per name that exists; `choose` is called in dependency order."""
        return next(self.branch(lambda name, entry: (choose(name, entry),), start))

    def branch(
        self, options: Callable[[str, T], Iterable[Scalar]], start: Mapping[str, Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        """Yield `start` with every combination of options, depth first: the last name changes fastest."""
        order = self.order

        def extend(chosen: dict[str, Scalar], depth: int) -> Iterator[dict[str, Scalar]]:
            if depth == len(order):
                yield chosen
                return
            name, entry = order[depth], self.entries[order[depth]]
            if not holds(entry.when, chosen):
                yield from extend(chosen, depth + 1)
                return
            for value in options(name, entry):
                yield from extend({**chosen, name: value}, depth + 1)

        return extend(dict(start), 0)


def cycle_problem(space: Space[T], section: str) -> Problem | None:
    """Return the problem of conditions that depend on each other in a cycle; None if there is no cycle.

    `section` is the section of the space file with the names of the space.
    """
    try:
        _ = space.order
    except CycleError as error:
        cycle = error.args[1]
        rule = f"`when` conditions must not form a cycle, got {' -> '.join(cycle)}"
        return Problem((section, cycle[0], "when"), rule)
    return None
