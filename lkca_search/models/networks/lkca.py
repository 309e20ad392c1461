"""Large Kernel Convolutional Attention (LKCA, arXiv 2401.05738)."""

from typing import Literal

import torch
from torch import Tensor, nn

from lkca_search.models.networks.backend_times import LayerShape
from lkca_search.models.networks.backends import Backend, fastest_backend, mix_tokens
from lkca_search.models.networks.grid import Grid, kernel_size_rule

KernelInit = Literal["zero", "delta", "normal"]
"""Initial values of a kernel: zero (the paper), the identity (`delta`), or normal with std 1 / kernel_size."""


class LKCA(nn.Module):
    """Token mixer `out(K * value(x))` with one large kernel K for all channels, zero-padded, without softmax.

    The operator has two equal forms (the paper, section 3). One is a convolution of the value tokens. The other is
    attention with the matrix A[(i,j),(k,l)] = K[c+k-i, c+l-j], c = kernel_size // 2, which does not depend on the
    input. The paper initializes K with zeros, so a new layer outputs the bias of `out`.
    `num_kernels` above 1 is a variant of ours: each group of neighboring channels has its own kernel. With one kernel
    per channel the operator is a depthwise convolution.
    Parameters: 2 embed_dim^2 + embed_dim + num_kernels kernel_size^2, the same for every backend.

    Usage: `LKCA(136, (8, 8), 15)(tokens)`; (B, N, C) -> (B, N, C) with N = height * width of the grid, row by row.
    """

    def __init__(
        self,
        embed_dim: int,
        grid: Grid,
        kernel_size: int,
        *,
        num_kernels: int = 1,
        init: KernelInit = "zero",
        backend: Backend | Literal["auto"] = "auto",
    ) -> None:
        """Make a layer for one token grid.

        Args:
            embed_dim: Channels of a token.
            grid: Height and width of the token grid.
            kernel_size: Side of the kernels; odd, at most 2 s - 1 for a grid of shorter side s.
            num_kernels: Number of kernels; must divide embed_dim.
            init: Initial values of the kernels.
            backend: Backend that computes the layer; `auto` calls `fastest_backend` for each input. A training sets
                the one that it has measured.

        Raises:
            ValueError: The kernel does not fit the grid, or num_kernels does not divide embed_dim.
        """
        super().__init__()
        if rule := kernel_size_rule(kernel_size, grid):
            raise ValueError(rule)
        if num_kernels < 1 or embed_dim % num_kernels:
            raise ValueError(f"num_kernels must divide embed_dim, got {num_kernels} kernels for {embed_dim} channels")
        self.grid = grid
        self.backend = backend
        self.value = nn.Linear(embed_dim, embed_dim, bias=False)
        self.kernel = nn.Parameter(torch.zeros(num_kernels, kernel_size, kernel_size))
        self.out = nn.Linear(embed_dim, embed_dim)
        _initialize(self.kernel, init)

    @property
    def shape(self) -> LayerShape:
        """Shape that decides the fastest backend."""
        num_kernels, kernel_size, _ = self.kernel.shape
        return LayerShape(self.grid, kernel_size, num_kernels, self.value.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        value = self.value(x)
        backend = fastest_backend(self.kernel, self.grid, value) if self.backend == "auto" else self.backend
        mixed: Tensor = self.out(mix_tokens(value, self.kernel, self.grid, backend))
        return mixed

    def extra_repr(self) -> str:
        """Return the arguments that `print(model)` shows."""
        num_kernels, kernel_size, _ = self.kernel.shape
        return f"grid={self.grid}, kernel_size={kernel_size}, num_kernels={num_kernels}, backend={self.backend!r}"


@torch.no_grad()
def _initialize(kernel: Tensor, init: KernelInit) -> None:
    size = kernel.shape[-1]
    if init == "delta":
        kernel[:, size // 2, size // 2] = 1
    elif init == "normal":
        kernel.normal_(std=1 / size)
