"""The pre-norm transformer around a token mixer: two families that share it differ in the mixer and nothing else."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lkca_search.models.networks.grid import patch_size_rule, token_grid
from lkca_search.spec.configuration import ImageShape

Pooling = Literal["mean", "class_token"]
"""How tokens become one vector for the classifier."""


class Backbone(nn.Module):
    """A vision transformer for any mixer: patches, positions, blocks, pooling, LayerNorm, Linear.

    Block and head as in arXiv 2401.05738: no norm between the last block and the pooling, DropPath at one rate in all
    blocks. Weights are drawn from torch's default generator, as are the dropped paths while training: seed it.

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
        pooling: Pooling = "mean",
        position_embedding: bool = True,
    ) -> None:
        """`make_mixer` is called once a block. ValueError if the patches do not tile the image or the MLP is empty."""
        super().__init__()
        if rule := patch_size_rule(patch_size, shape) or mlp_ratio_rule(mlp_ratio, embed_dim):
            raise ValueError(rule)
        height, width = token_grid(patch_size, shape)
        num_tokens = height * width + (pooling == "class_token")
        self.patches = PatchEmbedding(shape.channels, patch_size, embed_dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, embed_dim)) if pooling == "class_token" else None
        self.positions = nn.Parameter(torch.randn(1, num_tokens, embed_dim)) if position_embedding else None
        hidden_dim = round(mlp_ratio * embed_dim)
        self.blocks = nn.Sequential(*(Block(make_mixer(), embed_dim, hidden_dim, drop_path_rate) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, channels, height, width) -> logits (B, num_classes)."""
        x = self.patches(images)
        if self.class_token is not None:
            # (B, N, C) -> (B, 1 + N, C)
            x = torch.cat((self.class_token.expand(len(x), -1, -1), x), dim=1)
        x = self.blocks(x if self.positions is None else x + self.positions)
        # (B, N, C) -> (B, C)
        x = x.mean(dim=1) if self.class_token is None else x[:, 0]
        logits: Tensor = self.head(self.norm(x))
        return logits


class Block(nn.Module):
    """Mix tokens, then channels, each on a normed copy added to its input: (B, N, C) -> (B, N, C)."""

    def __init__(self, mixer: nn.Module, embed_dim: int, hidden_dim: int, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(embed_dim)
        self.mixer = mixer
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.drop_path(self.mixer(self.mixer_norm(x)))
        x = x + self.drop_path(self.mlp(self.mlp_norm(x)))
        return x


class PatchEmbedding(nn.Module):
    """One linear map of every non-overlapping square patch: (B, channels, height, width) -> (B, N, C)."""

    def __init__(self, channels: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(channels * patch_size**2, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, N, C), patches row by row."""
        side = self.patch_size
        # (B, channels, H p, W p) -> (B, channels, H, W, p, p) -> (B, N, channels p p)
        windows = images.unfold(2, side, side).unfold(3, side, side)
        patches = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        tokens: Tensor = self.projection(patches)
        return tokens


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): while training, zero the branch of an image with probability `rate`.

    What is kept is scaled by 1 / (1 - rate), so the expectation is the branch itself. Each call draws afresh.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def mlp_ratio_rule(mlp_ratio: float, width: int) -> str | None:
    """Return the rule that the MLP breaks, or None."""
    if round(mlp_ratio * width) >= 1:
        return None
    return f"mlp_ratio must leave at least one hidden unit, got {mlp_ratio} of width {width}"


def _initialise(module: nn.Module) -> None:
    """Give a Linear the initial values of the authors' trainer; mixers set what else they hold themselves."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
