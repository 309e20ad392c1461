"""The effective receptive field of known networks: stacks of convolutions, patches, families of every kind."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lkca_search.models.registry import build_model
from lkca_search.records.inspection.measures import measure_field
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.training.inspection.receptive_field import receptive_field

SIDE = 32


class Stack(nn.Module):
    """Convolutions without activations, then the mean over space."""

    def __init__(self, *kernels: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for kernel in kernels:
            side = kernel.shape[-1]
            layer = nn.Conv2d(1, 1, side, padding=side // 2, bias=False)
            layer.weight.data = kernel[None, None].clone()
            self.layers.append(layer)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features


def batches(channels: int = 1, side: int = SIDE) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, channels, side, side), torch.randn(1, channels, side, side)]


def test_the_field_of_two_convolutions_is_the_square_of_their_convolution() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(3, 3), torch.randn(5, 5)
    field = receptive_field(Stack(first, second).eval(), batches(), (SIDE, SIDE))
    # The gradient of y[p] with respect to x[p + d] is the sum of first[a] second[b] over a + b = d.
    composed = np.zeros((7, 7))
    for row in range(5):
        for column in range(5):
            composed[row : row + 3, column : column + 3] += second[row, column].item() * first.numpy()
    expected = np.zeros((SIDE, SIDE))
    middle = SIDE // 2
    expected[middle - 3 : middle + 4, middle - 3 : middle + 4] = composed**2
    np.testing.assert_allclose(field.energy, expected, rtol=1e-4, atol=1e-6)
    assert field.center == (middle, middle)
    assert (field.name, field.grid) == ("layers", (SIDE, SIDE))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_stack_of_3x3_convolutions_reaches_one_pixel_per_layer(depth: int) -> None:
    field = receptive_field(Stack(*[torch.ones(3, 3)] * depth).eval(), batches(), (SIDE, SIDE))
    rows, columns = np.nonzero(field.energy)
    assert (rows.min(), rows.max()) == (SIDE // 2 - depth, SIDE // 2 + depth)
    assert (columns.min(), columns.max()) == (SIDE // 2 - depth, SIDE // 2 + depth)


def test_deep_stacks_of_box_kernels_have_the_radius_of_a_gaussian() -> None:
    """The composed kernel has variance 2/3 per axis and layer; its square half of that (Luo et al. 2016)."""
    depth = 30
    kernels = [torch.full((3, 3), 1 / 9)] * depth
    field = receptive_field(Stack(*kernels).eval(), batches(side=65), (65, 65))
    sigma = math.sqrt(depth * 2 / 3)
    assert measure_field(field).radius == pytest.approx(sigma * math.sqrt(math.log(10)), abs=0.5)
    assert measure_field(field).gradient_radius == pytest.approx(sigma * math.sqrt(2 * math.log(10)), abs=0.5)


def test_a_delta_kernel_sees_one_pixel() -> None:
    delta = torch.zeros(7, 7)
    delta[3, 3] = 2
    field = receptive_field(Stack(delta).eval(), batches(), (SIDE, SIDE))
    assert measure_field(field).radius == 0
    assert field.energy[SIDE // 2, SIDE // 2] == pytest.approx(4)


def test_a_model_without_mixing_sees_the_pixels_of_one_patch() -> None:
    configuration = Configuration(family="identity", patch_size=8, depth=2, width=16)
    model = build_model(configuration, ImageShape(SIDE, SIDE, 3), 10).eval()
    field = receptive_field(model, batches(3), (SIDE, SIDE))
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[16:24, 16:24] = True
    assert (field.energy[~inside] == 0).all()
    assert (field.energy[inside] > 0).all()
    assert field.center == (19.5, 19.5)
    assert measure_field(field).radius < math.hypot(3.5, 3.5) + 1e-9


class Shift(nn.Module):
    """Model whose features are the pixels 140 columns to the right."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.features(images.roll(-140, dims=3)).mean(dim=(2, 3))
        return logits


def test_large_images_are_stored_in_cells_and_the_radius_stays_in_pixels() -> None:
    field = receptive_field(Shift(), [torch.randn(1, 1, 600, 600)], (600, 600))
    assert field.cell == 3
    assert field.energy.shape == (200, 200)
    assert measure_field(field).radius == pytest.approx(140, abs=3)


def test_a_model_without_height_and_width_has_a_reason() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 10))
    with pytest.raises(ValueError, match="no module has an output with height and width"):
        receptive_field(model, batches(), (SIDE, SIDE))


GRIDS: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"family": "lkca", "depth": 1, "width": 16, "kernel_init": "normal"}, (8, 8)),
    ({"family": "vit", "depth": 1, "width": 16, "num_heads": 4, "pooling": "class_token"}, (8, 8)),
    ({"family": "pool", "depth": 1, "width": 16}, (8, 8)),
    ({"family": "lka", "depth": 1, "width": 16}, (8, 8)),
    ({"family": "timm_vit", "depth": 1, "width": 16, "num_heads": 4, "pooling": "class_token"}, (8, 8)),
    ({"family": "cct", "depth": 1, "width": 16, "num_heads": 4}, (16, 16)),
    ({"family": "swin", "depth": 1, "width": 48}, (4, 4)),
    ({"family": "resnet", "depth": 1, "width": 16}, (8, 8)),
    ({"family": "convmixer", "depth": 1, "width": 16}, (16, 16)),
    ({"family": "convnext", "depth": 1, "width": 32}, (2, 2)),
    ({"family": "van", "depth": 1, "width": 16}, (2, 2)),
    ({"family": "timm:resnet18"}, (1, 1)),
]


@pytest.mark.parametrize(("names", "grid"), GRIDS, ids=lambda value: str(value)[:50])
def test_every_family_has_the_grid_of_its_last_features(names: dict[str, Any], grid: tuple[int, int]) -> None:
    side = 64 if grid == (1, 1) else SIDE  # a feature map of 1x1 has no place: the stage before is taken
    model = build_model(Configuration(**names), ImageShape(side, side, 3), 10).eval()
    field = receptive_field(model, batches(3, side), (side, side))
    assert field.grid == ((2, 2) if grid == (1, 1) else grid), field.name
    assert field.energy.sum() > 0
    assert (field.energy >= 0).all()
