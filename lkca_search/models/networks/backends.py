"""One map of tokens, computed three ways: as a convolution, as attention, and in the frequency domain.

All take value tokens (B, N, C) and kernels (G, k, k), each for C / G neighbouring channels, and give (B, N, C): every
token becomes the sum of the tokens around it, weighted by its channel's kernel, where the grid has such tokens. Any odd
k up to 2 s - 1 and rectangular grids; autocast, torch.compile and double backward work.
"""

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lkca_search.models.networks.grid import Grid

Backend = Literal["conv", "attention", "fft"]
"""How the map is computed; parameters and result do not depend on it."""

_MOST_MATRIX_BYTES = 256 * 2**20
"""The attention view holds a matrix of N x N a kernel and layer; `auto` does not choose it beyond this."""
_CHUNK_BYTES = 16 * 2**20
"""Frequencies held at once: what is freed and taken again stays in the cache and with the allocator."""


def mix_tokens(value: Tensor, kernel: Tensor, grid: Grid, view: Backend) -> Tensor:
    """Mix value tokens by kernels in the given view: (B, N, C), (G, k, k) -> (B, N, C)."""
    return {"conv": convolve, "attention": attend, "fft": correlate}[view](value, kernel, grid)


def convolve(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Convolve every channel with its kernel, depthwise and channels_last."""
    batch, _, channels = value.shape
    groups, size, _ = kernel.shape
    # (B, N, C) -> (B, C, H, W), whose memory already is channels_last
    images = value.reshape(batch, *grid, channels).permute(0, 3, 1, 2)
    # (G, k, k) -> (C, 1, k, k); of one kernel a view, whose gradient is summed over channels
    one = groups == 1
    kernels = (
        kernel.expand(channels, 1, size, size) if one else kernel.repeat_interleave(channels // groups, 0)[:, None]
    )
    mixed = F.conv2d(images, kernels, padding=size // 2, groups=channels)
    # (B, C, H, W) -> (B, N, C)
    return mixed.permute(0, 2, 3, 1).flatten(1, 2)


def attend(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Multiply the tokens of every channel by its kernel's attention matrix."""
    matrices = attention_matrix(kernel, grid).to(value.dtype)
    batch, num_tokens, channels = value.shape
    if len(matrices) > 1:
        # (B, N, C) -> (G, N, B C/G)
        grouped = value.reshape(batch, num_tokens, len(matrices), -1).permute(2, 1, 0, 3).flatten(2)
        # (G, N, B C/G) -> (B, N, C)
        mixed = (matrices @ grouped).reshape(len(matrices), num_tokens, batch, -1).permute(2, 1, 0, 3)
        return mixed.reshape(batch, num_tokens, channels)
    if num_tokens > channels:
        product: Tensor = _MatrixTimesTokens.apply(matrices[0], value)
        return product
    # Expanded, since a matrix times a batch copies the tokens to fold the batch into the channels.
    return matrices.expand(batch, -1, -1) @ value


def attention_matrix(kernel: Tensor, grid: Grid) -> Tensor:
    """Lay kernels out as A[(i,j),(k,l)] = K[c+k-i, c+l-j], 0 where K has no such tap: (G, k, k) -> (G, N, N)."""
    height, width = grid
    centre = kernel.shape[-1] // 2
    rows, columns = height - 1 - centre, width - 1 - centre
    # (G, k, k) -> (G, 2H-1, 2W-1), the tap of every displacement between two tokens
    taps = F.pad(kernel, (columns, columns, rows, rows))
    # (G, 2H-1, 2W-1) -> (G, H, W, H, W); the window starting at H-1-i, W-1-j is what token (i, j) attends to
    windows = taps.unfold(1, height, 1).unfold(2, width, 1).flip(1, 2)
    # (G, H, W, H, W) -> (G, N, N)
    return windows.reshape(-1, height * width, height * width)


class _MatrixTimesTokens(torch.autograd.Function):
    """One matrix times the tokens of each image: (N, N), (B, N, C) -> (B, N, C).

    Left to autograd, the gradient of the matrix is first made for each image: (B, N, N), half a gigabyte for 128 images
    on a 32x32 grid. Here it is summed up image by image.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(matrix, value)
        return matrix.expand(len(value), -1, -1) @ value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        matrix, value = ctx.saved_tensors
        (gradient,) = gradients
        for_matrix, for_value = None, None
        if ctx.needs_input_grad[0]:
            for_matrix = torch.addbmm(torch.zeros_like(matrix), gradient, value.transpose(1, 2))
        if ctx.needs_input_grad[1]:
            for_value = matrix.t().expand(len(value), -1, -1) @ gradient
        return for_matrix, for_value


def correlate(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Correlate in the frequency domain, a few images at a time, in float32 at least."""
    height, width = grid
    centre = kernel.shape[-1] // 2
    channels = value.shape[2]
    exact = torch.promote_types(value.dtype, torch.float32)
    rows, columns = _padded(grid, kernel.shape[-1])
    taps = F.pad(kernel.to(exact), (0, columns - kernel.shape[-1], 0, rows - kernel.shape[-1]))
    # (G, k, k) -> (G, R, F), conjugate for a correlation, the centre at the origin
    spectrum = torch.fft.rfft2(taps.roll((-centre, -centre), (1, 2))).conj()
    # (G, R, F) -> (C, R, F)
    spectrum = spectrum[:, None].expand(-1, channels // len(kernel), -1, -1).flatten(0, 1)
    num_chunks = 1 + len(value) * channels * rows * columns * exact.itemsize // _CHUNK_BYTES
    parts = []
    for images in value.chunk(min(num_chunks, len(value))):
        # (b, N, C) -> (b, C, H, W)
        planes = images.to(exact).transpose(1, 2).unflatten(2, grid)  # type: ignore[no-untyped-call]
        mixed = torch.fft.irfft2(torch.fft.rfft2(planes, s=(rows, columns)) * spectrum, s=(rows, columns))
        # (b, C, R, L) -> (b, N, C)
        parts.append(mixed[..., :height, :width].flatten(2).transpose(1, 2).to(value.dtype))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


class _Costs(NamedTuple):
    """Nanoseconds of forward and backward on two CPU threads, for each image and channel."""

    tap: float
    """Of the convolution, for each token and tap of the kernel."""
    pair: float
    """Of the matrix product, for each pair of tokens."""
    frequency: float
    """Of the transforms, for each row and column of the padded grid."""


_COSTS = {
    torch.float32: _Costs(0.09, 0.029, 7.2),
    torch.bfloat16: _Costs(0.12, 0.015, 7.2),
    torch.float64: _Costs(3.8, 0.055, 9.8),
}


def fastest_backend(kernel: Tensor, grid: Grid, value: Tensor) -> Backend:
    """Return the view with the least estimated time for kernels (G, k, k) and value tokens (B, N, C) of its dtype.

    The estimate is a product of a size and a measured constant (benchmarks/lkca_views.py, on an AVX-512 CPU). GPUs
    have not been measured and are taken to be alike. Of several kernels each needs a matrix, and copies of the tokens.
    """
    num_kernels, size, _ = kernel.shape
    return _least_time(num_kernels, size, grid, value.dtype)


@lru_cache(maxsize=1000)
def _least_time(num_kernels: int, size: int, grid: Grid, dtype: torch.dtype) -> Backend:
    costs = _COSTS.get(dtype, _COSTS[torch.float32])
    num_tokens = grid[0] * grid[1]
    rows, columns = _padded(grid, size)
    # A 3x3 convolution has code of its own; beyond 13x13 the libraries turn to slower code.
    taps = size**2 * (0.75 if size == 3 else 1 if size <= 13 else 4)
    pairs = num_tokens**2 * (1 if num_kernels == 1 else 2 + num_kernels / 20)
    nanoseconds: dict[Backend, float] = {
        "conv": costs.tap * num_tokens * taps,
        "attention": costs.pair * pairs,
        "fft": costs.frequency * rows * columns,
    }
    if num_kernels * num_tokens**2 * dtype.itemsize > _MOST_MATRIX_BYTES:
        del nanoseconds["attention"]
    return min(nanoseconds, key=lambda view: nanoseconds[view])


def _padded(grid: Grid, kernel_size: int) -> Grid:
    """The period to correlate with: what wraps around is zero, or falls on rows and columns that are cut off."""
    return _fast_length(grid[0] + kernel_size // 2), _fast_length(grid[1] + kernel_size // 2)


def _fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5, which transforms are fast at."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
