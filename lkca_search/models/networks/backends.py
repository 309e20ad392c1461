"""Three backends of LKCA: a convolution, a matrix product (attention), and a product of spectra (FFT).

Each maps value tokens (B, N, C) and kernels (G, k, k) to mixed tokens (B, N, C). Kernel g belongs to the g-th group of
C / G neighboring channels. An output token is the sum of the tokens around it, weighted by the kernel; positions
outside the grid count as zero. Every odd k up to 2 s - 1 and every rectangular grid work, under autocast,
torch.compile and double backward. The search for a fast FFT length is ours: torch.compile cannot trace scipy's.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lkca_search.models.networks.grid import Grid

Backend = Literal["conv", "attention", "fft"]
"""Name of a backend. Parameters and results are the same for all of them."""

_MAX_MATRIX_BYTES = 256 * 2**20
"""Largest attention matrix, G x N x N, for which `auto` chooses the attention backend."""
CHUNK_BYTES = 16 * 2**20
"""Bytes of spectra per chunk of images. Small chunks stay in the CPU cache, and the allocator reuses them."""


def mix_tokens(value: Tensor, kernel: Tensor, grid: Grid, backend: Backend) -> Tensor:
    """Mix value tokens with the given backend: (B, N, C), (G, k, k) -> (B, N, C)."""
    return {"conv": convolve, "attention": attend, "fft": correlate}[backend](value, kernel, grid)


def convolve(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Convolve every channel with its kernel (depthwise, channels_last)."""
    batch, _, channels = value.shape
    groups, size, _ = kernel.shape
    # (B, N, C) -> (B, C, H, W), already channels_last in memory
    images = value.reshape(batch, *grid, channels).permute(0, 3, 1, 2)
    # (G, k, k) -> (C, 1, k, k); a single kernel is expanded: its gradient is summed over channels
    one = groups == 1
    kernels = (
        kernel.expand(channels, 1, size, size) if one else kernel.repeat_interleave(channels // groups, 0)[:, None]
    )
    mixed = F.conv2d(images, kernels.to(value.dtype), padding=size // 2, groups=channels)
    # (B, C, H, W) -> (B, N, C)
    return mixed.permute(0, 2, 3, 1).flatten(1, 2)


def attend(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Multiply the tokens of every channel by the attention matrix of its kernel."""
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
    # Expanded: the product of one matrix and a batch would copy the tokens.
    return matrices.expand(batch, -1, -1) @ value


def attention_matrix(kernel: Tensor, grid: Grid) -> Tensor:
    """Return A[(i,j),(k,l)] = K[c+k-i, c+l-j], zero outside the kernel: (G, k, k) -> (G, N, N)."""
    height, width = grid
    center = kernel.shape[-1] // 2
    rows, columns = height - 1 - center, width - 1 - center
    # (G, k, k) -> (G, 2H-1, 2W-1), one tap per displacement between two tokens
    taps = F.pad(kernel, (columns, columns, rows, rows))
    # (G, 2H-1, 2W-1) -> (G, H, W, H, W); token (i, j) attends to the window that starts at H-1-i, W-1-j
    windows = taps.unfold(1, height, 1).unfold(2, width, 1).flip(1, 2)
    # (G, H, W, H, W) -> (G, N, N)
    return windows.reshape(-1, height * width, height * width)


class _MatrixTimesTokens(torch.autograd.Function):
    """Product of one matrix and the tokens of each image: (N, N), (B, N, C) -> (B, N, C).

    Autograd would allocate the gradient of the matrix per image, (B, N, N): half a gigabyte for 128 images on a 32x32
    grid. This function sums it image by image.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, value: Tensor) -> Tensor:
        """Multiply, and keep both factors for the backward pass."""
        product = matrix.expand(value.shape[0], -1, -1) @ value
        # Autocast may have cast both. The backward pass runs without it, and must multiply equal types.
        ctx.save_for_backward(matrix.to(product.dtype), value.to(product.dtype))
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the matrix (N, N) and the tokens (B, N, C)."""
        matrix, value = ctx.saved_tensors
        (gradient,) = gradients
        matrix_gradient, value_gradient = None, None
        if ctx.needs_input_grad[0]:
            matrix_gradient = _sum_of_products(gradient, value)
        if ctx.needs_input_grad[1]:
            value_gradient = matrix.t().expand(len(value), -1, -1) @ gradient
        return matrix_gradient, value_gradient


def _sum_of_products(gradient: Tensor, value: Tensor) -> Tensor:
    """Return the sum over images of gradient @ value^T: two of (B, N, C) -> (N, N)."""
    if gradient.dtype.itemsize >= torch.float32.itemsize:
        zeros = gradient.new_zeros(gradient.shape[1], gradient.shape[1])
        return torch.addbmm(zeros, gradient, value.transpose(1, 2))
    # addbmm rounds the sum after every image: in bfloat16, later images of a batch would be lost. One product of
    # (N, B C) and (B C, N) sums in float32.
    rows, columns = (tokens.transpose(0, 1).flatten(1) for tokens in (gradient, value))
    return rows @ columns.t()


def correlate(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Correlate in the frequency domain, in chunks of images, in float32 or a wider type."""
    height, width = grid
    center = kernel.shape[-1] // 2
    channels = value.shape[2]
    dtype = torch.promote_types(value.dtype, torch.float32)
    rows, columns = _padded(grid, kernel.shape[-1])
    taps = F.pad(kernel.to(dtype), (0, columns - kernel.shape[-1], 0, rows - kernel.shape[-1]))
    # (G, k, k) -> (G, R, F), conjugate for a correlation, the center at the origin
    spectrum = torch.fft.rfft2(taps.roll((-center, -center), (1, 2))).conj()
    # (G, R, F) -> (C, R, F)
    spectrum = spectrum[:, None].expand(-1, channels // len(kernel), -1, -1).flatten(0, 1)
    num_chunks = 1 + len(value) * channels * rows * columns * dtype.itemsize // CHUNK_BYTES
    parts = []
    for images in value.chunk(min(num_chunks, len(value))):
        # (b, N, C) -> (b, C, H, W)
        planes = images.to(dtype).transpose(1, 2).unflatten(2, grid)  # type: ignore[no-untyped-call]
        mixed = torch.fft.irfft2(torch.fft.rfft2(planes, s=(rows, columns)) * spectrum, s=(rows, columns))
        # (b, C, R, L) -> (b, N, C)
        parts.append(mixed[..., :height, :width].flatten(2).transpose(1, 2).to(value.dtype))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


class BackendCosts(NamedTuple):
    """Nanoseconds of forward and backward on two CPU threads, per image and channel."""

    tap: float
    """Convolution, per token and tap of the kernel."""
    pair: float
    """Matrix product, per pair of tokens."""
    frequency: float
    """Transforms, per cell of the padded grid."""


COSTS = {
    torch.float32: BackendCosts(0.09, 0.029, 7.2),
    torch.bfloat16: BackendCosts(0.12, 0.015, 7.2),
    torch.float64: BackendCosts(3.8, 0.055, 9.8),
}


def fastest_backend(kernel: Tensor, grid: Grid, value: Tensor, costs: BackendCosts | None = None) -> Backend:
    """Return the backend with the smallest estimated time for kernels (G, k, k) and value tokens (B, N, C).

    An estimate is a size times a constant that benchmarks/lkca_backends.py measured on an AVX-512 CPU. Trainings
    measure their own device instead. `costs` replaces the constants of the dtype.
    """
    num_kernels, size, _ = kernel.shape
    # torch cannot trace a cache
    estimate = _estimate_times if torch.compiler.is_compiling() else estimate_times
    return _least(estimate(grid, size, num_kernels, value.dtype, costs))


def estimate_backend(grid: Grid, kernel_size: int, num_kernels: int, dtype: torch.dtype) -> Backend:
    """Return the backend with the smallest estimated time for a layer, as `fastest_backend` does."""
    return _least(estimate_times(grid, kernel_size, num_kernels, dtype))


def _least(nanoseconds: Mapping[Backend, float]) -> Backend:
    return min(nanoseconds, key=lambda backend: nanoseconds[backend])


def _estimate_times(
    grid: Grid, size: int, num_kernels: int, dtype: torch.dtype, costs: BackendCosts | None = None
) -> Mapping[Backend, float]:
    costs = costs or COSTS.get(dtype, COSTS[torch.float32])
    num_tokens = grid[0] * grid[1]
    rows, columns = _padded(grid, size)
    # Libraries have special code for 3x3, and slower code beyond 13x13.
    taps = size**2 * (0.75 if size == 3 else 1 if size <= 13 else 4)
    # With several kernels, each needs its own matrix and a copy of the tokens.
    pairs = num_tokens**2 * (1 if num_kernels == 1 else 2 + num_kernels / 20)
    nanoseconds: dict[Backend, float] = {
        "conv": costs.tap * num_tokens * taps,
        "attention": costs.pair * pairs,
        "fft": costs.frequency * rows * columns,
    }
    if num_kernels * num_tokens**2 * dtype.itemsize > _MAX_MATRIX_BYTES:
        del nanoseconds["attention"]
    return nanoseconds


@lru_cache(maxsize=1000)
def estimate_times(
    grid: Grid, size: int, num_kernels: int, dtype: torch.dtype, costs: BackendCosts | None = None
) -> Mapping[Backend, float]:
    """Return the estimated nanoseconds per image and channel of each backend whose matrices fit into 256 MiB."""
    return _estimate_times(grid, size, num_kernels, dtype, costs)


def _padded(grid: Grid, kernel_size: int) -> Grid:
    """Return the size to pad to: values that wrap around are zero, or land on rows and columns that are cut off."""
    return _fast_length(grid[0] + kernel_size // 2), _fast_length(grid[1] + kernel_size // 2)


def _fast_length(length: int) -> int:
    """Return the smallest length from `length` on whose prime factors are 2, 3 and 5: FFTs are fast there."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
