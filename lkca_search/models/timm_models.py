"""Families `timm:NAME`: every model of timm under its own name, with its own sizes.

timm is imported only when a model is requested: the import takes seconds.
"""

import difflib
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lkca_search.faults import first_line
from lkca_search.models.family import BrokenRule, Family, describe_images
from lkca_search.spec.configuration import TIMM, Configuration, ImageShape


def timm_family(name: str) -> Family | None:
    """Return the family `timm:NAME`, or None if timm has no such model."""
    return _timm_family(name.removeprefix(TIMM)) if name.startswith(TIMM) else None


def close_timm_names(name: str) -> list[str]:
    """Return the families `timm:NAME` with a similar spelling, the closest first."""
    from timm import list_models

    architecture = name.removeprefix(TIMM).partition(".")[0]
    return [TIMM + close for close in difflib.get_close_matches(architecture, list_models())]


@lru_cache
def _timm_family(name: str) -> Family | None:
    from timm import is_model

    # A dot starts the tag of pretrained weights, a colon a download source. Models here are never pretrained.
    if "." in name or ":" in name or not is_model(name):
        return None

    def rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
        if reason := _timm_problem(name, shape):
            yield ("family",), f"{TIMM}{name} cannot classify {describe_images(shape)}: {reason}"
        elif configuration.dropout and not _drops_units(name, shape):
            yield ("dropout",), f"dropout of {TIMM}{name} must be 0, got {configuration.dropout}: it has no dropout"

    return Family(
        label=f"{name} (timm)",
        hyperparameters={"dropout": 0.0},
        meanings={"dropout": "timm's drop_rate: in most models, probability that an input of the classifier is zeroed"},
        initialization="timm's",
        pooling="timm's",
        rules=rules,
        build=lambda configuration, shape, num_classes: _create(name, shape, num_classes, configuration.dropout or 0.0),
    )


@lru_cache
def _timm_problem(name: str, shape: ImageShape) -> str | None:
    """Return the reason why a timm model cannot classify images of this shape, or None. Uses the meta device."""
    num_images, num_classes = 2, 10
    try:
        with torch.device("meta"):
            logits = _create(name, shape, num_classes)(torch.empty(num_images, shape.channels, *shape[:2]))
    except Exception as error:  # models written for other images raise all kinds of errors
        return first_line(error)
    if logits.shape == (num_images, num_classes):
        return None
    return f"its output is {tuple(logits.shape)} for {num_images} images and {num_classes} classes"


class _DropoutCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of the operations that draw a mask of dropout."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation, and run it."""
        self.count += func.overloadpacket in (torch.ops.aten.native_dropout, torch.ops.aten.bernoulli_)
        return func(*args, **(kwargs or {}))


@lru_cache
def _drops_units(name: str, shape: ImageShape) -> bool:
    """Return True if timm's `drop_rate` adds dropout to a model. Uses the meta device."""
    counts: list[int] = []
    for rate in (0.0, 0.5):
        with torch.device("meta"):
            try:
                model = _create(name, shape, 10, rate).train()
            except TypeError:  # a model without the argument
                return False
            with _DropoutCounter() as counter:
                model(torch.empty(2, shape.channels, *shape[:2]))
            counts.append(counter.count)
    return counts[1] > counts[0]


def _create(name: str, shape: ImageShape, num_classes: int, drop_rate: float = 0.0) -> nn.Module:
    from timm import create_model

    create = partial(create_model, name, pretrained=False, num_classes=num_classes, in_chans=shape.channels)
    if drop_rate:  # not every model has the argument
        create = partial(create, drop_rate=drop_rate)
    try:
        model: nn.Module = create(img_size=(shape.height, shape.width))
    except TypeError:  # models for images of any size have no such argument
        model = create()
    return model
