"""Attention by relative position: planted attention is returned, for every family that has attention."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.networks.backends import attention_matrix
from lkca_search.models.registry import build_model
from lkca_search.records.inspection.measures import measure_layer
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.training.inspection.attention import attention_maps, attention_weights, relative_means

SHAPE = ImageShape(16, 16, 3)


def images(number: int = 3, shape: ImageShape = SHAPE) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(number, shape.channels, *shape[:2]), torch.randn(1, shape.channels, *shape[:2])]


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_attention_that_is_a_kernel_gives_the_kernel_back(grid: tuple[int, int]) -> None:
    kernel = torch.randn(2, 2 * grid[0] - 1, 2 * grid[0] - 1)
    expected = torch.zeros(2, 2 * grid[0] - 1, 2 * grid[1] - 1)
    margin = grid[1] - grid[0]
    expected[:, :, margin : margin + kernel.shape[2]] = kernel
    torch.testing.assert_close(relative_means(attention_matrix(kernel, grid), grid).float(), expected)


def test_uniform_attention_is_flat_and_attention_to_itself_is_a_delta() -> None:
    flat = relative_means(torch.full((1, 16, 16), 1 / 16), (4, 4))
    torch.testing.assert_close(flat, torch.full((1, 7, 7), 1 / 16, dtype=torch.float64))
    delta = relative_means(torch.eye(16)[None], (4, 4))
    assert delta[0, 3, 3] == 1
    assert delta.sum() == 1


def test_attention_to_the_right_neighbor_lies_right_of_the_center() -> None:
    right = torch.diag(torch.ones(3), 1)
    attention = torch.kron(torch.eye(4), right)[None]
    means = relative_means(attention, (4, 4))
    assert means[0, 3, 4] == 1
    assert means.sum() == 1


class Planted(nn.Module):
    """Classifier whose attention depends on the distance alone: softmax of -distance / temperature, plus prefixes."""

    def __init__(self, *, side: int, num_classes: int, extra: int = 0, spread: float = 1.0) -> None:
        super().__init__()
        self.side, self.extra = side, extra
        place = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
        squares = sum((axis[:, None] - axis[None]) ** 2 for axis in place)
        self.bias = F.pad(-squares.float() / (2 * spread**2), (extra, 0, extra, 0))
        self.head = nn.Linear(3, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = F.adaptive_avg_pool2d(pixels, self.side).flatten(2).mT
        tokens = F.pad(tokens, (0, 0, self.extra, 0))
        query = torch.zeros_like(tokens)[:, None]
        mixed = F.scaled_dot_product_attention(query, query, tokens[:, None], attn_mask=self.bias, scale=1.0)
        logits: Tensor = self.head(mixed[:, 0].mean(dim=1))
        return logits


@pytest.mark.parametrize("extra", [0, 1])
def test_planted_gaussian_attention_has_its_radius_with_and_without_a_class_token(extra: int) -> None:
    spread = 2.0
    model = Planted(side=16, num_classes=2, extra=extra, spread=spread).eval()
    (layer,) = attention_maps(model, images(), (16, 16))
    assert layer.grid == (16, 16)
    assert layer.energy.shape == (31, 31)
    measures = measure_layer(layer)
    # Weights are a Gaussian, so their square has the radius spread sqrt(ln 10), and they themselves sqrt(2) times it.
    assert measures.radius == pytest.approx(spread * math.sqrt(math.log(10)), abs=0.5)
    assert measures.mass_radius == pytest.approx(spread * math.sqrt(2 * math.log(10)), abs=0.5)


def test_weights_are_those_of_torch() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8).unbind()
    mask = torch.rand(9, 9) > 0.3
    mask.fill_diagonal_(True)
    for given in (None, mask, torch.randn(9, 9)):
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=given, scale=0.2)
        torch.testing.assert_close(attention_weights(query, key, given, 0.2) @ value, expected)


FAMILIES: list[tuple[dict[str, Any], int, tuple[int, int]]] = [
    ({"family": "vit", "patch_size": 4, "depth": 2, "width": 16, "num_heads": 4}, 2, (4, 4)),
    ({"family": "vit", "patch_size": 4, "depth": 2, "width": 16, "num_heads": 4, "pooling": "class_token"}, 2, (4, 4)),
    (
        {"family": "vit", "patch_size": 4, "depth": 1, "width": 16, "num_heads": 4, "locality_attention": True},
        1,
        (4, 4),
    ),
    ({"family": "timm_vit", "patch_size": 4, "depth": 2, "width": 16, "num_heads": 4}, 2, (4, 4)),
    ({"family": "cct", "depth": 2, "width": 16, "num_heads": 4}, 2, (8, 8)),
    ({"family": "swin", "patch_size": 2, "depth": 1, "width": 48}, 3, (4, 4)),
    ({"family": "timm:vit_tiny_patch16_224"}, 12, (4, 4)),
    ({"family": "lkca", "patch_size": 4, "depth": 1, "width": 16}, 0, (4, 4)),
    ({"family": "resnet", "depth": 1, "width": 16}, 0, (4, 4)),
]


@pytest.mark.parametrize(("names", "num_layers", "grid"), FAMILIES, ids=lambda value: str(value)[:60])
def test_every_family_with_attention_has_a_map_per_layer(
    names: dict[str, Any], num_layers: int, grid: tuple[int, int]
) -> None:
    shape = ImageShape(64, 64, 3) if names["family"].startswith("timm:") else SHAPE
    model = build_model(Configuration(**names), shape, 10).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = attention_maps(model, images(2, shape), shape[:2])
    assert [layer.layer for layer in layers] == list(range(1, num_layers + 1))
    for layer in layers:
        assert layer.grid in (grid, (2, 2))  # the last stage of Swin has a smaller grid
        assert layer.name
        assert (layer.weights >= 0).all()
        if names.get("locality_attention"):
            assert layer.weights[:, 3, 3].tolist() == [0] * 4
        if "pooling" not in names and layer.grid == grid and names["family"] == "vit":
            # Without a class token, the weights of a query sum to 1.
            overlaps = 4 - torch.arange(-3, 4).abs().double()
            pairs = torch.outer(overlaps, overlaps)
            sums = (torch.from_numpy(layer.weights).double() * pairs).sum(dim=(1, 2)) / 16
            torch.testing.assert_close(sums, torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
