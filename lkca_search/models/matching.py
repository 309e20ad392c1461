"""Search for the width that gives a family a target number of parameters, to compare families at equal size."""

from functools import lru_cache

from lkca_search.models.cost import count_parameters
from lkca_search.models.family import Family, of_equal_cost, require
from lkca_search.models.networks.meta_device import meta_device
from lkca_search.spec.configuration import Configuration, ImageShape

TOLERANCE = 0.03
"""Largest relative difference from the target number of parameters."""
_NEAREST = "; nearest: "
"""Text before the nearest sizes in a message, which depend on the configuration. The smallest one is the first."""
UNMATCHED = "; remove width, which match_parameters sets: got "
"""Text before the sizes of models with another size than `match_parameters`."""
_FIRST_GUESS = 128
_NEAR = 32
"""Steps of width to try until one can be built."""


def split_rule(rule: str) -> tuple[str, str, str]:
    """Return a rule in three parts: a text, the text before sizes that depend on the configuration, and the sizes."""
    return rule.partition(UNMATCHED if UNMATCHED in rule else _NEAREST)


def matched_width(family: Family, configuration: Configuration, shape: ImageShape, num_classes: int) -> int:
    """Return the width whose number of parameters is nearest to the configuration's `match_parameters`.

    Raises:
        ValueError: No width is within TOLERANCE; the message has the nearest sizes.
    """
    target, step = require(configuration.match_parameters), family.width_step(configuration)

    def size(width: int) -> int:
        return parameters_at(family, configuration, width, shape, num_classes)

    def next_width(start: int, step: int) -> int | None:
        """Return the first width from `start` on that can be built, or None if none of the next ones can."""
        widths = range(start, max(0, start + _NEAR * step), step)
        return next((width for width in widths if size(width)), None)

    below, above, guess = 0, None, max(1, _FIRST_GUESS // step) * step
    while above is None or above - below > step:
        width = next_width(guess, step)
        if width is None or size(width) < target:
            below = width or guess
        else:
            above = guess
        # The number of parameters grows roughly with the square of the width.
        nearer = round(width * (target / size(width)) ** 0.5 / step) * step if width else 2 * guess
        guess = max(below + step, nearer if above is None else min(above - step, nearer))
    sizes = {width: size(width) for width in (next_width(below, -step), next_width(above, step)) if width}
    width = min(sizes, key=lambda width: abs(sizes[width] - target))
    if not matches(sizes[width], target):
        depth = family.fill(configuration.model_copy(update={"width": width}), shape).depth
        place = f"depth {depth} and width" if depth else "width"
        nearest = " and ".join(f"{size} at {place} {width}" for width, size in sizes.items())
        raise ValueError(
            f"match_parameters must be within {TOLERANCE:.0%} of a possible size of {configuration.family}, "
            f"got {target}{_NEAREST}{nearest}"
        )
    return width


def matches(size: int, target: int) -> bool:
    """Return True if a number of parameters is within TOLERANCE of the target."""
    return abs(size - target) <= TOLERANCE * target


def parameters_at(family: Family, configuration: Configuration, width: int, shape: ImageShape, num_classes: int) -> int:
    """Return the number of parameters at this width, or 0 if the model cannot be built."""
    return _count(family, of_equal_cost(configuration).model_copy(update={"width": width}), shape, num_classes)


@lru_cache(maxsize=100_000)
def _count(family: Family, configuration: Configuration, shape: ImageShape, num_classes: int) -> int:
    filled = family.fill(configuration, shape)
    if any(family.rules(filled, shape)):
        return 0
    with meta_device():
        return count_parameters(family.build(filled, shape, num_classes))
