"""Baselines from timm, fitted to small images: what depth, width and kernel size mean in each, and what they rule out.

timm is imported where a model is built: it takes seconds that most processes do not need to spend.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from math import ceil

import torch
from torch import nn

from lkca_search.models.family import Broken, Default, Family, heads_for, known, patch_size_for
from lkca_search.models.networks.cct import CCT_FAMILY
from lkca_search.models.networks.grid import kernel_size_rule, patch_size_rule, token_grid
from lkca_search.models.networks.mixers import num_heads_rule
from lkca_search.models.networks.resnet import resnet
from lkca_search.spec.configuration import Configuration, ImageShape

TIMM = "timm:"
"""What the family of a model of timm begins with."""
_SWIN_WINDOW = 4


def timm_family(name: str) -> Family | None:
    """Return the family `timm:NAME`, or None if timm has no such model."""
    return _timm_family(name.removeprefix(TIMM)) if name.startswith(TIMM) else None


def close_timm_names(name: str) -> list[str]:
    """Return the names of families `timm:NAME` that are spelled much like this one, the closest first."""
    from timm import list_models

    architecture = name.removeprefix(TIMM).partition(".")[0]
    return [TIMM + close for close in difflib.get_close_matches(architecture, list_models())]


@lru_cache
def _timm_family(name: str) -> Family | None:
    from timm import is_model

    # A dot begins the tag of pretrained weights, a colon a place to download from: nothing here is pretrained.
    if "." in name or ":" in name or not is_model(name):
        return None

    def rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
        if reason := _timm_refusal(name, shape):
            images = f"{shape.height}x{shape.width} images with {shape.channels} channel{'s'[: shape.channels != 1]}"
            yield ("family",), f"{TIMM}{name} cannot classify {images}: {reason}"

    return Family(
        label=f"{name} (timm)",
        takes={},
        rules=rules,
        build=lambda configuration, shape, num_classes: _create(name, shape, num_classes),
    )


@lru_cache
def _timm_refusal(name: str, shape: ImageShape) -> str | None:
    """Return why a model of timm cannot classify such images, or None. Computes shapes only, on the meta device."""
    num_images, num_classes = 2, 10
    try:
        with torch.device("meta"):
            logits = _create(name, shape, num_classes)(torch.empty(num_images, shape.channels, *shape[:2]))
    except Exception as error:  # whatever a model raises that was written for other images
        return (str(error).splitlines() or [type(error).__name__])[0]
    if logits.shape == (num_images, num_classes):
        return None
    return f"its output is {tuple(logits.shape)} for {num_images} images and {num_classes} classes"


def _create(name: str, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm import create_model

    create = partial(create_model, name, pretrained=False, num_classes=num_classes, in_chans=shape.channels)
    try:
        model: nn.Module = create(img_size=(shape.height, shape.width))
    except TypeError:  # it takes images of any size
        model = create()
    return model


def _patch_rules(configuration: Configuration, shape: ImageShape, fewest_tokens: int = 1) -> Iterator[Broken]:
    patch_size = known(configuration.patch_size)
    if rule := patch_size_rule(patch_size, shape):
        yield ("patch_size",), rule
        return
    height, width = grid = token_grid(patch_size, shape)
    if min(grid) < fewest_tokens:
        tokens = f"{fewest_tokens} tokens on the shorter side of its first grid"
        yield ("patch_size",), f"{configuration.family} needs at least {tokens}, got {height}x{width}"
    elif configuration.kernel_size is not None:
        if rule := kernel_size_rule(configuration.kernel_size, grid):
            yield ("kernel_size",), rule


def _mlp_rules(configuration: Configuration, smallest_stage: int) -> Iterator[Broken]:
    mlp_ratio = known(configuration.mlp_ratio)
    if int(mlp_ratio * smallest_stage) < 1:
        rule = f"mlp_ratio must leave at least one hidden unit, got {mlp_ratio} of width {smallest_stage}"
        yield ("mlp_ratio", "width"), rule


def _build_convmixer(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.convmixer import ConvMixer

    model: nn.Module = ConvMixer(
        dim=known(configuration.width),
        depth=known(configuration.depth),
        kernel_size=known(configuration.kernel_size),
        patch_size=known(configuration.patch_size),
        in_chans=shape.channels,
        num_classes=num_classes,
    )
    return model.to(memory_format=torch.channels_last)  # 1.4 times as fast on a CPU


def _build_resnet(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.layers import DropPath
    from timm.models.resnet import BasicBlock, downsample_conv

    def make_block(inner: int, outer: int, stride: int, drop_path_rate: float) -> nn.Module:
        shortcut = downsample_conv(inner, outer, 1, stride=stride) if stride > 1 else None
        drop_path = DropPath(drop_path_rate) if drop_path_rate else None
        block: nn.Module = BasicBlock(inner, outer, stride, shortcut, drop_path=drop_path)
        return block

    model = resnet(
        shape,
        num_classes,
        make_block=make_block,
        width=known(configuration.width),
        depth=known(configuration.depth),
        drop_path_rate=known(configuration.drop_path_rate),
    )
    return model.to(memory_format=torch.channels_last)  # 1.2 to 1.5 times as fast on a CPU


def _convnext_rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
    # The grid is halved three times, without the odd row.
    yield from _patch_rules(configuration, shape, fewest_tokens=8)
    if (width := known(configuration.width)) <= 16:
        # Of two channels, LayerNorm keeps only which is larger; of one, nothing.
        yield ("width",), f"width of convnext must be at least 17, three channels in the first stage, got {width}"


def _build_convnext(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.convnext import ConvNeXt

    width, depth, patch_size = known(configuration.width), known(configuration.depth), known(configuration.patch_size)
    longer = max(token_grid(patch_size, shape))
    dims = tuple(ceil(width / 2**halvings) for halvings in (3, 2, 1, 0))
    # Taps that touch no token would be weights without effect.
    kernel_sizes = tuple(min(known(configuration.kernel_size), 2 * (longer >> halvings) - 1) for halvings in range(4))
    model = ConvNeXt(
        in_chans=shape.channels,
        num_classes=num_classes,
        depths=(depth,) * 4,
        dims=dims,
        kernel_sizes=kernel_sizes,
        patch_size=1,  # given 2, timm halves the grid again in the first stage
        drop_path_rate=known(configuration.drop_path_rate),
    )
    patches = nn.Conv2d(shape.channels, dims[0], patch_size, stride=patch_size)
    nn.init.trunc_normal_(patches.weight, std=0.02)
    nn.init.constant_(known(patches.bias), 0)
    model.stem[0] = patches
    network: nn.Module = model
    return network


def _swin_heads(num_heads: int) -> tuple[int, int, int]:
    return max(1, num_heads // 4), max(1, num_heads // 2), num_heads


def _default_swin_heads(configuration: Configuration, shape: ImageShape) -> int:
    """Heads of about 16 channels, the same in every stage."""
    return 4 * max(1, round(known(configuration.width) / 64))


def _swin_rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
    # The grid is halved twice, rounded up; within a window of one token there is nothing to attend to.
    yield from _patch_rules(configuration, shape, fewest_tokens=5)
    width, num_heads = known(configuration.width), known(configuration.num_heads)
    if width < 12:
        yield ("width",), f"width of swin must be at least 12, three channels in the first stage, got {width}"
        return
    yield from _mlp_rules(configuration, width // 4)
    heads, channels = _swin_heads(num_heads), (width // 4, width // 2, width)
    if any(few < many for few, many in zip(channels, heads, strict=True)):
        rule = f"num_heads must leave every head a channel, got {heads} heads on {channels} channels"
        yield ("num_heads", "width"), rule


def _build_swin(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    depth = known(configuration.depth)
    model: nn.Module = SwinTransformer(
        img_size=shape[:2],
        patch_size=known(configuration.patch_size),
        in_chans=shape.channels,
        num_classes=num_classes,
        embed_dim=known(configuration.width) / 4,  # timm doubles it, then rounds down: any width will do
        depths=(depth, depth, depth),
        num_heads=_swin_heads(known(configuration.num_heads)),
        window_size=_SWIN_WINDOW,
        mlp_ratio=known(configuration.mlp_ratio),
        drop_path_rate=known(configuration.drop_path_rate),
    )
    return model


def _timm_vit_rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
    width = known(configuration.width)
    yield from _patch_rules(configuration, shape)
    yield from _mlp_rules(configuration, width)
    if rule := num_heads_rule(known(configuration.num_heads), width):
        yield ("num_heads", "width"), rule


def _build_timm_vit(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    class_token = configuration.pooling == "class_token"
    model: nn.Module = VisionTransformer(
        img_size=shape[:2],
        patch_size=known(configuration.patch_size),
        in_chans=shape.channels,
        num_classes=num_classes,
        global_pool="token" if class_token else "avg",
        class_token=class_token,
        embed_dim=known(configuration.width),
        depth=known(configuration.depth),
        num_heads=known(configuration.num_heads),
        mlp_ratio=known(configuration.mlp_ratio),
        drop_path_rate=known(configuration.drop_path_rate),
    )
    return model


_TAKES: Mapping[str, Default] = {"match_parameters": None, "drop_path_rate": 0.1}
_HEADS: Mapping[str, Default] = {"mlp_ratio": 2.0, "num_heads": heads_for(8)}
_SWIN_HEADS: Mapping[str, Default] = {"mlp_ratio": 2.0, "num_heads": _default_swin_heads}
_QUARTERS = "channels of the last stage; a quarter and a half of it in the stages before"

BASELINES: Mapping[str, Family] = {
    "timm_vit": Family(
        label="ViT (timm): as vit, with bias on q, k and v, other initial weights, and drop-path that rises with depth",
        takes={"patch_size": patch_size_for(8), "depth": 9, "width": 136, **_HEADS, "pooling": "mean", **_TAKES},
        rules=_timm_vit_rules,
        build=_build_timm_vit,
        width_step=lambda configuration: configuration.num_heads or 1,
    ),
    "cct": CCT_FAMILY,
    "swin": Family(
        label=f"Swin with three stages and windows of {_SWIN_WINDOW}x{_SWIN_WINDOW} tokens (timm)",
        takes={"patch_size": patch_size_for(16), "depth": 2, "width": 192, **_SWIN_HEADS, **_TAKES},
        means={
            "depth": "blocks in each of three stages; every second has shifted windows",
            "width": _QUARTERS,
            "num_heads": "heads of the last stage, before it a quarter and a half; they need not divide the width",
        },
        rules=_swin_rules,
        build=_build_swin,
    ),
    "convnext": Family(
        label="ConvNeXt with a small patch (timm)",
        takes={"patch_size": patch_size_for(16), "depth": 2, "width": 256, "kernel_size": 7, **_TAKES},
        means={
            "depth": "blocks in each of four stages",
            "width": "channels of the last stage; an eighth, a quarter and a half of it in the stages before",
            "kernel_size": "side of the depthwise kernels; smaller in a stage that taps would reach out of",
        },
        rules=_convnext_rules,
        build=_build_convnext,
    ),
    "convmixer": Family(
        label="ConvMixer (timm)",
        takes={"patch_size": patch_size_for(16), "depth": 8, "width": 256, "match_parameters": None, "kernel_size": 5},
        rules=_patch_rules,
        build=_build_convmixer,
    ),
    "resnet": Family(
        label="ResNet with three stages and a stem at full resolution (timm's blocks)",
        takes={"depth": 3, "width": 64, "match_parameters": None, "drop_path_rate": 0.0},
        means={"depth": "blocks of two convolutions in each of three stages: 6 depth + 2 layers", "width": _QUARTERS},
        rules=lambda configuration, shape: iter(()),
        build=_build_resnet,
    ),
}
"""Every baseline by name."""
