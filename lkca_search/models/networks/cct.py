"""Compact Convolutional Transformer (Hassani et al., arXiv 2104.05704): a ViT that convolves pixels into tokens."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.family import Broken, Family, heads_for, known
from lkca_search.models.networks.backbone import Block, mlp_ratio_rule
from lkca_search.models.networks.grid import Grid, kernel_size_rule
from lkca_search.models.networks.mixers import Attention, num_heads_rule
from lkca_search.spec.configuration import Configuration, ImageShape

_INNER_CHANNELS = 64
_MOST_TOKENS = 16


class CCT(nn.Module):
    """CCT: convolutions down to 16x16 tokens, positions, blocks, LayerNorm, pooling by attention, Linear.

    As the paper's sections 3.2 and 3.3: DropPath rises linearly with depth, weights are truncated normal. Two things of
    the authors' code are left out: the LayerNorm on the residual path, and the bias of the pooling's scores, which
    cancels in their softmax. CCT-7/3x1 is depth 7, embed_dim 256, 4 heads, kernel 3, MLP ratio 2.

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
        position_embedding: bool = True,
    ) -> None:
        """ValueError if the kernel does not fit the image, the heads do not divide embed_dim or the MLP is empty."""
        super().__init__()
        if rule := kernel_size_rule(kernel_size, shape[:2]) or mlp_ratio_rule(mlp_ratio, embed_dim):
            raise ValueError(rule)
        height, width = token_grid(shape)
        self.tokenizer = Tokenizer(shape.channels, num_layers(shape), kernel_size, embed_dim)
        self.positions = nn.Parameter(torch.empty(1, height * width, embed_dim)) if position_embedding else None
        hidden_dim = round(mlp_ratio * embed_dim)
        rates = [drop_path_rate * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.Sequential(
            *(Block(Attention(embed_dim, num_heads), embed_dim, hidden_dim, rate) for rate in rates)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.scores = nn.Linear(embed_dim, 1, bias=False)
        self.head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialise)
        if self.positions is not None:
            nn.init.trunc_normal_(self.positions, std=0.2)

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, channels, height, width) -> logits (B, num_classes)."""
        x = self.tokenizer(images)
        x = self.norm(self.blocks(x if self.positions is None else x + self.positions))
        # (B, 1, N) @ (B, N, C) -> (B, C): a mean of the tokens, weighted by what they hold
        x = (self.scores(x).softmax(dim=1).transpose(1, 2) @ x).squeeze(1)
        logits: Tensor = self.head(x)
        return logits


class Tokenizer(nn.Module):
    """Layers of convolution, ReLU and max pooling, 3x3 with stride 2: (B, channels, height, width) -> (B, N, C).

    As in the authors' code, each layer but the last has 64 channels, whatever the width.
    """

    def __init__(self, channels: int, num_layers: int, kernel_size: int, embed_dim: int) -> None:
        super().__init__()
        sizes = [channels, *[_INNER_CHANNELS] * (num_layers - 1), embed_dim]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, bias=False)
            for before, after in pairwise(sizes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, N, C), tokens row by row."""
        # (B, channels, height, width) -> (B, C, H, W)
        for convolution in self.convolutions:
            images = F.max_pool2d(convolution(images).relu(), 3, stride=2, padding=1)
        # (B, C, H, W) -> (B, N, C)
        return images.flatten(2).transpose(1, 2)


def num_layers(shape: ImageShape) -> int:
    """Return the layers of the tokenizer: as few as bring the image's shorter side to 16 tokens, and one at least."""
    return max(1, math.ceil(math.log2(min(shape.height, shape.width) / _MOST_TOKENS)))


def token_grid(shape: ImageShape) -> Grid:
    """Return height and width, in tokens, of an image: halved by each layer, rounded up."""
    halvings = 2 ** num_layers(shape)
    return math.ceil(shape.height / halvings), math.ceil(shape.width / halvings)


def _initialise(module: nn.Module) -> None:
    """Give the initial values of the authors' code."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)


def _rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
    width = known(configuration.width)
    if rule := kernel_size_rule(known(configuration.kernel_size), shape[:2]):
        yield ("kernel_size",), rule
    if rule := mlp_ratio_rule(known(configuration.mlp_ratio), width):
        yield ("mlp_ratio", "width"), rule
    if rule := num_heads_rule(known(configuration.num_heads), width):
        yield ("num_heads", "width"), rule


def _build(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    return CCT(
        shape,
        num_classes,
        kernel_size=known(configuration.kernel_size),
        embed_dim=known(configuration.width),
        depth=known(configuration.depth),
        num_heads=known(configuration.num_heads),
        mlp_ratio=known(configuration.mlp_ratio),
        drop_path_rate=known(configuration.drop_path_rate),
        position_embedding=known(configuration.position_embedding),
    )


CCT_FAMILY = Family(
    label="CCT: attention over tokens made by convolution and max pooling (arXiv 2104.05704)",
    takes={
        "depth": 7,
        "width": 256,
        "match_parameters": None,
        "mlp_ratio": 2.0,
        "kernel_size": 3,
        "num_heads": heads_for(4),
        "position_embedding": True,
        "drop_path_rate": 0.1,
    },
    means={
        "kernel_size": "side, in pixels, of the convolutions that make the tokens; odd, at most 2 s - 1 for s pixels"
    },
    rules=_rules,
    build=_build,
    width_step=lambda configuration: configuration.num_heads or 1,
)
"""The family `cct`; at 32 pixels its default is CCT-7/3x1. Larger images take more layers to come to 16x16 tokens."""
