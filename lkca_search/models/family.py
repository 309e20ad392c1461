"""Model family as a value, and the defaults that families share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

from torch import nn

from lkca_search.models.networks.grid import kernel_size_rule, patch_size_rule, token_grid
from lkca_search.own_code import is_dotted
from lkca_search.spec.configuration import (
    NAMES,
    OPTIMIZER_NAMES,
    RECIPE_NAMES,
    SUBSET_NAMES,
    Configuration,
    ImageShape,
    Scalar,
)

T = TypeVar("T")
COMMON = frozenset(
    name
    for name, info in Configuration.model_fields.items()
    if info.default is not None or name in (*SUBSET_NAMES, *OPTIMIZER_NAMES, *RECIPE_NAMES)
)
"""Hyperparameters of every family. Any other one is None in a configuration unless its family has it."""
_COMMON_DEFAULTS = {name: Configuration.model_fields[name].default for name in COMMON if name != "family"}
_RATES, _ANY_RATE = ("drop_path_rate", "dropout"), 0.5
Default = Scalar | Callable[[Configuration, ImageShape], Scalar] | None
"""Default of a hyperparameter: a value, or a function of the hyperparameters before it and the image shape."""
BrokenRule = tuple[tuple[str, ...], str]
"""Hyperparameters of a broken rule, the most likely mistake first, and the text of the rule."""
Rules = Callable[[Configuration, ImageShape], Iterator[BrokenRule]]
"""Function that yields the rules broken by a configuration with its defaults filled in."""
Build = Callable[[Configuration, ImageShape, int], nn.Module]
"""Function (resolved configuration, image shape, number of classes) -> model."""


def without_common(configuration: Configuration) -> Configuration:
    """Return the configuration with the defaults of all COMMON hyperparameters; only its architecture remains."""
    return configuration.model_copy(update=_COMMON_DEFAULTS)


def of_equal_cost(configuration: Configuration) -> Configuration:
    """Return one configuration for all whose models have the same cost: architectures that differ in rates alone.

    Costs depend on a rate of dropout or drop path only by whether it is 0. In a family of your own it may decide more.
    """
    rates = {name: _ANY_RATE for name in _RATES if getattr(configuration, name)}
    return without_common(configuration).model_copy(update={} if is_dotted(configuration.family) else rates)


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """One kind of model: its hyperparameters, their rules, and its constructor."""

    label: str
    """Description for reports."""
    hyperparameters: Mapping[str, Default]
    """Hyperparameters outside COMMON, each with its default."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """Meaning of a hyperparameter in this family, if it differs from the description in Configuration."""
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    """Hyperparameters that a preset fixes, with their value."""
    initialization: str | Callable[[Configuration], str]
    """Initial weights, in words for the report's methods; a function of the resolved configuration."""
    pooling: str | Callable[[Configuration], str]
    """Reduction of an image's features to one vector, in words; a function of the resolved configuration."""
    rules: Rules
    build: Build
    width_step: Callable[[Configuration], int] = lambda configuration: 1
    """Function that returns the number that every valid width is a multiple of."""

    def describe_pooling(self, resolved: Configuration) -> str:
        """Return the pooling of a resolved configuration, in words."""
        return self.pooling if isinstance(self.pooling, str) else self.pooling(resolved)

    def describe_initialization(self, resolved: Configuration) -> str:
        """Return the initial weights of a resolved configuration, in words."""
        return self.initialization if isinstance(self.initialization, str) else self.initialization(resolved)

    def fill(self, configuration: Configuration, shape: ImageShape) -> Configuration:
        """Return the configuration with defaults in place of None, and None for hyperparameters of other families."""
        not_applicable = {name: None for name in NAMES if name not in COMMON and name not in self.hyperparameters}
        filled = configuration.model_copy(update=not_applicable)
        for name, default in {**self.hyperparameters, **self.fixed}.items():
            if getattr(filled, name) is None:
                value = default(filled, shape) if callable(default) else default
                if value is None:
                    continue
                filled = filled.model_copy(update={name: value})
        return filled


def require(value: T | None) -> T:
    """Return a hyperparameter of a resolved configuration, which is not None for a family that has it."""
    assert value is not None
    return value


def describe_images(shape: ImageShape) -> str:
    """Return images of a shape in words: 8x8 images with 1 channel."""
    return f"{shape.height}x{shape.width} images with {shape.channels} channel{'' if shape.channels == 1 else 's'}"


def token_pooling(resolved: Configuration) -> str:
    """Return the pooling of a transformer, in words."""
    return "class token" if resolved.pooling == "class_token" else "mean of the tokens"


def patch_size_for(num_tokens: int) -> Callable[[Configuration, ImageShape], int]:
    """Return the default of patch_size: the one that gives about `num_tokens` tokens on the shorter side."""

    def patch_size(configuration: Configuration, shape: ImageShape) -> int:
        side = min(shape.height, shape.width)
        tiling = [size for size in range(1, side + 1) if shape.height % size == 0 and shape.width % size == 0]
        # Nearest by ratio; the smaller patch wins a tie.
        return min(tiling, key=lambda size: (max(side / (size * num_tokens), size * num_tokens / side), size))

    return patch_size


def heads_for(num_heads: int) -> Callable[[Configuration, ImageShape], int]:
    """Return the default of num_heads: the divisor of the width nearest to `num_heads`, between 1/3 and 2 times it."""

    def heads(configuration: Configuration, shape: ImageShape) -> int:
        width = require(configuration.width)
        divisors = [size for size in range(ceil(num_heads / 3), 2 * num_heads + 1) if width % size == 0]
        return min(divisors, key=lambda size: (max(size / num_heads, num_heads / size), size), default=num_heads)

    return heads


def patch_rules(configuration: Configuration, shape: ImageShape, min_tokens: int = 1) -> Iterator[BrokenRule]:
    """Yield the rules on patch_size and kernel_size that a configuration breaks.

    `min_tokens` is the smallest number of tokens on the shorter side of the grid.
    """
    patch_size = require(configuration.patch_size)
    if rule := patch_size_rule(patch_size, shape):
        yield ("patch_size",), rule
        return
    height, width = grid = token_grid(patch_size, shape)
    if min(grid) < min_tokens:
        rule = f"patch_size of {configuration.family} must leave at least {min_tokens} tokens on the shorter side"
        yield ("patch_size",), f"{rule}, got {height}x{width} tokens"
    elif configuration.kernel_size is not None:
        if rule := kernel_size_rule(configuration.kernel_size, grid):
            yield ("kernel_size",), rule
