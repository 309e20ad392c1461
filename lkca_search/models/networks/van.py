"""Visual Attention Network (VAN) and its large kernel attention (arXiv 2202.09741); timm has neither."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lkca_search.models.networks.backbone import mlp_ratio_rule
from lkca_search.models.networks.grid import Grid
from lkca_search.spec.configuration import ImageShape

DILATION = 3
"""Dilation of the second depthwise convolution. With its 7 taps and the 5 of the first, it spans 21 tokens."""
LAYER_SCALE = 0.01
"""Initial scale of each residual branch of VAN, per channel."""
_NEAR, _FAR = 5, 7
"""Taps per side of the two depthwise convolutions."""


class LargeKernelAttention(nn.Module):
    """Large kernel attention, section 3.1 of the paper: the map is multiplied by weights made from its neighborhood.

    A depthwise convolution, a dilated depthwise convolution and a convolution of single tokens give one weight per
    token and channel. On the published grids the kernels have 5 and 7 taps per side, 3 apart; taps that never touch a
    token are left out. Parameters on a large grid: channels^2 + 77 channels.
    """

    def __init__(self, channels: int, grid: Grid) -> None:
        """Make a layer for maps (B, channels, *grid)."""
        super().__init__()
        near = min(_NEAR, 2 * max(grid) - 1)
        far = min(_FAR, 2 * ((max(grid) - 1) // DILATION) + 1)
        self.near = nn.Conv2d(channels, channels, near, padding=near // 2, groups=channels)
        self.far = nn.Conv2d(channels, channels, far, padding=far // 2 * DILATION, groups=channels, dilation=DILATION)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weight a map: (B, C, H, W) -> (B, C, H, W)."""
        weighted: Tensor = x * self.mix(self.far(self.near(x)))
        return weighted


class SpatialAttention(nn.Module):
    """Attention of a VAN block: projection, GELU, large kernel attention, projection, and a shortcut around them."""

    def __init__(self, channels: int, grid: Grid) -> None:
        """Make a layer for maps (B, channels, *grid)."""
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.act = nn.GELU()
        self.attention = LargeKernelAttention(channels, grid)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix a map: (B, C, H, W) -> (B, C, H, W)."""
        mixed: Tensor = self.after(self.attention(self.act(self.before(x)))) + x
        return mixed


class LKAMixer(nn.Module):
    """Attention of a VAN block as a token mixer: (B, N, C) -> (B, N, C) with N = height * width of the grid.

    It has no shortcut of its own: the backbone's block has one, around its norm.
    Parameters on a large grid: 3 embed_dim^2 + 79 embed_dim.
    """

    def __init__(self, embed_dim: int, grid: Grid) -> None:
        """Make a layer for one token grid."""
        super().__init__()
        self.grid = grid
        self.before = nn.Linear(embed_dim, embed_dim)
        self.act = nn.GELU()
        self.attention = LargeKernelAttention(embed_dim, grid)
        self.after = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        # (B, N, C) -> (B, C, H, W), already channels_last in memory
        images = self.act(self.before(x)).unflatten(1, self.grid).permute(0, 3, 1, 2)
        # (B, C, H, W) -> (B, N, C)
        tokens: Tensor = self.after(self.attention(images).permute(0, 2, 3, 1).flatten(1, 2))
        return tokens


class VANBlock(nn.Module):
    """Block of VAN: attention, then an MLP with a 3x3 depthwise convolution, each after a BatchNorm and scaled."""

    def __init__(self, channels: int, grid: Grid, hidden: int, drop_path: nn.Module) -> None:
        """Make a block for maps (B, channels, *grid)."""
        super().__init__()
        self.attention_norm = nn.BatchNorm2d(channels)
        self.attention = SpatialAttention(channels, grid)
        self.attention_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.mlp_norm = nn.BatchNorm2d(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )
        self.mlp_scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (B, C, H, W) -> (B, C, H, W)."""
        x = x + self.drop_path(self.attention_scale[:, None, None] * self.attention(self.attention_norm(x)))
        x = x + self.drop_path(self.mlp_scale[:, None, None] * self.mlp(self.mlp_norm(x)))
        return x


class VANStage(nn.Module):
    """Stage of VAN: a strided convolution with a BatchNorm, blocks, and a LayerNorm over the channels."""

    def __init__(self, in_channels: int, channels: int, stride: int, blocks: Sequence[nn.Module]) -> None:
        """Make a stage; the convolution has 2 stride - 1 taps per side, at least 3: patches overlap."""
        super().__init__()
        size = max(3, 2 * stride - 1)
        self.patches = nn.Conv2d(in_channels, channels, size, stride=stride, padding=size // 2)
        self.patches_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage: (B, in_channels, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        x = self.blocks(self.patches_norm(self.patches(x)))
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class VAN(nn.Module):
    """VAN: stages of large kernel attention at halved resolutions, mean over space, dropout, Linear.

    The drop-path rate rises linearly from 0 to `drop_path_rate`. Convolutions are initialized by fan-out, the
    classifier by a truncated normal with std 0.02. VAN-B1: dims 64, 128, 320, 512, depths 2, 2, 4, 2, MLP ratios 8, 8,
    4, 4, patch size 4.

    Usage: `VAN(ImageShape(32, 32, 3), 10, dims=(32, 64, 160, 256), depths=(2, 2, 4, 2), mlp_ratios=(8, 8, 4, 4),
    patch_size=2, make_drop_path=DropPath, drop_path_rate=0.1)(images)`; (B, channels, height, width) -> logits.
    """

    def __init__(
        self,
        shape: ImageShape,
        num_classes: int,
        *,
        dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float],
        patch_size: int,
        drop_path_rate: float,
        make_drop_path: type[nn.Module],
        dropout: float = 0.0,
    ) -> None:
        """Make a network; ValueError if an MLP has no hidden unit."""
        super().__init__()
        grid, in_channels, index = (shape.height, shape.width), shape.channels, 0
        stages = []
        for number, (channels, depth, mlp_ratio) in enumerate(zip(dims, depths, mlp_ratios, strict=True)):
            if rule := mlp_ratio_rule(mlp_ratio, channels):
                raise ValueError(rule)
            stride = 2 if number else patch_size
            grid = (math.ceil(grid[0] / stride), math.ceil(grid[1] / stride))
            rates = [drop_path_rate * each / max(1, sum(depths) - 1) for each in range(index, index + depth)]
            hidden = round(mlp_ratio * channels)
            blocks = [VANBlock(channels, grid, hidden, make_drop_path(rate)) for rate in rates]
            stages.append(VANStage(in_channels, channels, stride, blocks))
            in_channels, index = channels, index + depth
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(in_channels, num_classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Classify: (B, channels, height, width) -> logits (B, num_classes)."""
        logits: Tensor = self.head(self.dropout(self.stages(images).mean(dim=(2, 3))))
        return logits


def _initialize(module: nn.Module) -> None:
    """Initialize a layer as the authors' code does."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
