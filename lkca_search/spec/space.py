"""Conditional space: names that exist only where their condition holds, walked in dependency order."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Generic, Protocol, TypeVar

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
    """Names of a space file with their domains (parameters) or factors. A name may exist under a condition only."""

    entries: Mapping[str, T]
    """Name to domain or factor."""

    @property
    def order(self) -> tuple[str, ...]:
        """Every name, after those that its condition depends on; graphlib.CycleError if there is no such order."""
        graph = {name: [other for other in entry.when if other in self.entries] for name, entry in self.entries.items()}
        return tuple(TopologicalSorter(graph).static_order())

    def walk(self, choose: Callable[[str, T], Scalar], given: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return the given values and one chosen value per name that exists; `choose` is called in dependency order."""
        return next(self.branch(lambda name, entry: (choose(name, entry),), given))

    def branch(
        self, options: Callable[[str, T], Iterable[Scalar]], given: Mapping[str, Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        """Yield the given values with every combination of options, depth first: the last name changes fastest."""
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

        return extend(dict(given), 0)
