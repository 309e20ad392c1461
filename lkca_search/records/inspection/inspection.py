"""Inspection of a trained replicate: the weights by which its layers mix tokens, and its effective receptive field."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
Kind = Literal["kernel", "attention"]
"""Kind of the weights of a layer: a learned kernel of LKCA, or attention averaged by relative position."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMaps:
    """Weights of one layer by relative position: of the input token, seen from the output token.

    For both kinds, an entry is the weight that an output token gives to the input token at that displacement. The
    kernel of LKCA has this meaning in the attention form of the operator (arXiv 2401.05738, section 3).
    """

    kind: Kind
    layer: int
    """Number of the layer among those of its kind, from 1, in the order of the forward pass."""
    name: str
    """Name of the module: `blocks.0.mixer`."""
    grid: tuple[int, int]
    """Height and width in tokens of the grid that the layer mixes, or of its window."""
    num_groups: int
    """Kernels, or heads of attention, each for an equal number of channels."""
    weights: Maps
    """Weights, (groups, height, width), displacement 0 in the center; fewer groups than `num_groups` if too large."""
    energy: Maps
    """Sum of the squared weights over all groups, (height, width)."""
    mass: Maps
    """Sum of the absolute weights over all groups, (height, width)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReceptiveField:
    """Effective receptive field of the central feature (arXiv 1701.04128), as mean squared gradients per pixel.

    The squared gradient of a feature with respect to a pixel is summed over the channels of both and averaged over
    images.
    """

    name: str
    """Name of the module whose output has the feature: the last one that keeps height and width."""
    grid: tuple[int, int]
    """Height and width of that output."""
    energy: Maps
    """Mean squared gradients, (rows, columns)."""
    center: tuple[float, float]
    """Row and column of the center of the feature, in cells."""
    cell: int
    """Side of a cell in pixels; above 1 for large images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
    """Everything that was inspected of one replicate, with the reasons for what is missing."""

    layers: tuple[LayerMaps, ...]
    receptive_field: ReceptiveField | None
    num_images: int
    """Test images over which attention and gradients are averaged."""
    image_size: tuple[int, int]
    """Height and width of an image in pixels."""
    seconds: float
    """Time of the inspection."""
    failures: tuple[str, ...] = ()
    """Reasons for missing parts: `receptive field: ...`."""


def group_limit(num_layers: int, shape: tuple[int, int], *, max_values: int = 200_000) -> int:
    """Return the number of groups per layer whose weights are stored: at least 1, at most `max_values` in total."""
    return max(1, max_values // (num_layers * shape[0] * shape[1]))
