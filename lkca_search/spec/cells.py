"""The cells of a search: the combinations of factor levels that its design is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from lkca_search.spec.configuration import NAMES, Configuration, Scalar
from lkca_search.spec.domains import Domain, Fixed, FloatRange, holds
from lkca_search.spec.factors import combinations, is_excluded
from lkca_search.spec.search_spec import SearchSpec, parameter_order


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of factor levels. It owns one study and the same trial budget as every other cell."""

    levels: Mapping[str, Scalar]
    """Factor name to level, in canonical order; a factor that does not apply here is absent."""

    @property
    def key(self) -> str:
        """Stable name of the cell and its study: family=lkca,data_fraction=0.1."""
        return ",".join(f"{name}={level}" for name, level in self.levels.items()) or "all"


def cells(spec: SearchSpec, *, with_excluded: bool = False) -> tuple[Cell, ...]:
    """Every cell, in the order of the space file. The order of the factors does not change a key."""
    result = []
    for levels in combinations(spec.factors, spec.design, spec.base):
        if with_excluded or not is_excluded(levels, spec.exclude):
            given = Configuration.model_validate(levels)
            result.append(Cell(levels={name: getattr(given, name) for name in NAMES if name in levels}))
    return tuple(result)


def exists(domain: Domain, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a parameter's condition holds among the values chosen before it."""
    return holds(domain.when, chosen)


def points(spec: SearchSpec, cell: Cell, *, most: int | None = None) -> list[dict[str, Scalar]]:
    """Every distinct suggestion of a cell, or the first of them; only where no parameter is a range of floats.

    A fixed value is set, not suggested, and stands in none of them.
    """

    def extend(chosen: dict[str, Scalar], rest: tuple[str, ...]) -> Iterator[dict[str, Scalar]]:
        if not rest:
            yield chosen
            return
        domain = spec.parameters[rest[0]]
        assert not isinstance(domain, FloatRange)
        values = domain.values() if exists(domain, chosen) else ()
        for value in values:
            yield from extend({**chosen, rest[0]: value}, rest[1:])
        if not values:
            yield from extend(chosen, rest[1:])

    suggested = {name for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)}
    found = islice(extend(dict(cell.levels), parameter_order(spec.parameters)), most)
    return [{name: value for name, value in chosen.items() if name in suggested} for chosen in found]
