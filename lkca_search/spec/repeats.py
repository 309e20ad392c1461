"""Repeats: the whole search of every cell made several times, each on a subset draw of its own.

The factor `draw` repeats a search, and `search: {repeats: 5}` is short for its levels 0 to 4. A repeat has its own
training images, sampler seed and training seeds, and its best configuration is confirmed on one fresh draw of its own:
the draws of a round then vary by all that a search varies by, and stay as independent as the statistics take them for.
"""

from collections.abc import Iterator, Mapping, Sequence

from lkca_search.errors import Problem
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.confirm_section import ConfirmSection
from lkca_search.spec.factors import Exclusion, Factor

DRAW = "draw"


def with_repeats(factors: Mapping[str, Factor], repeats: int) -> Mapping[str, Factor]:
    """The factors of a spec with the one that a number of repeats is short for, unless it is among them."""
    return factors if repeats < 2 or DRAW in factors else {**factors, DRAW: Factor(levels=tuple(range(repeats)))}


def repeats_of(factors: Mapping[str, Factor], exclude: Sequence[Exclusion]) -> tuple[Scalar, ...]:
    """The draws on which a search is repeated; none where it is made once, or not every cell on every draw."""
    draw = factors.get(DRAW)
    is_everywhere = draw is not None and not draw.when and not any(DRAW in entry for entry in exclude)
    return draw.levels if draw is not None and is_everywhere and len(draw.levels) > 1 else ()


def with_draws(confirm: ConfirmSection, repeats: int) -> ConfirmSection:
    """The section `confirm` with one draw a repeat, unless it says how many draws itself."""
    if not repeats or "draws" in confirm.model_fields_set:
        return confirm
    return confirm.model_copy(update={"draws": repeats})


def repeats_problems(
    factors: Mapping[str, Factor], exclude: Sequence[Exclusion], asked: int, confirm: ConfirmSection | None
) -> Iterator[Problem]:
    """Every rule of repeats that is broken, where so many are `asked` for."""
    if asked > 1 and factors[DRAW] != Factor(levels=tuple(range(asked))):
        rule = f"repeats are the levels 0 to {asked - 1} of the factor draw, which the space file gives as well"
        yield Problem(("search", "repeats"), f"{rule}: leave one out")
    for i, entry in enumerate(exclude):
        if asked > 1 and DRAW in entry:
            yield Problem(("exclude", i, DRAW), "every cell is repeated on each draw, so exclude names none")
    draws = repeats_of(factors, exclude)
    if confirm is not None and (broken := draws_rule(len(draws), confirm.draws)):
        yield Problem(("confirm", "draws"), broken)


def draws_rule(repeats: int, draws: int) -> str | None:
    """Which rule a number of draws breaks on which a search with so many repeats is to be confirmed."""
    if repeats in (0, draws):
        return None
    return f"each of the {repeats} repeats is confirmed on a draw of its own, so draws must be {repeats}, got {draws}"
