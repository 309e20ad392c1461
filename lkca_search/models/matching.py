"""The width at which a family has a given number of parameters, so that families are compared at equal size."""

from functools import lru_cache

import torch

from lkca_search.models.cost import count_parameters
from lkca_search.models.family import Family, known, without_common
from lkca_search.spec.configuration import Configuration, ImageShape

TOLERANCE = 0.03
"""How far the number of parameters may be from the one asked for, as a share of it."""
_FIRST_GUESS = 128
_NEAR = 32
"""How many steps of width to look for one that can be built."""


def matched_width(family: Family, configuration: Configuration, shape: ImageShape, num_classes: int) -> int:
    """Return the width that brings a configuration nearest to its `match_parameters`.

    ValueError, with the sizes next to it, if none is within TOLERANCE.
    """
    target, step = known(configuration.match_parameters), family.width_step(configuration)

    def size(width: int) -> int:
        return parameters_at(family, configuration, width, shape, num_classes)

    def next_width(start: int, step: int) -> int | None:
        """The first width from `start` on that can be built, if there is one near."""
        widths = range(start, max(0, start + _NEAR * step), step)
        return next((width for width in widths if size(width)), None)

    below, above, guess = 0, None, max(1, _FIRST_GUESS // step) * step
    while above is None or above - below > step:
        width = next_width(guess, step)
        if width is None or size(width) < target:
            below = width or guess
        else:
            above = guess
        # The number of parameters grows about as the square of the width.
        nearer = round(width * (target / size(width)) ** 0.5 / step) * step if width else 2 * guess
        guess = max(below + step, nearer if above is None else min(above - step, nearer))
    context = {width: size(width) for width in (next_width(below, -step), next_width(above, step)) if width}
    width = min(context, key=lambda width: abs(context[width] - target))
    if not matches(context[width], target):
        nearest = " and ".join(f"{size} at width {width}" for width, size in context.items())
        raise ValueError(
            f"match_parameters must be within {TOLERANCE:.0%} of a size that {configuration.family} can have, "
            f"got {target}; nearest: {nearest}"
        )
    return width


def matches(size: int, target: int) -> bool:
    """Whether a number of parameters is as good as the one asked for."""
    return abs(size - target) <= TOLERANCE * target


def parameters_at(family: Family, configuration: Configuration, width: int, shape: ImageShape, num_classes: int) -> int:
    """Return how many parameters the configuration has at this width; 0 if it cannot be built."""
    return _count(family, without_common(configuration).model_copy(update={"width": width}), shape, num_classes)


@lru_cache(maxsize=100_000)
def _count(family: Family, configuration: Configuration, shape: ImageShape, num_classes: int) -> int:
    filled = family.fill(configuration, shape)
    if any(family.rules(filled, shape)):
        return 0
    with torch.device("meta"):
        return count_parameters(family.build(filled, shape, num_classes))
