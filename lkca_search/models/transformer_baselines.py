"""Transformer baselines: timm's ViT, CCT and Swin, fitted to small images.

timm is imported only when a model is built: the import takes seconds.
"""

from collections.abc import Iterator, Mapping

from torch import nn

from lkca_search.models.family import BrokenRule, Family, heads_for, patch_rules, patch_size_for, require, token_pooling
from lkca_search.models.networks.backbone import mlp_ratio_rule
from lkca_search.models.networks.cct import CCT
from lkca_search.models.networks.grid import kernel_size_rule
from lkca_search.models.networks.mixers import num_heads_rule
from lkca_search.spec.configuration import Configuration, ImageShape

_SWIN_WINDOW = 4
"""Side of Swin's windows in tokens."""
_TIMM_DROPOUT = "of the output of attention, and of hidden units and output of the MLP"


def _timm_mlp_rules(configuration: Configuration, width: int) -> Iterator[BrokenRule]:
    """Yield the rule on mlp_ratio that a configuration breaks; timm rounds the number of hidden units down."""
    mlp_ratio = require(configuration.mlp_ratio)
    if int(mlp_ratio * width) < 1:
        rule = f"mlp_ratio must leave at least one hidden unit, got {mlp_ratio} of width {width}"
        yield ("mlp_ratio", "width"), rule


def _swin_heads(num_heads: int) -> tuple[int, int, int]:
    return max(1, num_heads // 4), max(1, num_heads // 2), num_heads


def _default_swin_heads(configuration: Configuration, shape: ImageShape) -> int:
    """Return the number of heads that gives about 16 channels per head in every stage."""
    return 4 * max(1, round(require(configuration.width) / 64))


def _swin_rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
    # The network halves the grid twice, rounded up. A window of one token has nothing to attend to.
    yield from patch_rules(configuration, shape, min_tokens=5)
    width, num_heads = require(configuration.width), require(configuration.num_heads)
    if width < 12:
        yield ("width",), f"width of swin must be at least 12, three channels in the first stage, got {width}"
        return
    yield from _timm_mlp_rules(configuration, width // 4)
    heads, channels = _swin_heads(num_heads), (width // 4, width // 2, width)
    if any(few < many for few, many in zip(channels, heads, strict=True)):
        rule = f"num_heads must leave at least one channel per head, got {heads} heads for {channels} channels"
        yield ("num_heads", "width"), rule


def _build_swin(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    depth = require(configuration.depth)
    model: nn.Module = SwinTransformer(
        img_size=shape[:2],
        patch_size=require(configuration.patch_size),
        in_chans=shape.channels,
        num_classes=num_classes,
        embed_dim=require(configuration.width) / 4,  # timm doubles it and rounds down, so that every width is possible
        depths=(depth, depth, depth),
        num_heads=_swin_heads(require(configuration.num_heads)),
        window_size=_SWIN_WINDOW,
        mlp_ratio=require(configuration.mlp_ratio),
        drop_path_rate=require(configuration.drop_path_rate),
        proj_drop_rate=require(configuration.dropout),
    )
    return model


def _timm_vit_rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
    width = require(configuration.width)
    yield from patch_rules(configuration, shape)
    yield from _timm_mlp_rules(configuration, width)
    if rule := num_heads_rule(require(configuration.num_heads), width):
        yield ("num_heads", "width"), rule


def _build_timm_vit(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    class_token = configuration.pooling == "class_token"
    model: nn.Module = VisionTransformer(
        img_size=shape[:2],
        patch_size=require(configuration.patch_size),
        in_chans=shape.channels,
        num_classes=num_classes,
        global_pool="token" if class_token else "avg",
        class_token=class_token,
        embed_dim=require(configuration.width),
        depth=require(configuration.depth),
        num_heads=require(configuration.num_heads),
        mlp_ratio=require(configuration.mlp_ratio),
        drop_path_rate=require(configuration.drop_path_rate),
        pos_drop_rate=require(configuration.dropout),
        proj_drop_rate=require(configuration.dropout),
    )
    return model


def _cct_rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
    width = require(configuration.width)
    if rule := kernel_size_rule(require(configuration.kernel_size), shape[:2]):
        yield ("kernel_size",), rule
    if rule := mlp_ratio_rule(require(configuration.mlp_ratio), width):
        yield ("mlp_ratio", "width"), rule
    if rule := num_heads_rule(require(configuration.num_heads), width):
        yield ("num_heads", "width"), rule


def _build_cct(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    return CCT(
        shape,
        num_classes,
        kernel_size=require(configuration.kernel_size),
        embed_dim=require(configuration.width),
        depth=require(configuration.depth),
        num_heads=require(configuration.num_heads),
        mlp_ratio=require(configuration.mlp_ratio),
        drop_path_rate=require(configuration.drop_path_rate),
        dropout=require(configuration.dropout),
        position_embedding=require(configuration.position_embedding),
    )


TRANSFORMER_BASELINES: Mapping[str, Family] = {
    "timm_vit": Family(
        label="ViT (timm): vit with bias on q, k and v, other initial weights, drop-path rate rising with depth",
        hyperparameters={
            "patch_size": patch_size_for(8),
            "depth": 9,
            "width": 136,
            "mlp_ratio": 2.0,
            "num_heads": heads_for(8),
            "pooling": "mean",
            "match_parameters": None,
            "drop_path_rate": 0.1,
            "dropout": 0.0,
        },
        meanings={"dropout": f"probability that a value is zeroed: of tokens with positions, {_TIMM_DROPOUT}"},
        initialization="timm's",
        pooling=token_pooling,
        rules=_timm_vit_rules,
        build=_build_timm_vit,
        width_step=lambda configuration: configuration.num_heads or 1,
    ),
    "cct": Family(
        label="CCT: attention over tokens from convolution and max pooling (arXiv 2104.05704)",
        hyperparameters={
            "depth": 7,
            "width": 256,
            "match_parameters": None,
            "mlp_ratio": 2.0,
            "kernel_size": 3,
            "num_heads": heads_for(4),
            "position_embedding": True,
            "drop_path_rate": 0.1,
            "dropout": 0.0,
        },
        meanings={
            "kernel_size": "side of the tokenizer's kernels in pixels; odd, at most 2 s - 1 for s pixels",
            "dropout": "probability that a value is zeroed: of tokens with positions, and of a block's branches",
        },
        initialization=(
            "truncated normal (linear weights 0.02, positions 0.2), zero biases, Kaiming-normal convolutions"
        ),
        pooling="mean of the tokens, weighted by learned scores",
        rules=_cct_rules,
        build=_build_cct,
        width_step=lambda configuration: configuration.num_heads or 1,
    ),
    "swin": Family(
        label=f"Swin with three stages and windows of {_SWIN_WINDOW}x{_SWIN_WINDOW} tokens (timm)",
        hyperparameters={
            "patch_size": patch_size_for(16),
            "depth": 2,
            "width": 192,
            "mlp_ratio": 2.0,
            "num_heads": _default_swin_heads,
            "match_parameters": None,
            "drop_path_rate": 0.1,
            "dropout": 0.0,
        },
        meanings={
            "depth": "blocks per stage, of three; every second block has shifted windows",
            "width": "channels of the last stage; a quarter and a half of it in the stages before",
            "num_heads": "heads of the last stage, a quarter and a half of it before; need not divide the width",
            "dropout": f"probability that a value is zeroed: {_TIMM_DROPOUT}",
        },
        initialization="timm's",
        pooling="mean of the tokens",
        rules=_swin_rules,
        build=_build_swin,
    ),
}
"""Transformer baselines by name."""
