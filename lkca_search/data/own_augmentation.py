"""Augmentations of your own: a function or class by its dotted path, applied to uint8 batches (B, C, H, W)."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor

from lkca_search.errors import UserError
from lkca_search.own_code import describe_error, load_own, signature_of
from lkca_search.recipe import POLICY_GROUP

_GENERATOR = "generator"


class OwnAugmentationError(RuntimeError):
    """Error of an augmentation of your own at a step: it has raised one, or its result breaks a rule."""


class OwnAugmentation:
    """Augmentation at a dotted path: `augment(pixels, generator)`, `augment(pixels)`, or a class of either.

    A class is called without arguments first. Its randomness is a function of the seed, also without a generator:
    torch's global generators, of the CPU and of the GPU of the batch, are seeded for the call, and restored after it.
    Those of NumPy and Python are not.
    """

    def __init__(self, name: str) -> None:
        """Import the code; UserError if that fails or its signature breaks a rule."""
        self.name = name
        """Dotted path."""
        loaded = load_own("augment", name)
        if isinstance(loaded, type):
            try:
                loaded = loaded()
            except Exception as error:  # the user's code may raise anything
                raise UserError(f"augment {name} must be built without arguments: {describe_error(error)}") from error
            if not callable(loaded):
                raise UserError(f"augment {name} must be callable, got an object of {type(loaded).__name__}")
        self._call = loaded
        self._group = POLICY_GROUP if _is_of_torchvision(loaded) else None
        self._takes_generator = _takes_generator(name, loaded)

    def __call__(self, pixels: Tensor, *, seed: int) -> Tensor:
        """Return the augmented batch, uint8 (B, C, H, W); a transform of torchvision draws once per 4 images.

        Raises:
            OwnAugmentationError: The code has raised an error, or changed the type, shape or device of the batch.
        """
        group = self._group or len(pixels)
        with _seeded(seed, pixels.device) as generator:
            extra = {_GENERATOR: generator} if self._takes_generator else {}
            try:
                parts = [self._call(pixels[i : i + group], **extra) for i in range(0, len(pixels), group)]
            except Exception as error:  # the user's code may raise anything
                raise OwnAugmentationError(f"augment {self.name} failed: {describe_error(error)}") from error
        for part, start in zip(parts, range(0, len(pixels), group), strict=True):
            self._check(part, pixels[start : start + group])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _check(self, result: Any, given: Tensor) -> None:
        rule = f"augment {self.name} must return a batch of the type, shape and device of its argument"
        if not isinstance(result, Tensor):
            raise OwnAugmentationError(f"{rule}, got {type(result).__name__}")
        if (result.dtype, result.shape, result.device) != (given.dtype, given.shape, given.device):
            one, two = (f"{each.dtype} {tuple(each.shape)} on {each.device}" for each in (given, result))
            raise OwnAugmentationError(f"{rule}, {one}, got {two}")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Yield a seeded generator of the CPU; the global ones of CPU and GPU are seeded here, and restored afterwards."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def _takes_generator(name: str, call: Any) -> bool:
    """Return True if the code takes a parameter `generator`; UserError if it needs other arguments."""
    signature = signature_of("augment", name, call)
    parameter = signature.parameters.get(_GENERATOR)
    takes = parameter is not None and parameter.kind is not Parameter.POSITIONAL_ONLY
    try:
        signature.bind(None, **({_GENERATOR: None} if takes else {}))
    except TypeError as error:
        rule = f"augment {name} must take (pixels) or (pixels, generator)"
        raise UserError(f"{rule}, got {name.rpartition('.')[2]}{signature}") from error
    return takes


def _is_of_torchvision(call: Any) -> bool:
    """Return True for a transform of torchvision, which applies one draw to all images of a call."""
    return any(cls.__module__.startswith("torchvision.transforms") for cls in type(call).__mro__)
