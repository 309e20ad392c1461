"""Whether two configurations train the same model: a variant must differ from what it is compared with."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from lkca_search.models.family import COMMON, without_common
from lkca_search.models.registry import build_model, resolve
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape

SHAPING = tuple(name for name in NAMES if name == "family" or name not in {*COMMON, "drop_path_rate"})
"""The names that decide what a model computes; the others decide how it is trained, and on what."""
_TOLERANCE = 1e-4
"""Difference of two outputs, as a share of the largest, that is put down to rounding."""


def gives_same_model(first: Configuration, second: Configuration, shape: ImageShape, num_classes: int) -> bool:
    """Whether two configurations are trained alike and give one model, which is known by what it does.

    Both must have equal values of every name outside SHAPING, and models with parameters of the same shapes, whose
    outputs are equal twice: as initialised from one seed, and with the same random numbers for parameters, since what
    is zero at first hides what it is multiplied by. UserError if a configuration has problems on such images.
    """
    if any(getattr(first, name) != getattr(second, name) for name in COMMON - {"family"}):
        return False
    one, other = (_resolve(without_common(configuration), shape, num_classes) for configuration in (first, second))
    if one == other:
        return True
    if one.drop_path_rate != other.drop_path_rate:
        return False
    if _tensor_shapes(one, shape, num_classes) != _tensor_shapes(other, shape, num_classes):
        return False
    outputs = zip(_outputs(one, shape, num_classes), _outputs(other, shape, num_classes), strict=True)
    return all(_are_close(left, right) for left, right in outputs)


@lru_cache(maxsize=10_000)
def _resolve(configuration: Configuration, shape: ImageShape, num_classes: int) -> Configuration:
    # The width found stands for the number of parameters that it was found for.
    return resolve(configuration, shape, num_classes).model_copy(update={"match_parameters": None})


@lru_cache(maxsize=10_000)
def _tensor_shapes(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[tuple[int, ...], ...]:
    """The shapes of a model's parameters and buffers whatever their names, sides of length 1 left out."""
    with torch.device("meta"):
        model = build_model(configuration, shape, num_classes)
    tensors = (*model.parameters(), *model.buffers())
    return tuple(sorted(tuple(side for side in tensor.shape if side > 1) for tensor in tensors))


@lru_cache(maxsize=1_000)
def _outputs(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[Tensor, Tensor]:
    """What a model makes of two random images: as initialised, and with random parameters."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for so little work, threads that wait for each other cost more than they save
    try:
        return _seeded_outputs(configuration, shape, num_classes)
    finally:
        torch.set_num_threads(num_threads)


def _seeded_outputs(configuration: Configuration, shape: ImageShape, num_classes: int) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        images = torch.randn(2, shape.channels, shape.height, shape.width)
        model = build_model(configuration, shape, num_classes).eval()
        as_initialised: Tensor = model(images)
        _randomise(model)
        return as_initialised, model(images)


def _randomise(model: nn.Module) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        # Drawn flat, so that a side of length 1 or a layout in memory changes nothing; scaled to keep sums near 1.
        inputs = max(1, parameter[:1].numel()) if parameter.dim() else 1
        parameter.copy_(torch.randn(parameter.numel()).view(parameter.shape) / inputs**0.5)


def _are_close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
