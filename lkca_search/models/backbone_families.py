"""The families on the one backbone: equal in everything but the mixer, which is chosen here and nowhere else."""

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from lkca_search.models.family import Broken, Default, Family, heads_for, known, patch_size_for
from lkca_search.models.networks.backbone import Backbone, Pooling, mlp_ratio_rule
from lkca_search.models.networks.grid import Grid, full_kernel_size, kernel_size_rule, patch_size_rule, token_grid
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.mixers import Attention, Pool, num_heads_rule
from lkca_search.spec.configuration import Configuration, ImageShape

MakeMixer = Callable[[Configuration, Grid], nn.Module]
"""Makes the mixer of one block from a resolved configuration and the token grid."""

_TAKES: Mapping[str, Default] = {
    "patch_size": patch_size_for(8),  # the authors' grid, whatever the size of the images
    "depth": 9,
    "width": 136,
    "match_parameters": None,
    "mlp_ratio": 2.0,
    "position_embedding": True,
    "drop_path_rate": 0.1,
}


def _full_kernel_size(configuration: Configuration, shape: ImageShape) -> int:
    return full_kernel_size(token_grid(known(configuration.patch_size), shape))


_LKCA_TAKES: Mapping[str, Default] = {"kernel_size": _full_kernel_size, "kernel_init": "zero"}
_HEADS: Mapping[str, Default] = {"num_heads": heads_for(8)}


def _rules(configuration: Configuration, shape: ImageShape) -> Iterator[Broken]:
    patch_size, width = known(configuration.patch_size), known(configuration.width)
    if rule := patch_size_rule(patch_size, shape):
        yield ("patch_size",), rule
    elif configuration.kernel_size is not None:
        if rule := kernel_size_rule(configuration.kernel_size, token_grid(patch_size, shape)):
            yield ("kernel_size",), rule
    if rule := mlp_ratio_rule(known(configuration.mlp_ratio), width):
        yield ("mlp_ratio", "width"), rule
    if configuration.num_heads is not None:
        if rule := num_heads_rule(configuration.num_heads, width):
            yield ("num_heads", "width"), rule


def _family(label: str, make_mixer: MakeMixer, takes: Mapping[str, Default]) -> Family:
    def build(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
        grid = token_grid(known(configuration.patch_size), shape)
        pooling: Pooling = configuration.pooling or "mean"
        return Backbone(
            shape,
            num_classes,
            make_mixer=lambda: make_mixer(configuration, grid),
            patch_size=known(configuration.patch_size),
            embed_dim=known(configuration.width),
            depth=known(configuration.depth),
            mlp_ratio=known(configuration.mlp_ratio),
            drop_path_rate=known(configuration.drop_path_rate),
            position_embedding=known(configuration.position_embedding),
            pooling=pooling,
        )

    return Family(
        label=label,
        takes={**_TAKES, **takes},
        rules=_rules,
        build=build,
        width_step=lambda configuration: configuration.num_heads or 1,
    )


def _lkca(num_kernels: Callable[[Configuration], int]) -> MakeMixer:
    def make_mixer(configuration: Configuration, grid: Grid) -> nn.Module:
        return LKCA(
            known(configuration.width),
            grid,
            known(configuration.kernel_size),
            num_kernels=num_kernels(configuration),
            init=known(configuration.kernel_init),
        )

    return make_mixer


BACKBONE_FAMILIES: Mapping[str, Family] = {
    "lkca": _family("LKCA, one kernel for all channels (the paper's)", _lkca(lambda _: 1), _LKCA_TAKES),
    "lkca_grouped": _family(
        "LKCA, a kernel a head", _lkca(lambda configuration: known(configuration.num_heads)), {**_LKCA_TAKES, **_HEADS}
    ),
    "lkca_depthwise": _family(
        "LKCA, a kernel a channel", _lkca(lambda configuration: known(configuration.width)), _LKCA_TAKES
    ),
    "vit": _family(
        "ViT: multi-head self-attention",
        lambda configuration, grid: Attention(known(configuration.width), known(configuration.num_heads)),
        {**_HEADS, "pooling": "mean"},
    ),
    "pool": _family(
        "Average pooling as the mixer, without weights",
        lambda configuration, grid: Pool(grid, known(configuration.kernel_size)),
        {"kernel_size": 3},
    ),
    "identity": _family("No mixing of tokens", lambda configuration, grid: nn.Identity(), {}),
}
"""Every family on the backbone by name."""
