"""Rules that many configurations of a family break in one way, joined to one line."""

from collections.abc import Sequence

from lkca_search.errors import Problem
from lkca_search.models.matching import NEAREST
from lkca_search.models.own_family import GIVEN


def kind_of(rule: str) -> tuple[str, ...]:
    """Return the parts of a rule that are equal for all configurations of a family that break it in one way."""
    what, given, error = rule.partition(GIVEN)
    return (what, error.rpartition(" (")[2]) if given else (rule.partition(NEAREST)[0],)


def join_rules(problems: Sequence[Problem]) -> str:
    """Return the rule that configurations break in one way: the first one, or the range of the nearest sizes."""
    rules = list(dict.fromkeys(problem.rule for problem in problems))
    if len(rules) < 2:
        return rules[0]
    rule, nearest, _ = rules[0].partition(NEAREST)
    if not nearest:
        return f"{rules[0]}; so do {len(rules) - 1} more configurations"
    sizes = sorted((each.partition(NEAREST)[2] for each in rules), key=lambda size: int(size.split()[0]))
    return f"{rule}{NEAREST}from {sizes[0]} to {sizes[-1]}, as the other hyperparameters are"
