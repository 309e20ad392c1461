"""The cells of a search: one for each combination of factor levels."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from lkca_search.configuration import NAMES, Configuration, Scalar
from lkca_search.space import Domain
from lkca_search.spec import SearchSpec


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of factor levels. It owns one study and the same trial budget as every other cell."""

    levels: Mapping[str, Scalar]
    """Factor name to level, in canonical order."""

    @property
    def key(self) -> str:
        """Stable name of the cell and its study: family=lkca,data_fraction=0.1."""
        return ",".join(f"{name}={level}" for name, level in self.levels.items()) or "all"


def cells(spec: SearchSpec) -> tuple[Cell, ...]:
    """Every combination of levels, in the order of the space file. The order of the factors does not change a key."""
    names = list(spec.factors)
    result = []
    for levels in product(*spec.factors.values()):
        given = Configuration.model_validate(dict(zip(names, levels, strict=True)))
        result.append(Cell(levels={name: getattr(given, name) for name in NAMES if name in spec.factors}))
    return tuple(result)


def exists(domain: Domain, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a parameter's condition holds among the values chosen before it."""
    return all(chosen.get(other) in values for other, values in domain.when.items())
