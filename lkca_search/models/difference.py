"""Comparison of the models of two configurations: levels of a factor must give different models."""

from functools import lru_cache
from math import prod

import torch
from torch import Tensor, nn

from lkca_search.models.family import COMMON, without_common
from lkca_search.models.networks.meta_device import meta_device
from lkca_search.models.registry import build_model, resolve
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape
from lkca_search.spec.recipe.rules import normal_recipe

_DROPPING_NAMES = ("drop_path_rate", "dropout")
"""Hyperparameters that change a model in training alone."""
ARCHITECTURE_NAMES = tuple(name for name in NAMES if name == "family" or name not in {*COMMON, *_DROPPING_NAMES})
"""Names of NAMES that are hyperparameters of the architecture. All others affect training, or select images."""


def is_of_architecture(name: str) -> bool:
    """Return True for a hyperparameter of the architecture, such as every name of a family of your own."""
    return name in ARCHITECTURE_NAMES or name not in NAMES


_MAX_BUILT = 100_000_000
"""Maximum number of values in a model that is built to be compared: it takes 0.4 GB."""
_TOLERANCE = 1e-4
"""Largest relative difference of two outputs that counts as rounding."""


def trains_same_model(first: Configuration, second: Configuration, shape: ImageShape, num_classes: int) -> bool:
    """Return True if two configurations are trained the same way and their models compute the same function.

    Two models are equal if their parameters have the same shapes and their outputs are equal in two tests. In the first
    test, both are initialized from one seed. In the second test, both have the same random parameters, because a
    kernel that starts at zero hides the layers that it multiplies. Models of over 100 million parameters are not built:
    two of them count as equal only if their configurations are.

    Raises:
        UserError: A configuration breaks rules on images of this shape.
    """
    recipes = normal_recipe(first), normal_recipe(second)
    if any(getattr(recipes[0], name) != getattr(recipes[1], name) for name in COMMON - {"family"}):
        return False
    one, other = (_resolve(without_common(configuration), shape, num_classes) for configuration in (first, second))
    if one == other:
        return True
    if any(getattr(one, name) != getattr(other, name) for name in _DROPPING_NAMES):
        return False
    shapes = _tensor_shapes(one, shape, num_classes)
    if shapes != _tensor_shapes(other, shape, num_classes) or sum(map(prod, shapes)) > _MAX_BUILT:
        return False
    outputs = zip(_outputs(one, shape, num_classes), _outputs(other, shape, num_classes), strict=True)
    return all(_are_close(left, right) for left, right in outputs)


@lru_cache(maxsize=10_000)
def _resolve(configuration: Configuration, shape: ImageShape, num_classes: int) -> Configuration:
    # The resolved width already gives the number of parameters of match_parameters.
    return resolve(configuration, shape, num_classes).model_copy(update={"match_parameters": None})


@lru_cache(maxsize=10_000)
def _tensor_shapes(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[tuple[int, ...], ...]:
    """Return the sorted shapes of a model's parameters and buffers, without sides of length 1."""
    with meta_device():
        model = build_model(configuration, shape, num_classes)
    tensors = (*model.parameters(), *model.buffers())
    return tuple(sorted(tuple(side for side in tensor.shape if side > 1) for tensor in tensors))


@lru_cache(maxsize=1_000)
def _outputs(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return a model's outputs for two random images: after initialization, and with random parameters."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads are slower for so small a model
    try:
        return _seeded_outputs(configuration, shape, num_classes)
    finally:
        torch.set_num_threads(num_threads)


def _seeded_outputs(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        images = torch.randn(2, shape.channels, shape.height, shape.width)
        model = build_model(configuration, shape, num_classes).eval()
        as_initialized: Tensor = model(images)
        _randomize(model)
        return as_initialized, model(images)


def _randomize(model: nn.Module) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        # Drawn flat: sides of length 1 and memory layout have no effect. Scaled to keep sums near 1.
        inputs = max(1, parameter[:1].numel()) if parameter.dim() else 1
        parameter.copy_(torch.randn(parameter.numel()).view(parameter.shape) / inputs**0.5)


def _are_close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
