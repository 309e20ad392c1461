"""Effective receptive field: gradients of the central feature with respect to the pixels (Luo et al., 1701.04128)."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.records.inspection.inspection import ReceptiveField
from lkca_search.seeds import derive_seed
from lkca_search.training.inspection.spatial import Grid, record_last_map

_MAX_SIDE = 256
"""Longest side of a stored field, in cells."""


def receptive_field(model: nn.Module, batches: Iterable[Tensor], image: Grid) -> ReceptiveField:
    """Return the effective receptive field of a model: mean squared gradients per pixel.

    The feature is the one at the center of the last output with height and width; on an even grid, the lower right one
    of the four in the middle. Its channels are summed with random signs, which differ per image. The expected square
    of the gradient is then the sum of the squares over the channels, so channels do not cancel.

    Args:
        model: Model in eval mode.
        batches: Normalized images (B, C, H, W).
        image: Height and width of the images.

    Raises:
        ValueError: No module has an output with height and width.
    """
    generator = torch.Generator().manual_seed(derive_seed("receptive field"))
    total, count = torch.zeros(image, dtype=torch.float64), 0
    name, grid = "", (0, 0)
    for images in batches:
        with torch.enable_grad(), record_last_map(model, image) as last:
            leaf = images.detach().clone().requires_grad_()
            model(leaf)
            if last.features is None:
                raise ValueError("no module has an output with height and width")
            # (B, H, W, C) -> (B, C)
            _, height, width, channels = last.features.shape
            feature = last.features[:, height // 2, width // 2].float()
            signs = 2.0 * torch.randint(2, (len(images), channels), generator=generator) - 1
            (gradient,) = torch.autograd.grad((feature * signs.to(feature)).sum(), leaf)
        total += gradient.double().square().sum(dim=(0, 1)).cpu()
        name, grid, count = last.name, (height, width), count + len(images)
    center = [(side // 2 + 0.5) * pixels / side - 0.5 for side, pixels in zip(grid, image, strict=True)]
    cell = math.ceil(max(image) / _MAX_SIDE)
    return ReceptiveField(
        name=name,
        grid=grid,
        energy=_pool(total / max(count, 1), cell).float().numpy(),
        center=((center[0] + 0.5) / cell - 0.5, (center[1] + 0.5) / cell - 0.5),
        cell=cell,
    )


def _pool(energy: Tensor, cell: int) -> Tensor:
    """Return the sums of cells of cell x cell pixels, (H, W) -> (ceil(H / cell), ceil(W / cell))."""
    if cell == 1:
        return energy
    height, width = energy.shape
    padded = F.pad(energy, (0, -width % cell, 0, -height % cell))
    return padded.unfold(0, cell, cell).unfold(1, cell, cell).sum(dim=(2, 3))
