"""Places of features in an image: grids of tokens, and the module whose output is the last map of a model."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Grid = tuple[int, int]
"""Height and width of a grid, in tokens."""
_MAX_EXTRA_TOKENS = 2
"""Most tokens before the grid: a class token, and that of a distillation."""
_TOLERANCE = 1.34
"""Largest ratio between the sides of a grid and those of its image: rounding up changes the sides."""


def infer_grid(num_tokens: int, image: Grid) -> tuple[Grid, int] | None:
    """Return the grid of a sequence of tokens and the number of tokens before it; None if there is none.

    A grid has at least two tokens and the sides of the image, up to rounding.
    """
    choices = [(_grid_of(num_tokens - extra, image), extra) for extra in range(_MAX_EXTRA_TOKENS + 1)]
    grids = [(grid, extra) for grid, extra in choices if grid is not None]
    exact = ((grid, extra) for grid, extra in grids if grid[0] * image[1] == grid[1] * image[0])
    return next(exact, grids[0] if grids and image[0] != image[1] else None)


def _grid_of(num_tokens: int, image: Grid) -> Grid | None:
    """Return the grid of that many tokens whose sides are nearest to those of the image; None if none is near."""
    if num_tokens < 2:
        return None
    heights = [side for side in range(1, num_tokens + 1) if num_tokens % side == 0]
    ratio = image[0] / image[1]
    height = min(heights, key=lambda side: abs(math.log(side * side / num_tokens / ratio)))
    width = num_tokens // height
    deviation = height / width / ratio
    return (height, width) if 1 / _TOLERANCE < deviation < _TOLERANCE else None


def as_map(output: object, image: Grid) -> Tensor | None:
    """Return the output of a module as a map (B, H, W, C); None if it has no height and width.

    Maps with the channels first or last and sequences of tokens are recognized by their sides.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        for axes in ((0, 2, 3, 1), (0, 1, 2, 3)):
            found = output.permute(axes)
            _, height, width, _ = found.shape
            if height * width > 1 and _is_like((height, width), image):
                return found
    if output.ndim == 3 and output.shape[2] > 1 and (known := infer_grid(output.shape[1], image)):
        grid, extra = known
        features: Tensor = output[:, extra:].unflatten(1, grid)  # type: ignore[no-untyped-call]
        return features
    return None


def _is_like(grid: Grid, image: Grid) -> bool:
    """Return True if a grid can be an image that was reduced, with sides rounded up or down."""
    height, width = grid
    if height > image[0] or width > image[1]:
        return False
    return abs(height * image[1] - width * image[0]) <= max(image) * (image[0] != image[1])


class LastMap:
    """Last output with height and width of the modules that have run."""

    def __init__(self, image: Grid) -> None:
        """Start without an output; `image` is the height and width of the input."""
        self._image = image
        self.features: Tensor | None = None
        """Features (B, H, W, C)."""
        self.name = ""
        """Name of the module."""

    def add(self, name: str, output: object) -> None:
        """Keep the output of a module if it is a map."""
        found = as_map(output, self._image)
        if found is not None:
            self.features, self.name = found, name


@contextmanager
def record_last_map(model: nn.Module, image: Grid) -> Iterator[LastMap]:
    """Record the last map among the outputs of all modules that run in the block."""
    last = LastMap(image)

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            last.add(name, output)

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(hook_of(name)).remove)
        yield last


@contextmanager
def record_module_names(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that holds the names of the modules that are running, the innermost last."""
    running: list[str] = []

    def push_of(name: str) -> Any:
        return lambda module, inputs: running.append(name)

    def pop(module: nn.Module, inputs: Any, output: Any) -> None:
        running.pop()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(push_of(name)).remove)
            stack.callback(module.register_forward_hook(pop, always_call=True).remove)
        yield running
