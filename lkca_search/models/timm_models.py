"""Families `timm:NAME`: every model of timm under its own name, with its own sizes.

timm is imported only when a model is requested: the import takes seconds.
"""

import difflib
from collections.abc import Iterator
from functools import lru_cache, partial

import torch
from torch import nn

from lkca_search.faults import first_line
from lkca_search.models.family import BrokenRule, Family
from lkca_search.spec.configuration import Configuration, ImageShape

TIMM = "timm:"
"""Prefix of the family name of a timm model."""


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
            images = f"{shape.height}x{shape.width} images with {shape.channels} channel{'s'[: shape.channels != 1]}"
            yield ("family",), f"{TIMM}{name} cannot classify {images}: {reason}"

    return Family(
        label=f"{name} (timm)",
        hyperparameters={},
        initialization="timm's",
        pooling="timm's",
        rules=rules,
        build=lambda configuration, shape, num_classes: _create(name, shape, num_classes),
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


def _create(name: str, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm import create_model

    create = partial(create_model, name, pretrained=False, num_classes=num_classes, in_chans=shape.channels)
    try:
        model: nn.Module = create(img_size=(shape.height, shape.width))
    except TypeError:  # models for images of any size have no such argument
        model = create()
    return model
