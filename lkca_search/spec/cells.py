"""Cells of a search: the combinations of factor levels in its design."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import or_

from lkca_search.file_names import hash_name, is_too_long
from lkca_search.spec.configuration import Configuration, Scalar, in_order, without_own_names
from lkca_search.spec.domains import Domain, Fixed, FloatRange
from lkca_search.spec.factors import combinations, excluded
from lkca_search.spec.search_spec import SearchSpec

_SHORT_KEY_BYTES = 200
"""Longest front of a shortened key, in bytes. It leaves space for what Ray Tune and temporary files add."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Combination of factor levels, with a study of its own and the same trial budget as every other cell."""

    levels: Mapping[str, Scalar]
    """Factor name to level, in canonical order, without the factors that do not apply."""

    @property
    def key(self) -> str:
        """Name of the cell, its folder and its study: family=lkca,data_fraction=0.1.

        A key that is too long for a folder has the first levels and a hash of all: family=lkca,depth=4,more=HASH.
        """
        pairs = [f"{name}={level}" for name, level in self.levels.items()]
        full = ",".join(pairs) or "all"
        if not is_too_long(full):
            return full
        fronts = [",".join(pairs[:count]) for count in range(len(pairs))]
        longest = max((front for front in fronts if not is_too_long(front, max_bytes=_SHORT_KEY_BYTES)), key=len)
        return ",".join(filter(None, (longest, f"more={hash_name(full)}")))


def cells(spec: SearchSpec, *, with_excluded: bool = False) -> tuple[Cell, ...]:
    """Return every cell, in the order of the space file. The order of factors does not change a key."""
    result = []
    every = combinations(spec.factors, spec.design, spec.base)
    left_out = 0 if with_excluded else reduce(or_, excluded(every, spec.exclude), 0)
    for i, levels in enumerate(every):
        if not left_out >> i & 1:
            converted = {**levels, **without_own_names(levels).model_dump(include=set(levels))}
            result.append(Cell(levels={name: converted[name] for name in in_order(levels)}))
    return tuple(result)


def num_reports(spec: SearchSpec, cell: Cell) -> int:
    """Return the most evaluations of a trial of a cell: one per epoch by default, and epochs may be a level."""
    recipes = (Configuration.model_validate(recipe) for recipe in spec.recipes.recipes_of(cell.levels))
    return max(spec.training.of(recipe).num_reports for recipe in recipes)


def grid_points(spec: SearchSpec, cell: Cell, *, limit: int | None = None) -> list[dict[str, Scalar]]:
    """Return every distinct suggestion for a cell, or the first `limit` of them.

    A fixed value is set, not suggested, so no point has it. No parameter may be a range of floats.
    """

    def values(_name: str, domain: Domain) -> Iterable[Scalar]:
        assert not isinstance(domain, FloatRange)
        return domain.values()

    points = islice(spec.space.branch(values, cell.levels), limit)
    suggested = {name for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)}
    return [{name: value for name, value in point.items() if name in suggested} for point in points]
