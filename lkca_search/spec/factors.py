"""Factors, the combinations of their levels in a design, and repeats of a search (the factor `draw`).

`search: {repeats: 5}` is short for the levels 0 to 4 of `draw`. Repeats differ in their training
images, sampler seed and training seeds. The best configuration of each repeat is confirmed on a separate fresh draw.
The draws of a round are therefore independent repeats of the whole search, as the statistics assume.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice, product
from operator import and_, or_
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from lkca_search.errors import Problem, did_you_mean, show_value
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, SUBSET_NAMES, Scalar, own_name_rule
from lkca_search.spec.domains import ALWAYS, Condition, Levels, Space, cycle_problem
from lkca_search.spec.reading.limits import CELLS, breaks

Design = Literal["crossed", "one_at_a_time"]
Combination = dict[str, Scalar]
"""Factor name to level, without the factors that do not apply, in the order of the space file."""

DRAW = "draw"
"""Factor that repeats a search: every cell is searched once per level, on the subset draw of that number."""
DATASET = "dataset"
"""Factor whose levels are datasets: each cell trains, validates and tests on one of them."""
_FIRST_LEVELS: Mapping[str, Scalar] = {}


class Factor(FrozenModel):
    """Name whose levels make cells; a list of levels is short for a mapping with the key `levels`."""

    levels: Levels
    """Levels; by default the first one is the base of a one-at-a-time design."""
    when: Condition = ALWAYS
    """Condition under which the factor applies; other cells do not have it."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"levels": value}
        if not isinstance(value, Mapping | Factor):
            hint = "" if value is None else f"; write [{value}]"
            raise ValueError(
                f"a factor must be a list of levels, or a mapping with levels and when, got {show_value(value)}{hint}"
            )
        return value

    @model_serializer(mode="wrap")
    def _shorten(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self) if self.when else handler(self)["levels"]


Exclusion = Mapping[
    str, Annotated[Levels, BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))]
]
"""Cells to leave out: those in which every name has one of its listed levels."""


def excluded(combinations: Sequence[Mapping[str, Scalar]], exclude: Sequence[Exclusion]) -> list[int]:
    """Return the combinations that each exclusion covers, as the bits of an integer: bit i for combination i.

    The time grows with the sum of both numbers, not with their product.
    """
    with_level: dict[tuple[str, Scalar], int] = defaultdict(int)
    for i, combination in enumerate(combinations):
        for pair in combination.items():
            with_level[pair] |= 1 << i
    every = (1 << len(combinations)) - 1
    return [
        reduce(
            and_, (reduce(or_, (with_level.get((name, level), 0) for level in entry[name])) for name in entry), every
        )
        for entry in exclude
    ]


def combinations(
    factors: Mapping[str, Factor], design: Design = "crossed", base: Mapping[str, Scalar] = _FIRST_LEVELS
) -> list[Combination]:
    """Return every distinct combination of levels of a design, including excluded ones.

    `crossed`: all combinations, in the order of the space file. `one_at_a_time`: the base, and per factor each other
    level with all other factors at their base. The names that decide the subset are crossed in both designs, since an
    ablation is repeated at each training set size.
    """
    result = [_in_file_order(factors, combination) for combination in _all_combinations(factors, design, base)]
    if design == "crossed":
        ranks = {name: {level: rank for rank, level in enumerate(factor.levels)} for name, factor in factors.items()}
        return sorted(result, key=lambda combination: [_rank(ranks[name], combination, name) for name in factors])
    return list({tuple(combination.items()): combination for combination in result}.values())


def _all_combinations(
    factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar]
) -> Iterator[Combination]:
    """Yield the combinations of a design one by one. Those of `one_at_a_time` may repeat."""
    space = Space(factors)
    if design == "crossed":
        yield from space.branch(lambda _, factor: factor.levels, {})
        return
    sizes = {name: factor.levels for name, factor in factors.items() if name in SUBSET_NAMES}
    for varied in _one_at_a_time({name: factor for name, factor in factors.items() if name not in sizes}, base):
        for levels in product(*sizes.values()):
            yield _applicable(space, {**varied, **dict(zip(sizes, levels, strict=True))})


