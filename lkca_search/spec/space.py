"""Conditional space: names that exist only where their condition holds, walked in dependency order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Generic, Protocol, TypeVar

from lkca_search.errors import Problem
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Condition, holds


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
