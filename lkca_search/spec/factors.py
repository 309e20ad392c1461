"""Factors: their levels, where they apply, and which combinations of levels a design is made of."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from lkca_search.errors import Problem
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import SUBSET_NAMES, Scalar
from lkca_search.spec.domains import Condition, Levels, holds
from lkca_search.spec.space import Space

Design = Literal["crossed", "one_at_a_time"]
Combination = dict[str, Scalar]
"""Factor name to level, of the factors that apply, in the order of the space file."""

DRAW = "draw"
"""Factor that repeats a search: every cell is searched once per level, each time on a subset draw of its own."""
_ANYWHERE: Mapping[str, tuple[Scalar, ...]] = {}
_FIRST: Mapping[str, Scalar] = {}


class Factor(FrozenModel):
    """A name whose levels make cells; a list of levels is short for a mapping with the key `levels`."""

    levels: Levels
    """The levels; the first one is the base of a design that has one."""
    when: Condition = _ANYWHERE
    """Where the factor applies; in other cells it is absent."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"levels": value}
        if not isinstance(value, Mapping | Factor):
            raise ValueError(f"a factor must be a list of levels, or a mapping with levels and when, got {value!r}")
        return value

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> Any:
        return whole(self) if self.when else whole(self)["levels"]


Exclusion = Mapping[
    str, Annotated[Levels, BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))]
]
"""Cells that are left out: those where every name has one of its listed levels."""


def is_excluded(combination: Mapping[str, Scalar], exclude: Sequence[Exclusion]) -> bool:
    """Whether one of the exclusions covers a combination."""
    return any(holds(entry, combination) for entry in exclude)


def combinations(
    factors: Mapping[str, Factor], design: Design = "crossed", base: Mapping[str, Scalar] = _FIRST
) -> list[Combination]:
    """Every distinct combination of levels of a design, exclusions aside.

    Crossed, these are all of them, in the order of the space file. One at a time, they are the base and, factor by
    factor, each other level with the rest at base; and each of these with every level of the names that decide the
    subset, since an ablation is made at each size of data.
    """
    if design == "crossed":
        crossed = Space(factors).branch(lambda _, factor: factor.levels, {})
        in_order = (_in_written_order(factors, found) for found in crossed)
        return sorted(in_order, key=lambda found: _position(factors, found))
    sizes = {name: factor.levels for name, factor in factors.items() if name in SUBSET_NAMES}
    result: list[Combination] = []
    for varied in _one_at_a_time({name: factor for name, factor in factors.items() if name not in sizes}, base):
        for levels in product(*sizes.values()):
            found = _applying(factors, {**varied, **dict(zip(sizes, levels, strict=True))})
            if found not in result:
                result.append(found)
    return result


def _in_written_order(factors: Mapping[str, Factor], levels: Combination) -> Combination:
    return {name: levels[name] for name in factors if name in levels}


def _applying(factors: Mapping[str, Factor], levels: Combination) -> Combination:
    """Return the levels of the factors that apply among these levels."""
    return _in_written_order(factors, Space(factors).walk(lambda name, _: levels[name], {}))


def _position(factors: Mapping[str, Factor], combination: Combination) -> list[int]:
    """Where a combination stands when the last factor of the space file changes fastest."""
    return [factor.levels.index(combination[name]) if name in combination else -1 for name, factor in factors.items()]


def _one_at_a_time(factors: Mapping[str, Factor], base: Mapping[str, Scalar]) -> Iterator[Combination]:
    start = {name: base.get(name, factor.levels[0]) for name, factor in factors.items()}
    yield start
    for name, factor in factors.items():
        for level in factor.levels:
            if level != start[name]:
                yield {**start, name: level}


def with_repeats(factors: Mapping[str, Factor], repeats: int) -> Mapping[str, Factor]:
    """The factors of a spec with the one that a number of repeats is short for, unless it is among them."""
    return factors if repeats < 2 or DRAW in factors else {**factors, DRAW: Factor(levels=tuple(range(repeats)))}


