"""Large Kernel Convolutional Attention (arXiv 2401.05738): attention whose matrix is a learned convolution."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn, zeros

Grid = tuple[int, int]
"""Height and width of the token grid, in tokens."""
View = Literal["conv", "attention"]
"""How the same map is computed; parameters and result do not depend on it."""


class LKCA(nn.Module):
    """Mix tokens by one large kernel that all channels share: `out(K * value(x))`, zero-padded, without softmax.

    The paper's operator in both of its readings: a convolution of the value tokens, and attention whose matrix
    A[(i,j),(k,l)] = K[c+k-i, c+l-j], c = kernel_size // 2, is doubly block-Toeplitz and independent of the input.
    The kernel starts at zero, so a new layer outputs its bias. Parameters: 2 embed_dim^2 + embed_dim + kernel_size^2.

    Usage: `LKCA(136, (8, 8), 15)(tokens)`; (B, N, C) -> (B, N, C) with N = height * width of the grid, row by row.
    """

    def __init__(self, embed_dim: int, grid: Grid, kernel_size: int, *, view: View | Literal["auto"] = "auto") -> None:
        """ValueError if the kernel does not fit the grid. `view="auto"` takes the faster one, see `fastest_view`."""
        super().__init__()
        if rule := kernel_size_rule(kernel_size, grid):
            raise ValueError(rule)
        self.grid = grid
        self.view: View = fastest_view(kernel_size, grid) if view == "auto" else view
        self.value = nn.Linear(embed_dim, embed_dim, bias=False)
        self.kernel = nn.Parameter(zeros(kernel_size, kernel_size))
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        mix = convolve if self.view == "conv" else attend
        mixed: Tensor = self.out(mix(self.value(x), self.kernel, self.grid))
        return mixed

    def extra_repr(self) -> str:
        return f"grid={self.grid}, kernel_size={self.kernel.shape[0]}, view={self.view!r}"


def kernel_size_rule(kernel_size: int, grid: Grid) -> str | None:
    """Return the rule that the kernel breaks on the grid, or None. Taps beyond 2 s - 1 would never touch a token."""
    largest = full_kernel_size(grid)
    if kernel_size % 2 == 1 and 1 <= kernel_size <= largest:
        return None
    height, width = grid
    article = "an" if str(height).startswith("8") or height in (11, 18) else "a"
    return f"kernel_size must be odd and at most {largest} on {article} {height}x{width} grid, got {kernel_size}"


def full_kernel_size(grid: Grid) -> int:
    """Return 2 s - 1, s the grid's shorter side; on a square grid every token then reaches every other."""
    return 2 * min(grid) - 1


def fastest_view(kernel_size: int, grid: Grid) -> View:
    """Return `attention` where the kernel has more taps than a fifth of the tokens, else `conv`.

    The threshold is measured by benchmarks/lkca_views.py: forward and backward, float32, 2 CPU threads, batch 128, 64
    and 192 channels, grids 4x4 to 16x16. No GPU has been measured.
    """
    height, width = grid
    return "attention" if 5 * kernel_size**2 > height * width else "conv"


def convolve(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Convolve every channel of the value tokens with the one kernel: (B, N, C), (k, k) -> (B, N, C)."""
    batch, _, channels = value.shape
    # (B, N, C) -> (B, C, H, W), whose memory already is channels_last
    images = value.reshape(batch, *grid, channels).permute(0, 3, 1, 2)
    # (k, k) -> (C, 1, k, k), a view: the gradient is summed over channels
    kernels = kernel.expand(channels, 1, -1, -1)
    mixed = F.conv2d(images, kernels, padding=kernel.shape[0] // 2, groups=channels)
    # (B, C, H, W) -> (B, N, C)
    return mixed.permute(0, 2, 3, 1).flatten(1, 2)


def attend(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """Multiply the value tokens by the kernel's attention matrix: (B, N, C), (k, k) -> (B, N, C)."""
    # Expanded, since a matrix times a batch copies the tokens to fold the batch into the channels.
    return attention_matrix(kernel, grid).expand(value.shape[0], -1, -1) @ value


def attention_matrix(kernel: Tensor, grid: Grid) -> Tensor:
    """Lay the kernel out as A[(i,j),(k,l)] = K[c+k-i, c+l-j], 0 where K has no such tap: (k, k) -> (N, N)."""
    height, width = grid
    centre = kernel.shape[0] // 2
    rows, columns = height - 1 - centre, width - 1 - centre
    # (k, k) -> (2H-1, 2W-1), the tap of every displacement between two tokens
    taps = F.pad(kernel, (columns, columns, rows, rows))
    # (2H-1, 2W-1) -> (H, W, H, W); the window starting at H-1-i, W-1-j is what token (i, j) attends to, hence the flip
    windows = taps.unfold(0, height, 1).unfold(1, width, 1).flip(0, 1)
    # (H, W, H, W) -> (N, N)
    return windows.reshape(height * width, height * width)
