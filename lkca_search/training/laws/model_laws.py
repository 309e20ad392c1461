"""Laws of a model of your own, on random images: output, weights, gradients, independence of the images of a batch."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.own_family import output_rule
from lkca_search.models.registry import build_model, model_cost
from lkca_search.own_code import describe_error
from lkca_search.spec.configuration import Configuration, ImageShape

T = TypeVar("T")
_NUM_IMAGES = 4
_TOLERANCE = 1e-3
"""Largest difference of two outputs that counts as rounding, relative to the largest output."""


class BrokenLaw(Exception):
    """Law that code of your own breaks; the message has the rule and the value."""


def check_model(configuration: Configuration, shape: ImageShape, num_classes: int) -> Iterator[str]:
    """Check the model of a configuration; yield warnings, such as parameters without a gradient.

    Raises:
        BrokenLaw: A law is broken.
    """
    family = f"family {configuration.family}"

    def build() -> nn.Module:
        torch.manual_seed(0)
        return build_model(configuration, shape, num_classes)

    with torch.random.fork_rng(devices=[]):
        model = _attempt(f"{family} cannot be built", build)
        _check_weights(family, model, build())
        torch.manual_seed(1)
        images = torch.randn(_NUM_IMAGES, shape.channels, shape.height, shape.width)
        logits = _check_output(family, model.eval(), images, num_classes)
        _check_repeats(family, model, images, logits)
        _check_batch(family, model, images, logits)
        yield from _check_gradients(family, model, images, num_classes)
    _attempt(
        f"the cost of {family} must be countable without values of tensors",
        lambda: model_cost(configuration, shape, num_classes, batch_size=_NUM_IMAGES),
    )


def _attempt(rule: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # the user's code may raise anything
        raise BrokenLaw(f"{rule}: {describe_error(error)}") from error


def _check_weights(family: str, model: nn.Module, other: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BrokenLaw(f"{family} must have a trainable parameter, got none")
    one, two = model.state_dict(), other.state_dict()
    if objects := [name for name, value in one.items() if not isinstance(value, Tensor)]:
        rule = f"{family} must have a state of tensors, which files of weights can hold"
        raise BrokenLaw(f"{rule}, got {type(one[objects[0]]).__name__} as {objects[0]}: keep it in a buffer")
    differing = [name for name in one if name not in two or not torch.equal(one[name], two[name])]
    if differing or one.keys() != two.keys():
        name = next(iter(differing), "the names of its tensors")
        rule = f"{family} must have the same initial weights for the same seed of torch"
        raise BrokenLaw(f"{rule}, got other values of {name}: draw them from torch's generator")


def _check_output(family: str, model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    with torch.no_grad():
        logits = _attempt(f"{family} failed in evaluation mode", lambda: model(images))
    if rule := output_rule(logits, len(images), num_classes):
        raise BrokenLaw(f"{family}: {rule}")
    if not logits.isfinite().all():
        raise BrokenLaw(f"{family} must have finite outputs, got {int((~logits.isfinite()).sum())} of {logits.numel()}")
    result: Tensor = logits
    return result


def _check_repeats(family: str, model: nn.Module, images: Tensor, logits: Tensor) -> None:
    with torch.no_grad():
        repeated = _attempt(f"{family} failed in evaluation mode", lambda: model(images))
    if not torch.equal(logits, repeated):
        difference = float((logits - repeated).abs().max())
        rule = f"{family} must be deterministic in evaluation mode"
        raise BrokenLaw(f"{rule}, got outputs for the same images that differ by up to {difference:.3g}")


def _check_batch(family: str, model: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Check that an image has the same output alone as in a batch, in evaluation mode."""
    with torch.no_grad():
        alone = _attempt(f"{family} failed for a batch of one image", lambda: model(images[:1]))
    if rule := output_rule(alone, 1, logits.shape[1]):
        raise BrokenLaw(f"{family}: {rule}")
    difference, scale = float((alone - logits[:1]).abs().max()), float(logits.abs().max())
    if difference > _TOLERANCE * scale:
        rule = f"in evaluation mode, the output of {family} for an image must not depend on the other images"
        raise BrokenLaw(f"{rule}, got a difference of {difference:.3g} alone and in a batch of {len(images)}")


def _check_gradients(family: str, model: nn.Module, images: Tensor, num_classes: int) -> Iterator[str]:
    labels = torch.arange(len(images)) % num_classes
    losses = []
    for _ in range(2):
        torch.manual_seed(2)
        model.train().zero_grad()
        loss = _attempt(f"{family} failed in training mode", lambda: F.cross_entropy(model(images), labels))
        losses.append(loss.detach())
        if not loss.requires_grad:
            raise BrokenLaw(f"{family} must have a loss with a gradient, got one that is detached from its parameters")
        _attempt(f"the backward pass of {family} failed", loss.backward)
    trainable = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    if bad := [name for name, each in trainable if each.grad is not None and not each.grad.isfinite().all()]:
        raise BrokenLaw(f"{family} must have finite gradients, got others for {_list(bad)}")
    if not _has_batch_statistics(model) and not torch.equal(*losses):
        rule = f"a training step of {family} must be a function of its weights, images and torch's seed"
        hint = "draw random numbers from torch's global generator, and keep all state in buffers"
        raise BrokenLaw(f"{rule}, got losses of {losses[0]:.8g} and {losses[1]:.8g} for the same ones: {hint}")
    if unused := [name for name, each in trainable if each.grad is None]:
        yield f"{family}: the loss has no gradient for {_list(unused)}: these parameters stay as initialized"


def _has_batch_statistics(model: nn.Module) -> bool:
    """Return True if a training step may change buffers, on which the next output depends."""
    return any(True for _ in model.buffers())


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