def repeats_of(factors: Mapping[str, Factor], exclude: Sequence[Exclusion]) -> tuple[Scalar, ...]:
    """The draws on which a search is repeated; none where it is made once, or not every cell on every draw."""
    draw = factors.get(DRAW)
    is_everywhere = draw is not None and not draw.when and not any(DRAW in entry for entry in exclude)
    return draw.levels if draw is not None and is_everywhere and len(draw.levels) > 1 else ()


def draws_rule(repeats: int, draws: int) -> str | None:
    """Which rule a number of draws breaks on which a search with so many repeats is to be confirmed."""
    if repeats in (0, draws):
        return None
    return f"each of the {repeats} repeats is confirmed on a draw of its own, so draws must be {repeats}, got {draws}"


def factor_problems(
    factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar], exclude: Sequence[Exclusion]
) -> Iterator[Problem]:
    """Every rule of the design that the factors, the base or an exclusion break."""
    problems = [*_level_problems(factors), *_base_problems(factors, design, base), *_name_problems(factors, exclude)]
    yield from problems
    try:
        _ = Space(factors).order
    except CycleError as error:
        circle = error.args[1]
        yield Problem(("factors", circle[0], "when"), f"`when` conditions form a circle: {' -> '.join(circle)}")
        return
    if not problems:
        yield from _cell_problems(factors, combinations(factors, design, base), exclude)


def _level_problems(factors: Mapping[str, Factor]) -> Iterator[Problem]:
    for name, factor in factors.items():
        if len(set(factor.levels)) < len(factor.levels):
            yield Problem(("factors", name), f"levels must be distinct, got {list(factor.levels)}")
        for other, levels in factor.when.items():
            location = ("factors", name, "when", other)
            if other not in factors:
                yield Problem(location, f"`when` of a factor names factors, and {other!r} is none")
            elif unknown := [level for level in levels if level not in factors[other].levels]:
                yield Problem(location, f"`when` waits for {other} in {unknown}, which it never is")


def _base_problems(factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar]) -> Iterator[Problem]:
    if base and design == "crossed":
        yield Problem(("base",), "base belongs to design one_at_a_time; in a crossed one no level is the base")
        return
    for name, level in base.items():
        if name not in factors:
            yield Problem(("base", name), f"base names {name!r}, which is no factor")
        elif name in SUBSET_NAMES:
            rule = f"{name} has no base level: what decides the subset is crossed, an ablation at each size of data"
            yield Problem(("base", name), rule)
        elif level not in factors[name].levels:
            levels = list(factors[name].levels)
            yield Problem(("base", name), f"the base of {name} must be one of its levels {levels}, got {level!r}")


def _name_problems(factors: Mapping[str, Factor], exclude: Sequence[Exclusion]) -> Iterator[Problem]:
    for i, entry in enumerate(exclude):
        if not entry:
            yield Problem(("exclude", i), "an entry of exclude names at least one factor and its levels")
        for name, levels in entry.items():
            if name not in factors:
                yield Problem(("exclude", i, name), f"exclude names {name!r}, which is no factor")
            elif unknown := [level for level in levels if level not in factors[name].levels]:
                yield Problem(("exclude", i, name), f"exclude names {name} in {unknown}, which it never is")


def _cell_problems(
    factors: Mapping[str, Factor], found: Sequence[Combination], exclude: Sequence[Exclusion]
) -> Iterator[Problem]:
    for name, factor in factors.items():
        seen = {levels[name] for levels in found if name in levels}
        if unseen := [level for level in factor.levels if level not in seen]:
            rule = f"every level must stand in a cell, and in this design {name} is never {unseen}"
            yield Problem(("factors", name), rule)
    for i, entry in enumerate(exclude):
        if not any(is_excluded(levels, [entry]) for levels in found):
            yield Problem(("exclude", i), "an entry of exclude must leave out a cell, and this one leaves out none")
    if all(is_excluded(levels, exclude) for levels in found):
        yield Problem(("exclude",), f"exclude must leave a cell, and it leaves out all {len(found)}")
