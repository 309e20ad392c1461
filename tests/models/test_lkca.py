"""The operator: both views are the formula of the paper, and a kernel holds no dead weights."""

from itertools import product
from typing import Literal

import pytest
import torch
from torch import Tensor

from lkca_search.models.lkca import LKCA, Grid, attention_matrix, fastest_view, full_kernel_size

GRIDS: tuple[Grid, ...] = ((1, 1), (2, 2), (4, 4), (5, 5), (3, 5), (6, 4), (2, 7))
CASES = [(grid, size) for grid in GRIDS for size in range(1, full_kernel_size(grid) + 1, 2)] + [((8, 8), 15)]
VIEWS: tuple[Literal["conv", "attention"], ...] = ("conv", "attention")


def matrix_by_loop(kernel: Tensor, grid: Grid) -> Tensor:
    """A[(i,j),(k,m)] = K[c+k-i, c+m-j], 0 outside K, written as the paper writes it."""
    height, width = grid
    size, centre, absent = len(kernel), len(kernel) // 2, kernel.new_zeros(())
    entries = []
    tokens = list(product(range(height), range(width)))
    for (i, j), (k, m) in product(tokens, tokens):
        row, column = centre + k - i, centre + m - j
        inside = 0 <= row < size and 0 <= column < size
        entries.append(kernel[row, column] if inside else absent)
    return torch.stack(entries).view(height * width, height * width)


def random_layer(grid: Grid, kernel_size: int, view: Literal["auto", "conv", "attention"] = "auto") -> LKCA:
    generator = torch.Generator().manual_seed(kernel_size)
    layer = LKCA(3, grid, kernel_size, view=view).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def random_tokens(grid: Grid, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("grid", "kernel_size"), CASES)
def test_a_view_and_its_gradients_equal_the_formula(
    grid: Grid, kernel_size: int, view: Literal["conv", "attention"]
) -> None:
    layer = random_layer(grid, kernel_size, view)
    tokens, weights = random_tokens(grid, 0).requires_grad_(), random_tokens(grid, 1)
    inputs = (tokens, *layer.parameters())

    actual = layer(tokens)
    expected = layer.out(matrix_by_loop(layer.kernel, grid) @ (tokens @ layer.value.weight.T))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)

    actual_gradients = torch.autograd.grad((actual * weights).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(actual_gradients, expected_gradients, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("side", [1, 2, 4, 6])
def test_the_full_kernel_on_a_square_grid_is_read_from_its_centre_s_minus_1(side: int) -> None:
    kernel = torch.randn(2 * side - 1, 2 * side - 1, generator=torch.Generator().manual_seed(0))
    matrix = attention_matrix(kernel, (side, side)).view(side, side, side, side)
    for i, j, k, m in product(range(side), repeat=4):
        assert matrix[i, j, k, m] == kernel[side - 1 + k - i, side - 1 + m - j]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("grid", "kernel_size"), CASES)
def test_a_smaller_kernel_is_the_full_one_with_zeros_outside_its_centre(
    grid: Grid, kernel_size: int, view: Literal["conv", "attention"]
) -> None:
    small, full = random_layer(grid, kernel_size, view), LKCA(3, grid, full_kernel_size(grid), view=view).double()
    margin = (full_kernel_size(grid) - kernel_size) // 2
    padded = torch.nn.functional.pad(small.kernel, [margin] * 4)
    full.load_state_dict({**small.state_dict(), "kernel": padded})
    tokens = random_tokens(grid, 0)
    torch.testing.assert_close(small(tokens), full(tokens), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_tap_of_the_largest_kernel_touches_a_token(grid: Grid) -> None:
    layer = random_layer(grid, full_kernel_size(grid))
    layer(random_tokens(grid, 0)).square().sum().backward()
    assert layer.kernel.grad is not None
    assert (layer.kernel.grad != 0).all()


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_weights_interchange_between_views(grid: Grid) -> None:
    conv, attention = random_layer(grid, 3, "conv"), LKCA(3, grid, 3, view="attention").double()
    attention.load_state_dict(conv.state_dict())
    tokens = random_tokens(grid, 0)
    torch.testing.assert_close(conv(tokens), attention(tokens), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("view", VIEWS)
def test_a_new_layer_outputs_exactly_its_bias(view: Literal["conv", "attention"]) -> None:
    layer = LKCA(3, (4, 4), 7, view=view).double()
    assert torch.equal(layer(random_tokens((4, 4), 0)), layer.out.bias.expand(2, 16, 3))


@pytest.mark.parametrize(("embed_dim", "grid", "kernel_size"), [(136, (8, 8), 15), (5, (3, 5), 5), (1, (1, 1), 1)])
def test_a_layer_has_two_maps_one_bias_and_one_kernel(embed_dim: int, grid: Grid, kernel_size: int) -> None:
    layer = LKCA(embed_dim, grid, kernel_size)
    expected = embed_dim**2 + kernel_size**2 + embed_dim**2 + embed_dim
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected
    assert layer.kernel.shape == (kernel_size, kernel_size)


@pytest.mark.parametrize(
    ("grid", "kernel_size", "view"),
    [
        ((4, 4), 3, "attention"),
        ((8, 8), 3, "conv"),
        ((8, 8), 5, "attention"),
        ((8, 8), 15, "attention"),
        ((16, 16), 7, "conv"),
        ((16, 16), 9, "attention"),
        ((32, 32), 13, "conv"),
        ((32, 32), 15, "attention"),
    ],
)
def test_auto_takes_the_view_that_was_measured_faster(grid: Grid, kernel_size: int, view: str) -> None:
    assert fastest_view(kernel_size, grid) == view
    assert LKCA(2, grid, kernel_size).view == view


@pytest.mark.parametrize(
    ("grid", "kernel_size", "message"),
    [
        ((8, 8), 16, "kernel_size must be odd and at most 15 on an 8x8 grid, got 16"),
        ((8, 8), 17, "kernel_size must be odd and at most 15 on an 8x8 grid, got 17"),
        ((3, 5), 7, "kernel_size must be odd and at most 5 on a 3x5 grid, got 7"),
        ((4, 4), -1, "kernel_size must be odd and at most 7 on a 4x4 grid, got -1"),
        ((11, 9), 2, "kernel_size must be odd and at most 17 on an 11x9 grid, got 2"),
    ],
)
def test_a_kernel_that_does_not_fit_the_grid_is_refused(grid: Grid, kernel_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LKCA(4, grid, kernel_size)
