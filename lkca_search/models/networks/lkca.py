"""Large Kernel Convolutional Attention (arXiv 2401.05738): attention whose matrix is a learned convolution."""

from typing import Literal

import torch
from torch import Tensor, nn

from lkca_search.models.networks.backends import Backend, fastest_backend, mix_tokens
from lkca_search.models.networks.grid import Grid, kernel_size_rule

KernelInit = Literal["zero", "delta", "normal"]
"""How a kernel starts: zero as in the paper; the identity; or normal with standard deviation 1 / kernel_size."""


class LKCA(nn.Module):
    """Mix tokens by a large kernel that channels share: `out(K * value(x))`, zero-padded, without softmax.

    The paper's operator in both of its readings: a convolution of the value tokens, and attention whose matrix
    A[(i,j),(k,l)] = K[c+k-i, c+l-j], c = kernel_size // 2, is doubly block-Toeplitz and independent of the input.
    With the paper's kernel, which starts at zero, a new layer outputs its bias. More than one kernel is a variant: the
    channels are cut into as many groups of neighbours, up to a kernel a channel, a depthwise convolution.
    Parameters: 2 embed_dim^2 + embed_dim + num_kernels kernel_size^2, the same ones in every view.

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
        view: Backend | Literal["auto"] = "auto",
    ) -> None:
        """Raise ValueError if the kernel does not fit the grid or the channels. `auto`: see `fastest_backend`."""
        super().__init__()
        if rule := kernel_size_rule(kernel_size, grid):
            raise ValueError(rule)
        if num_kernels < 1 or embed_dim % num_kernels:
            raise ValueError(f"num_kernels must divide embed_dim, got {num_kernels} kernels for {embed_dim} channels")
        self.grid = grid
        self.view = view
        self.value = nn.Linear(embed_dim, embed_dim, bias=False)
        self.kernel = nn.Parameter(torch.zeros(num_kernels, kernel_size, kernel_size))
        self.out = nn.Linear(embed_dim, embed_dim)
        _initialise(self.kernel, init)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        value = self.value(x)
        view = fastest_backend(self.kernel, self.grid, value) if self.view == "auto" else self.view
        mixed: Tensor = self.out(mix_tokens(value, self.kernel, self.grid, view))
        return mixed

    def extra_repr(self) -> str:
        num_kernels, kernel_size, _ = self.kernel.shape
        return f"grid={self.grid}, kernel_size={kernel_size}, num_kernels={num_kernels}, view={self.view!r}"


@torch.no_grad()
def _initialise(kernel: Tensor, init: KernelInit) -> None:
    size = kernel.shape[-1]
    if init == "delta":
        kernel[:, size // 2, size // 2] = 1
    elif init == "normal":
        kernel.normal_(std=1 / size)
