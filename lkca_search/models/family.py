"""A model family as the registry knows it, and the defaults that families share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

from torch import nn

from lkca_search.spec.configuration import NAMES, SUBSET_NAMES, Configuration, ImageShape, Scalar

T = TypeVar("T")
COMMON = frozenset(
    name for name, info in Configuration.model_fields.items() if info.default is not None or name in SUBSET_NAMES
)
"""Names that every family takes. Each other name is None in a configuration unless its family takes it."""
_COMMON_DEFAULTS = {name: Configuration.model_fields[name].default for name in COMMON if name != "family"}
Default = Scalar | Callable[[Configuration, ImageShape], Scalar] | None
"""The value of a name left None, or how to compute it from the names before it and the images; None stays None."""
Broken = tuple[tuple[str, ...], str]
"""A broken rule: the names it is about, the one to blame first, and the rule with its values."""
Rules = Callable[[Configuration, ImageShape], Iterator[Broken]]
"""Yields the rules that a configuration breaks whose defaults are filled in."""
Build = Callable[[Configuration, ImageShape, int], nn.Module]
"""Makes the model from a resolved configuration, the images' shape and the number of classes."""


def without_common(configuration: Configuration) -> Configuration:
    """Put defaults in place of what every family takes: equal for two configurations that differ in nothing else."""
    return configuration.model_copy(update=_COMMON_DEFAULTS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """One kind of model."""

    label: str
    """What it is, in the words of a report."""
    takes: Mapping[str, Default]
    """The names outside COMMON that it takes, each with the value used where a configuration has None."""
    means: Mapping[str, str] = field(default_factory=dict)
    """What depth, width or kernel_size is in this family, where Configuration's own words do not say it."""
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    """The names that a preset decides, with their only value."""
    rules: Rules
    build: Build
    width_step: Callable[[Configuration], int] = lambda configuration: 1
    """What every width that can be built is a multiple of."""

    def fill(self, configuration: Configuration, shape: ImageShape) -> Configuration:
        """Put defaults in place of None, and None for what the family does not take."""
        not_taken = {name: None for name in NAMES if name not in COMMON and name not in self.takes}
        filled = configuration.model_copy(update=not_taken)
        for name, default in {**self.takes, **self.fixed}.items():
            if getattr(filled, name) is None:
                value = default(filled, shape) if callable(default) else default
                filled = filled.model_copy(update={name: value})
        return filled


def known(value: T | None) -> T:
    """Return a value that the family takes, and which is therefore not None in a resolved configuration."""
    assert value is not None
    return value


def patch_size_for(num_tokens: int) -> Callable[[Configuration, ImageShape], int]:
    """Return the default of patch_size that brings the image's shorter side nearest to so many tokens."""

    def patch_size(configuration: Configuration, shape: ImageShape) -> int:
        side = min(shape.height, shape.width)
        tiling = [size for size in range(1, side + 1) if shape.height % size == 0 and shape.width % size == 0]
        # Nearest by ratio; of two that are as near, the finer.
        return min(tiling, key=lambda size: (max(side / (size * num_tokens), size * num_tokens / side), size))

    return patch_size


def heads_for(num_heads: int) -> Callable[[Configuration, ImageShape], int]:
    """Return the default of num_heads: the divisor of the width nearest to so many, from a third to twice."""

    def heads(configuration: Configuration, shape: ImageShape) -> int:
        width = known(configuration.width)
        divisors = [size for size in range(ceil(num_heads / 3), 2 * num_heads + 1) if width % size == 0]
        return min(divisors, key=lambda size: (max(size / num_heads, num_heads / size), size), default=num_heads)

    return heads
