"""Compact Convolutional Transformer (CCT, Hassani et al., arXiv 2104.05704)."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.networks.backbone import Block, mlp_ratio_rule
from lkca_search.models.networks.grid import Grid, kernel_size_rule
from lkca_search.models.networks.mixers import Attention
from lkca_search.spec.configuration import ImageShape

_INNER_CHANNELS = 64
_MAX_TOKENS = 16


class CCT(nn.Module):
    """CCT: convolutional tokenizer, positions, blocks, LayerNorm, attention pooling, Linear.

    Follows sections 3.2 and 3.3 of the paper: the DropPath rate rises linearly with depth, weights are truncated
    normal. Two parts of the authors' code are left out: the LayerNorm on the residual path, and the bias of the
    pooling's scores, which softmax cancels. CCT-7/3x1: depth 7, embed_dim 256, 4 heads, kernel 3, MLP ratio 2.

    Usage: `CCT(ImageShape(32, 32, 3), 10, kernel_size=3, embed_dim=256, depth=7, num_heads=4, mlp_ratio=2.0,
    drop_path_rate=0.1)(images)`; (B, channels, height, width) float -> logits (B, num_classes).
    """

    def __init__(
        self,
        shape: ImageShape,
        num_classes: int,
        *,
        kernel_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path_rate: float,
        dropout: float = 0.0,
        position_embedding: bool = True,
    ) -> None:
        """Make a network.

        Raises:
            ValueError: The kernel is too large, the heads do not divide embed_dim, or the MLP has no hidden unit.
        """
        super().__init__()
        if rule := kernel_size_rule(kernel_size, shape[:2]) or mlp_ratio_rule(mlp_ratio, embed_dim):
            raise ValueError(rule)
        height, width = cct_grid(shape)
        self.tokenizer = Tokenizer(shape.channels, num_layers(shape), kernel_size, embed_dim)
        self.positions = nn.Parameter(torch.empty(1, height * width, embed_dim)) if position_embedding else None
        hidden_dim = round(mlp_ratio * embed_dim)
        rates = [drop_path_rate * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.Sequential(
            *(Block(Attention(embed_dim, num_heads), embed_dim, hidden_dim, rate, dropout) for rate in rates)
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dim)
        self.scores = nn.Linear(embed_dim, 1, bias=False)
        self.head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialize)
        if self.positions is not None:
            nn.init.trunc_normal_(self.positions, std=0.2)

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, channels, height, width) -> logits (B, num_classes)."""
        x = self.tokenizer(images)
        x = self.norm(self.blocks(self.dropout(x if self.positions is None else x + self.positions)))
        # (B, 1, N) @ (B, N, C) -> (B, C): mean of the tokens, weighted by their scores
        x = (self.scores(x).softmax(dim=1).transpose(1, 2) @ x).squeeze(1)
        logits: Tensor = self.head(x)
        return logits


class Tokenizer(nn.Module):
    """Layers of convolution, ReLU and 3x3 max pooling with stride 2.

    Each layer but the last has 64 channels, as in the authors' code, for every embed_dim.
    """

    def __init__(self, channels: int, num_layers: int, kernel_size: int, embed_dim: int) -> None:
        """Make the layers; the last one has `embed_dim` channels."""
        super().__init__()
        sizes = [channels, *[_INNER_CHANNELS] * (num_layers - 1), embed_dim]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, bias=False)
            for before, after in pairwise(sizes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Make tokens, row by row: (B, channels, height, width) -> (B, N, C)."""
        # (B, channels, height, width) -> (B, C, H, W)
        for convolution in self.convolutions:
            images = F.max_pool2d(convolution(images).relu(), 3, stride=2, padding=1)
        # (B, C, H, W) -> (B, N, C)
        return images.flatten(2).transpose(1, 2)


def num_layers(shape: ImageShape) -> int:
    """Return the smallest number of layers, at least 1, that leaves at most 16 tokens on the shorter side."""
    return max(1, math.ceil(math.log2(min(shape.height, shape.width) / _MAX_TOKENS)))


def cct_grid(shape: ImageShape) -> Grid:
    """Return height and width of the token grid: each layer halves the image, rounded up."""
    reduction = 2 ** num_layers(shape)
    return math.ceil(shape.height / reduction), math.ceil(shape.width / reduction)


def _initialize(module: nn.Module) -> None:
    """Initialize a module as the authors' code does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