def _applicable(space: Space[Factor], levels: Combination) -> Combination:
    """Return the levels without those of factors that do not apply."""
    return space.walk(lambda name, _: levels[name], {})


def _in_file_order(factors: Mapping[str, Factor], levels: Combination) -> Combination:
    return {name: levels[name] for name in factors if name in levels}


def _rank(ranks: Mapping[Scalar, int], combination: Combination, name: str) -> int:
    """Return the rank of a level, by which cells are sorted: the last factor of the space file changes fastest."""
    return ranks[combination[name]] if name in combination else -1


def _one_at_a_time(factors: Mapping[str, Factor], base: Mapping[str, Scalar]) -> Iterator[Combination]:
    start = {name: base.get(name, factor.levels[0]) for name, factor in factors.items()}
    yield start
    for name, factor in factors.items():
        for level in factor.levels:
            if level != start[name]:
                yield {**start, name: level}


def count_cells(
    factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar], exclude: Sequence[Exclusion]
) -> int:
    """Return the number of cells: the combinations that no exclusion covers."""
    return len(included(factors, design, base, exclude))


def included(
    factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar], exclude: Sequence[Exclusion]
) -> list[Combination]:
    """Return the combinations of a design that no exclusion covers, in the order of the space file."""
    every = combinations(factors, design, base)
    left_out = reduce(or_, excluded(every, exclude), 0)
    return [levels for i, levels in enumerate(every) if not left_out >> i & 1]


def with_repeats(factors: Mapping[str, Factor], repeats: int) -> Mapping[str, Factor]:
    """Return the factors with `draw` added for a number of repeats, unless they have it already."""
    return factors if repeats < 2 or DRAW in factors else {**factors, DRAW: Factor(levels=tuple(range(repeats)))}


def repeats_of(factors: Mapping[str, Factor], exclude: Sequence[Exclusion]) -> tuple[Scalar, ...]:
    """Return the draws on which a search is repeated; empty if it is not repeated or a cell lacks one of them."""
    draw = factors.get(DRAW)
    is_everywhere = draw is not None and not draw.when and not any(DRAW in entry for entry in exclude)
    return draw.levels if draw is not None and is_everywhere and len(draw.levels) > 1 else ()


def one_draw_note(draws: int) -> str | None:
    """Return what a confirmation with a single draw lacks; None if it has more."""
    if draws > 1:
        return None
    return "one draw: a cell that trains on a part of the images has no interval and is not tested; 5 draws are usual"


def draws_rule(repeats: int, draws: int) -> str | None:
    """Return the rule that the draws of a confirmation break in a search with `repeats`; None if they break none."""
    if repeats in (0, draws):
        return None
    return f"draws must be {repeats}, one per repeat of the search, got {draws}"


def condition_rule(listed: Sequence[Scalar], possible: Container[Scalar], kind: str) -> str | None:
    """Return the rule that the values of a `when` break; None if they break none.

    `kind` describes a possible value in the message: "level of factor `family`".
    """
    known = frozenset(possible) if isinstance(possible, tuple) else possible  # a search in a long tuple is slow
    unknown = [value for value in listed if value not in known]
    if not unknown:
        return None
    rule = "`when` can never hold" if len(unknown) == len(listed) else "every value of `when` must be possible"
    hint = did_you_mean(unknown[0], possible) if isinstance(possible, tuple) else ""
    return f"{rule}: {' or '.join(map(repr, unknown))} is not a {kind}{hint}"


