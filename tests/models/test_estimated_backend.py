"""Backend of LKCA that is estimated from costs measured once, where none is measured on the device."""

import pytest
import torch

from lkca_search.models.networks import backends
from lkca_search.models.networks.backends import Backend, fastest_backend
from lkca_search.models.networks.grid import Grid


def chosen(
    grid: Grid,
    kernel_size: int,
    dtype: torch.dtype = torch.float32,
    num_kernels: int = 1,
    costs: backends.BackendCosts | None = None,
) -> Backend:
    kernel = torch.zeros(num_kernels, kernel_size, kernel_size, device="meta")
    value = torch.zeros(1, grid[0] * grid[1], num_kernels, dtype=dtype, device="meta")
    return fastest_backend(kernel, grid, value, costs)


@pytest.mark.parametrize(
    ("grid", "kernel_size", "backend"),
    [
        ((4, 4), 3, "attention"),
        ((7, 7), 3, "conv"),
        ((8, 8), 3, "conv"),
        ((8, 8), 5, "attention"),
        ((8, 8), 15, "attention"),
        ((14, 14), 7, "conv"),
        ((14, 14), 15, "attention"),
        ((16, 16), 7, "conv"),
        ((16, 16), 31, "attention"),
        ((24, 24), 15, "fft"),
        ((28, 28), 55, "attention"),
        ((32, 32), 7, "conv"),
        ((32, 32), 15, "fft"),
        ((32, 32), 63, "fft"),
    ],
)
def test_auto_chooses_the_backend_that_was_measured_fastest(grid: Grid, kernel_size: int, backend: Backend) -> None:
    assert chosen(grid, kernel_size) == backend


def test_auto_depends_on_the_dtype_and_on_the_number_of_kernels() -> None:
    assert chosen((16, 16), 7, torch.bfloat16) == "attention"
    assert chosen((8, 8), 3, torch.float64) == "attention"
    assert chosen((16, 16), 15, num_kernels=1) == "attention"
    assert chosen((16, 16), 15, num_kernels=96) == "fft"


@pytest.mark.parametrize(("grid", "num_kernels"), [((96, 96), 1), ((24, 24), 256)])
def test_auto_builds_no_matrix_that_does_not_fit(grid: Grid, num_kernels: int) -> None:
    free_matrices = backends.COSTS[torch.float32]._replace(pair=0.0)
    assert chosen((24, 24), 47, costs=free_matrices) == "attention"
    assert chosen(grid, 47, num_kernels=num_kernels, costs=free_matrices) != "attention"
