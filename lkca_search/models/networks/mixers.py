"""Token mixers to compare LKCA with. Every mixer maps (B, N, C) -> (B, N, C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.networks.grid import Grid, kernel_size_rule


class Attention(nn.Module):
    """Multi-head self-attention (arXiv 1706.03762, section 3.2) without bias on q, k and v.

    Parameters: 4 embed_dim^2 + embed_dim, for any number of heads.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        """Make a layer; ValueError if num_heads does not divide embed_dim."""
        super().__init__()
        if rule := num_heads_rule(num_heads, embed_dim):
            raise ValueError(rule)
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=False)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        # (B, N, 3C) -> three of (B, heads, N, C / heads)
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = self._attend(query, key, value)
        # (B, heads, N, C / heads) -> (B, N, C)
        tokens: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return tokens

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value)


class LocalityAttention(Attention):
    """Locality self-attention (arXiv 2112.13492, section 3.2): no token attends to itself, temperatures are learned.

    As in the authors' code, each head has a temperature. It starts at the usual square root of the channels per head,
    and its inverse is the parameter. Parameters: those of Attention, and one per head.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        """Make a layer; ValueError if num_heads does not divide embed_dim."""
        super().__init__(embed_dim, num_heads)
        self.inverse_temperature = nn.Parameter(torch.full((num_heads,), (embed_dim / num_heads) ** -0.5))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        others = ~torch.eye(query.shape[2], dtype=torch.bool, device=query.device)
        scaled = query * self.inverse_temperature[:, None, None].to(query.dtype)
        return F.scaled_dot_product_attention(scaled, key, value, attn_mask=others, scale=1.0)


class Pool(nn.Module):
    """Average of each token's neighbors minus the token itself (PoolFormer, arXiv 2111.11418); no parameters.

    At the border of the grid the average is over the neighbors that exist.
    """

    def __init__(self, grid: Grid, kernel_size: int) -> None:
        """Make a layer; ValueError if the kernel does not fit the grid."""
        super().__init__()
        if rule := kernel_size_rule(kernel_size, grid):
            raise ValueError(rule)
        self.grid = grid
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        # (B, N, C) -> (B, C, H, W), already channels_last in memory
        images = x.reshape(x.shape[0], *self.grid, -1).permute(0, 3, 1, 2)
        side = self.kernel_size
        averages = F.avg_pool2d(images, side, stride=1, padding=side // 2, count_include_pad=False)
        # (B, C, H, W) -> (B, N, C)
        return averages.permute(0, 2, 3, 1).flatten(1, 2) - x

    def extra_repr(self) -> str:
        """Return the arguments that `print(model)` shows."""
        return f"grid={self.grid}, kernel_size={self.kernel_size}"


def num_heads_rule(num_heads: int, width: int) -> str | None:
    """Return the rule that a number of heads breaks, or None."""
    if num_heads >= 1 and width % num_heads == 0:
        return None
    return f"num_heads must divide the width, got {num_heads} heads for width {width}"