def factor_problems(
    factors: Mapping[str, Factor],
    design: Design,
    base: Mapping[str, Scalar],
    exclude: Sequence[Exclusion],
    limits: Any = None,
    *,
    broken: Container[str] = (),
) -> Iterator[Problem]:
    """Yield every rule of the design that the factors, the base or an exclusion break.

    `broken` has the factors with a level that breaks a rule. What refers to their levels is not checked.
    Cells are not made if their number is over its limit in `limits`, the context of the validation, or a name is
    unknown.
    """
    problems = [
        *_level_problems(factors, broken),
        *_base_problems(factors, design, base, broken),
        *_name_problems(factors, exclude, broken),
    ]
    yield from problems
    if cycle := cycle_problem(Space(factors), "factors"):
        yield cycle
    elif problems or any(name in broken or (name not in NAMES and own_name_rule(name)) for name in factors):
        return
    elif breaks(limits, CELLS, sum(1 for _ in islice(_all_combinations(factors, design, base), CELLS.maximum + 1))):
        yield Problem(("factors",), CELLS.rule("the number of cells", "more"))
    else:
        yield from _cell_problems(factors, combinations(factors, design, base), exclude)


def _level_problems(factors: Mapping[str, Factor], broken: Container[str]) -> Iterator[Problem]:
    for name, factor in factors.items():
        if len(set(factor.levels)) < len(factor.levels):
            yield Problem(("factors", name), f"levels must be distinct, got {list(factor.levels)}")
        for other, levels in factor.when.items():
            location = ("factors", name, "when", other)
            if other not in factors:
                hint = did_you_mean(other, factors)
                yield Problem(location, f"`when` of a factor must name factors, got {other!r}{hint}")
            elif other in broken:
                continue
            elif rule := condition_rule(levels, factors[other].levels, f"level of factor `{other}`"):
                yield Problem(location, rule)


def _base_problems(
    factors: Mapping[str, Factor], design: Design, base: Mapping[str, Scalar], broken: Container[str]
) -> Iterator[Problem]:
    if base and design == "crossed":
        yield Problem(("base",), "base must be left out of a crossed design: only design one_at_a_time has a base")
        return
    for name, level in base.items():
        if name not in factors:
            yield Problem(("base", name), f"base must name factors, got {name!r}{did_you_mean(name, factors)}")
        elif name in SUBSET_NAMES:
            rule = f"base must not name {name}: an ablation is repeated at each training set size, so {name} is crossed"
            yield Problem(("base", name), rule)
        elif name not in broken and level not in factors[name].levels:
            levels = list(factors[name].levels)
            rule = f"the base of {name} must be one of its levels {levels}, got {level!r}{did_you_mean(level, levels)}"
            yield Problem(("base", name), rule)


def _name_problems(
    factors: Mapping[str, Factor], exclude: Sequence[Exclusion], broken: Container[str]
) -> Iterator[Problem]:
    known = {name: frozenset(factor.levels) for name, factor in factors.items()}
    for i, entry in enumerate(exclude):
        if not entry:
            yield Problem(("exclude", i), "an entry of exclude must name at least one factor and its levels")
        for name, levels in entry.items():
            if name not in factors:
                hint = did_you_mean(name, factors)
                yield Problem(("exclude", i, name), f"exclude must name factors, got {name!r}{hint}")
            elif name in broken:
                continue
            elif unknown := [level for level in levels if level not in known[name]]:
                hint = did_you_mean(unknown[0], known[name])
                yield Problem(("exclude", i, name), f"exclude must list levels of factor `{name}`, got {unknown}{hint}")


def _cell_problems(
    factors: Mapping[str, Factor], cells: Sequence[Combination], exclude: Sequence[Exclusion]
) -> Iterator[Problem]:
    for name, factor in factors.items():
        seen = {levels[name] for levels in cells if name in levels}
        if unseen := [level for level in factor.levels if level not in seen]:
            rule = f"every level must be in a cell, and no cell of this design has {name} in {unseen}"
            yield Problem(("factors", name), rule)
    covered = excluded(cells, exclude)
    for i, cells_of_entry in enumerate(covered):
        if not cells_of_entry:
            yield Problem(("exclude", i), "an entry of exclude must cover at least one cell, and this one covers none")
    if reduce(or_, covered, 0).bit_count() == len(cells):
        yield Problem(("exclude",), f"exclude must leave at least one cell, and it covers all {len(cells)}")
