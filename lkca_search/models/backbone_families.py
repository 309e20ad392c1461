"""Families on the shared backbone: they differ in the mixer alone."""

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from lkca_search.models.family import (
    BrokenRule,
    Default,
    Family,
    Rules,
    heads_for,
    patch_rules,
    patch_size_for,
    require,
    token_pooling,
)
from lkca_search.models.networks.attention_init import AttentionInit, initialize_impulse, initialize_mimetic
from lkca_search.models.networks.backbone import Backbone, Pooling, mlp_ratio_rule, shifted_patches_rule
from lkca_search.models.networks.grid import Grid, full_kernel_size, patch_size_rule, token_grid
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.mixers import Attention, LocalityAttention, Pool, num_heads_rule
from lkca_search.models.networks.van import LKAMixer
from lkca_search.spec.configuration import Configuration, ImageShape

MakeMixer = Callable[[Configuration, Grid], nn.Module]
"""Function (resolved configuration, token grid) -> mixer of one block."""


def _patch_size(configuration: Configuration, shape: ImageShape) -> int:
    """Return the patch size of the authors' 8x8 grid, for every image size; patches of one pixel cannot be shifted."""
    size = patch_size_for(8)(configuration, shape)
    sides = range(2, min(shape.height, shape.width) + 1)
    larger = (side for side in sides if patch_size_rule(side, shape) is None)
    return next(larger, size) if configuration.shifted_patches and size == 1 else size


_HYPERPARAMETERS: Mapping[str, Default] = {
    "shifted_patches": False,
    "patch_size": _patch_size,
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
    if configuration.shifted_patches:
        if rule := shifted_patches_rule(require(configuration.patch_size)):
            yield ("shifted_patches", "patch_size"), rule
    if configuration.num_heads is not None:
        if rule := num_heads_rule(configuration.num_heads, width):
            yield ("num_heads", "width"), rule


def _attention_rules(configuration: Configuration, shape: ImageShape) -> Iterator[BrokenRule]:
    broken = list(_rules(configuration, shape))
    yield from broken
    if configuration.attention_init == "impulse" and not configuration.position_embedding:
        rule = "attention_init must be default or mimetic without position_embedding, got impulse"
        yield ("attention_init", "position_embedding"), rule
    if not broken and configuration.locality_attention:
        height, width = token_grid(require(configuration.patch_size), shape)
        if height * width + (configuration.pooling == "class_token") < 2:
            yield ("locality_attention", "patch_size"), "locality_attention must have at least two tokens, got one"


def _initialize_attention(model: Backbone, init: AttentionInit | None, grid: Grid) -> None:
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    if init == "mimetic":
        initialize_mimetic(layers)
    elif init == "impulse":
        # The class token, if any, comes before the grid.
        initialize_impulse(layers, require(model.positions)[0, -grid[0] * grid[1] :], grid)


def _describe_initialization(resolved: Configuration) -> str:
    """Return the initial weights in words. LKCA's kernels and attention have hyperparameters of their own."""
    kernels = ", kernels by kernel_init" if resolved.kernel_init else ""
    attention = {
        "mimetic": ", mimetic attention (query-key product near the identity, value-output product near its negative)",
        "impulse": ", attention maps that are shifts by one token (impulse filters), mimetic value and output weights",
    }
    words = "Xavier-normal linear weights, zero biases, standard-normal positions"
    return f"{words}{kernels}{attention.get(resolved.attention_init or '', '')}"


def _family(label: str, make_mixer: MakeMixer, hyperparameters: Mapping[str, Default], rules: Rules = _rules) -> Family:
    def build(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
        grid = token_grid(require(configuration.patch_size), shape)
        pooling: Pooling = configuration.pooling or "mean"
        model = Backbone(
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
            shifted_patches=require(configuration.shifted_patches),
        )
        _initialize_attention(model, configuration.attention_init, grid)
        return model

    return Family(
        label=label,
        hyperparameters={**_HYPERPARAMETERS, **hyperparameters},
        meanings={"dropout": "probability that a value is zeroed: of tokens with positions, and of a block's branches"},
        initialization=_describe_initialization,
        pooling=token_pooling,
        rules=rules,
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


def _attention(configuration: Configuration, grid: Grid) -> nn.Module:
    mixer = LocalityAttention if configuration.locality_attention else Attention
    return mixer(require(configuration.width), require(configuration.num_heads))


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
        _attention,
        {**_HEADS, "attention_init": "default", "locality_attention": False, "pooling": "mean"},
        _attention_rules,
    ),
    "lka": _family(
        "LKA: the large kernel attention of VAN (arXiv 2202.09741)",
        lambda configuration, grid: LKAMixer(require(configuration.width), grid),
        {},
    ),
    "pool": _family(
        "Average pooling as the mixer, without weights",
        lambda configuration, grid: Pool(grid, require(configuration.kernel_size)),
        {"kernel_size": 3},
    ),
    "identity": _family("No mixing of tokens", lambda configuration, grid: nn.Identity(), {}),
}
"""Families on the backbone by name."""
