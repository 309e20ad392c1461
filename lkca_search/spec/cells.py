"""Cells of a search: the combinations of factor levels in its design, and the parts of a search with one dataset.

A dataset is named by its level of the factor `dataset`. In a search without this factor the level is None, as `dataset`
in its configurations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import or_

from lkca_search.errors import Location
from lkca_search.file_names import hash_name, is_too_long
from lkca_search.spec.configuration import Configuration, Scalar, in_order, without_own_names
from lkca_search.spec.domains import Domain, Fixed, FloatRange
from lkca_search.spec.factors import DATASET, DRAW, Factor, combinations, excluded, repeats_of
from lkca_search.spec.search_spec import SearchSpec

_SHORT_KEY_BYTES = 200
"""Longest front of a shortened key, in bytes. It leaves space for what Ray Tune and temporary files add."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Combination of factor levels, with a study of its own and the same trial budget as every other cell."""

    levels: Mapping[str, Scalar]
    """Factor name to level, in canonical order, without the factors that do not apply."""

    @property
    def dataset(self) -> str | None:
        """Level of the factor `dataset`; None in a search without this factor."""
        level = self.levels.get(DATASET)
        return None if level is None else str(level)

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


def compared_cells(spec: SearchSpec) -> dict[str, Cell]:
    """Return the cell to compare, per cell key: the cell itself, but without its draw if the search was repeated."""
    left_out = (DRAW,) if repeats_of(spec.factors, spec.exclude) else ()
    return {
        cell.key: Cell(levels={name: level for name, level in cell.levels.items() if name not in left_out})
        for cell in cells(spec)
    }


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


def dataset_levels(spec: SearchSpec) -> tuple[str | None, ...]:
    """Return the level of each dataset that a cell uses, in the order of the space file."""
    if DATASET not in spec.factors:
        return (None,)
    used = {cell.dataset for cell in cells(spec)}
    return tuple(str(level) for level in spec.factors[DATASET].levels if level in used)


def spec_of_dataset(spec: SearchSpec, level: str | None) -> SearchSpec:
    """Return the spec of the cells of one dataset, with that dataset in its section `data`.

    Its cells have the same keys as in the whole search.
    """
    factors = spec.factors if level is None else {**spec.factors, DATASET: Factor(levels=(level,))}
    return spec.model_copy(update={"data": spec.data.of_dataset(level), "factors": factors})


def specs_by_dataset(spec: SearchSpec) -> dict[str | None, SearchSpec]:
    """Return `spec_of_dataset` per dataset of a search."""
    return {level: spec_of_dataset(spec, level) for level in dataset_levels(spec)}


def dataset_location(spec: SearchSpec, level: str | None) -> Location:
    """Return the location in the space file of a dataset: its entry in `data.sources`, its level or `data.dataset`."""
    if level is None:
        return ("data", "dataset")
    if level in spec.data.sources:
        return ("data", "sources", level)
    return ("factors", DATASET, "levels", spec.factors[DATASET].levels.index(level))
