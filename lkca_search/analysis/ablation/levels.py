"""Levels of a hyperparameter: its values, or bins of a range with many values."""

import math
from collections.abc import Sequence

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Domain, FloatRange, IntRange

MAX_LEVELS = 8
"""Maximum number of integers of a range that are levels of their own."""
NUM_BINS = 3
"""Bins of a range of floats, or of a range with more integers."""

Range = IntRange | FloatRange


class ParameterLevel(FrozenModel):
    """One value of a hyperparameter, or one bin of values."""

    label: str
    index: int
    """Index among the levels, from the smallest."""


def assign_levels(values: Sequence[Scalar], domain: Domain | None) -> list[ParameterLevel]:
    """Return the level of each value; `domain` is None for a factor, whose values are always levels of their own.

    The bins of a range have equal widths on the scale of the search, logarithmic or linear. They do not depend on the
    trials, so they are the same in every family.
    """
    if is_binned(domain):
        assert isinstance(domain, Range)
        bins = [min(int(NUM_BINS * position(value, domain)), NUM_BINS - 1) for value in values]
        label_of = {index: _bin_label(index, domain) for index in set(bins)}
        labels = [label_of[index] for index in bins]
    else:
        distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
        bins = [distinct.index(value) for value in values]
        labels = [format_level(value) for value in values]
    indices = {found: index for index, found in enumerate(sorted(set(bins)))}
    return [ParameterLevel(label=label, index=indices[found]) for label, found in zip(labels, bins, strict=True)]


def is_binned(domain: Domain | None) -> bool:
    """Return True if the levels of a domain are bins."""
    return isinstance(domain, FloatRange) or (isinstance(domain, IntRange) and len(domain.values()) > MAX_LEVELS)


def position(value: Scalar, domain: Range) -> float:
    """Return the position of a number in a range, from 0 to 1, on the scale of the search."""
    low, high, number = (_scale(end, domain) for end in (*domain.bounds, float(value)))
    return min(max((number - low) / (high - low), 0.0), 1.0)


def format_level(value: Scalar) -> str:
    """Return the label of a value: 7, 0.05, true."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scale(value: float, domain: Range) -> float:
    return math.log(value) if domain.log else float(value)


def _bin_label(index: int, domain: Range) -> str:
    if isinstance(domain, IntRange):
        inside = [
            value for value in domain.values() if min(int(NUM_BINS * position(value, domain)), NUM_BINS - 1) == index
        ]
        return f"{inside[0]} to {inside[-1]}"
    low, high = (_scale(end, domain) for end in domain.bounds)
    edges = [low + (high - low) * edge / NUM_BINS for edge in (index, index + 1)]
    return " to ".join(f"{math.exp(edge) if domain.log else edge:.2g}" for edge in edges)
