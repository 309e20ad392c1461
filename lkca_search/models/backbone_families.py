"""Families on the shared backbone: they differ in the mixer alone."""

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from lkca_search.models.family import (
    BrokenRule,
    Default,
    Family,
    heads_for,
    patch_rules,
    patch_size_for,
    require,
    token_pooling,
)
from lkca_search.models.networks.backbone import Backbone, Pooling, mlp_ratio_rule
from lkca_search.models.networks.grid import Grid, full_kernel_size, token_grid
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.mixers import Attention, Pool, num_heads_rule
from lkca_search.spec.configuration import Configuration, ImageShape

MakeMixer = Callable[[Configuration, Grid], nn.Module]
"""Function (resolved configuration, token grid) -> mixer of one block."""

_HYPERPARAMETERS: Mapping[str, Default] = {
    "patch_size": patch_size_for(8),  # the authors' 8x8 grid, for every image size
    "depth": 9,
    "width": 136,
    "match_parameters": None,
    "mlp_ratio": 2.0,
    "position_embedding": True,
    "drop_path_rate": 0.1,
    "dropout": 0.0,
}


def _full_kernel_size(configuration: Configuration, shape: ImageShape) -> int:
    return full_kernel_size(token_grid(require(configuration.patch_size), shape))


_LKCA_HYPERPARAMETERS: Mapping[str, Default] = {"kernel_size": _full_kernel_size, "kernel_init": "zero"}
_HEADS: Mapping[str, Default] = {"num_heads": heads_for(8)}


def _rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
    width = require(configuration.width)
    yield from patch_rules(configuration, shape)
    if rule := mlp_ratio_rule(require(configuration.mlp_ratio), width):
        yield ("mlp_ratio", "width"), rule
    if configuration.num_heads is not None:
        if rule := num_heads_rule(configuration.num_heads, width):
            yield ("num_heads", "width"), rule


def _family(label: str, make_mixer: MakeMixer, hyperparameters: Mapping[str, Default]) -> Family:
    def build(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
        grid = token_grid(require(configuration.patch_size), shape)
        pooling: Pooling = configuration.pooling or "mean"
        return Backbone(
            shape,
            num_classes,
            make_mixer=lambda: make_mixer(configuration, grid),
            patch_size=require(configuration.patch_size),
            embed_dim=require(configuration.width),
            depth=require(configuration.depth),
            mlp_ratio=require(configuration.mlp_ratio),
            drop_path_rate=require(configuration.drop_path_rate),
            dropout=require(configuration.dropout),
            position_embedding=require(configuration.position_embedding),
            pooling=pooling,
        )

    kernels = ", kernels by kernel_init" if "kernel_init" in hyperparameters else ""
    return Family(
        label=label,
        hyperparameters={**_HYPERPARAMETERS, **hyperparameters},
        meanings={"dropout": "probability that a value is zeroed: of tokens with positions, and of a block's branches"},
        initialization=f"Xavier-normal linear weights, zero biases, standard-normal positions{kernels}",
        pooling=token_pooling,
        rules=_rules,
        build=build,
        width_step=lambda configuration: configuration.num_heads or 1,
    )


def _lkca(num_kernels: Callable[[Configuration], int]) -> MakeMixer:
    def make_mixer(configuration: Configuration, grid: Grid) -> nn.Module:
        return LKCA(
            require(configuration.width),
            grid,
            require(configuration.kernel_size),
            num_kernels=num_kernels(configuration),
            init=require(configuration.kernel_init),
        )

    return make_mixer


BACKBONE_FAMILIES: Mapping[str, Family] = {
    "lkca": _family("LKCA, one kernel for all channels (the paper's)", _lkca(lambda _: 1), _LKCA_HYPERPARAMETERS),
    "lkca_grouped": _family(
        "LKCA, one kernel per head",
        _lkca(lambda configuration: require(configuration.num_heads)),
        {**_LKCA_HYPERPARAMETERS, **_HEADS},
    ),
    "lkca_depthwise": _family(
        "LKCA, one kernel per channel", _lkca(lambda configuration: require(configuration.width)), _LKCA_HYPERPARAMETERS
    ),
    "vit": _family(
        "ViT: multi-head self-attention",
        lambda configuration, grid: Attention(require(configuration.width), require(configuration.num_heads)),
        {**_HEADS, "pooling": "mean"},
    ),
    "pool": _family(
        "Average pooling as the mixer, without weights",
        lambda configuration, grid: Pool(grid, require(configuration.kernel_size)),
        {"kernel_size": 3},
    ),
    "identity": _family("No mixing of tokens", lambda configuration, grid: nn.Identity(), {}),
}
"""Families on the backbone by name."""
