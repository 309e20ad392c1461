"""Pre-norm vision transformer around a token mixer. Families that share it differ in the mixer alone."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lkca_search.models.networks.grid import patch_size_rule, token_grid
from lkca_search.spec.configuration import ImageShape

Pooling = Literal["mean", "class_token"]
"""Pooling of the tokens before the classifier."""


class Backbone(nn.Module):
    """Vision transformer with any mixer: patches, positions, blocks, pooling, LayerNorm, Linear.

    Block and head follow arXiv 2401.05738: no norm between the last block and the pooling, one DropPath rate for all
    blocks. Weights and dropped paths come from torch's default generator: seed it first.

    Usage: `Backbone(ImageShape(32, 32, 3), 10, make_mixer=lambda: LKCA(136, (8, 8), 15), patch_size=4, embed_dim=136,
    depth=9, mlp_ratio=2.0, drop_path_rate=0.1)(images)`; (B, channels, height, width) float -> logits (B, num_classes).
    """

    def __init__(
        self,
        shape: ImageShape,
        num_classes: int,
        *,
        make_mixer: Callable[[], nn.Module],
        patch_size: int,
        embed_dim: int,
        depth: int,
        mlp_ratio: float,
        drop_path_rate: float,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        position_embedding: bool = True,
        shifted_patches: bool = False,
    ) -> None:
        """Make a network; `make_mixer` is called once per block.

        Dropout acts on the tokens with their positions and on the output of every mixer and MLP (arXiv 1706.03762,
        section 5.4).

        Raises:
            ValueError: The patches do not tile the image or cannot be shifted, or the MLP has no hidden unit.
        """
        super().__init__()
        rule = patch_size_rule(patch_size, shape) or mlp_ratio_rule(mlp_ratio, embed_dim)
        if rule := rule or (shifted_patches_rule(patch_size) if shifted_patches else None):
            raise ValueError(rule)
        height, width = token_grid(patch_size, shape)
        num_tokens = height * width + (pooling == "class_token")
        embedding = ShiftedPatchEmbedding if shifted_patches else PatchEmbedding
        self.patches = embedding(shape.channels, patch_size, embed_dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, embed_dim)) if pooling == "class_token" else None
        self.positions = nn.Parameter(torch.randn(1, num_tokens, embed_dim)) if position_embedding else None
        hidden_dim = round(mlp_ratio * embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(Block(make_mixer(), embed_dim, hidden_dim, drop_path_rate, dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, channels, height, width) -> logits (B, num_classes)."""
        x = self.patches(images)
        if self.class_token is not None:
            # (B, N, C) -> (B, 1 + N, C)
            x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.blocks(self.dropout(x if self.positions is None else x + self.positions))
        # (B, N, C) -> (B, C)
        x = x.mean(dim=1) if self.class_token is None else x[:, 0]
        logits: Tensor = self.head(self.norm(x))
        return logits


class Block(nn.Module):
    """Transformer block: x + mixer(norm(x)), then x + MLP(norm(x))."""

    def __init__(
        self, mixer: nn.Module, embed_dim: int, hidden_dim: int, drop_path_rate: float, dropout: float = 0.0
    ) -> None:
        """Make a block around a mixer."""
        super().__init__()
        self.mixer_norm = nn.LayerNorm(embed_dim)
        self.mixer = mixer
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim))
        self.drop_path = DropPath(drop_path_rate)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (B, N, C) -> (B, N, C)."""
        x = x + self.drop_path(self.dropout(self.mixer(self.mixer_norm(x))))
        x = x + self.drop_path(self.dropout(self.mlp(self.mlp_norm(x))))
        return x


class PatchEmbedding(nn.Module):
    """Linear map of every square patch of an image to a token; patches do not overlap."""

    def __init__(self, channels: int, patch_size: int, embed_dim: int) -> None:
        """Make the projection of patches of patch_size x patch_size pixels."""
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(channels * patch_size**2, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embed patches, row by row: (B, channels, height, width) -> (B, N, C)."""
        tokens: Tensor = self.projection(self._cut(images))
        return tokens

    def _cut(self, images: Tensor) -> Tensor:
        side = self.patch_size
        # (B, channels, H p, W p) -> (B, channels, H, W, p, p) -> (B, N, channels p p)
        windows = images.unfold(2, side, side).unfold(3, side, side)
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class ShiftedPatchEmbedding(PatchEmbedding):
    """Shifted patch tokenization (arXiv 2112.13492, section 3.1): patches of the image and of four shifted copies.

    Each copy is shifted by half a patch, rounded down, along one diagonal; pixels from outside the image are zero. The
    values of the five patches at one place are normalized by a LayerNorm, then projected to one token.
    """

    def __init__(self, channels: int, patch_size: int, embed_dim: int) -> None:
        """Make the norm and the projection of patches of patch_size x patch_size pixels."""
        super().__init__(5 * channels, patch_size, embed_dim)
        self.norm = nn.LayerNorm(5 * channels * patch_size**2)

    def forward(self, images: Tensor) -> Tensor:
        """Embed patches, row by row: (B, channels, height, width) -> (B, N, C)."""
        tokens: Tensor = self.projection(self.norm(self._cut(shift_diagonally(images, self.patch_size // 2))))
        return tokens


def shift_diagonally(images: Tensor, pixels: int) -> Tensor:
    """Return images and their copies shifted along four diagonals: (B, c, height, width) -> (B, 5 c, height, width)."""
    height, width = images.shape[2:]
    padded = F.pad(images, (pixels,) * 4)
    corners = [(top, left) for top in (0, 2 * pixels) for left in (0, 2 * pixels)]
    copies = [padded[:, :, top : top + height, left : left + width] for top, left in corners]
    return torch.cat((images, *copies), dim=1)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, zero an image's branch with probability `rate`.

    Branches that are kept are scaled by 1 / (1 - rate), so that the expected value does not change.
    """

    def __init__(self, rate: float) -> None:
        """Set the probability that a branch is dropped."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop branches: (B, N, C) -> (B, N, C)."""
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """Return the arguments that `print(model)` shows."""
        return f"rate={self.rate}"


def mlp_ratio_rule(mlp_ratio: float, width: int) -> str | None:
    """Return the rule that an MLP ratio breaks, or None."""
    if round(mlp_ratio * width) >= 1:
        return None
    return f"mlp_ratio must leave at least one hidden unit, got {mlp_ratio} of width {width}"


def shifted_patches_rule(patch_size: int) -> str | None:
    """Return the rule that the patch size breaks if patches are shifted, or None."""
    if patch_size >= 2:
        return None
    return f"patch_size must be at least 2 with shifted_patches, half of which is the shift, got {patch_size}"


def _initialize(module: nn.Module) -> None:
    """Initialize a Linear as the authors' trainer does; mixers initialize their other parameters themselves."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
