"""Model families by name: what each takes of a configuration, which rules it adds, and how it is built."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from lkca_search.configuration import NAMES, SUBSET_NAMES, Configuration, ImageShape, Scalar
from lkca_search.errors import Problem, UserError
from lkca_search.models.backbone import Backbone, Pooling, mlp_ratio_rule, patch_size_rule, token_grid
from lkca_search.models.lkca import LKCA, full_kernel_size, kernel_size_rule
from lkca_search.models.mixers import Attention, num_heads_rule

COMMON = frozenset(
    name for name, field in Configuration.model_fields.items() if field.default is not None or name in SUBSET_NAMES
)
"""Names that every family takes. Each other name is None in a configuration unless its family takes it."""

DEFAULT_NUM_HEADS = 8

Default = Scalar | Callable[[Configuration, ImageShape], Scalar]
"""The value of a name left None, or how to compute it from the rest of the configuration and the images."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of model, as the registry knows it."""

    defaults: Mapping[str, Default]
    """The names outside COMMON that this family takes, each with the value used where the configuration has None."""
    problems: Callable[[Configuration, ImageShape], Iterator[Problem]]
    """Yields the family's own broken rules; a None in the configuration stands for the default."""
    build: Callable[[Configuration, ImageShape, int], nn.Module]
    """Makes the model from a resolved configuration, the images' shape and the number of classes."""


def problems(configuration: Configuration, shape: ImageShape) -> Iterator[Problem]:
    """Yield every rule that the configuration breaks on images of this shape, located at the name that breaks it."""
    family = FAMILIES.get(configuration.family)
    if family is None:
        known = ", ".join(FAMILIES)
        yield Problem(("family",), f"unknown family {configuration.family!r}; known families: {known}")
        return
    for name in NAMES:
        if name not in COMMON and name not in family.defaults and getattr(configuration, name) is not None:
            takers = ", ".join(key for key, other in FAMILIES.items() if name in other.defaults)
            rule = f"{name} does not apply to family {configuration.family}; give it when: {{family: [{takers}]}}"
            yield Problem((name,), rule)
    yield from family.problems(configuration, shape)


def resolve(configuration: Configuration, shape: ImageShape) -> Configuration:
    """Return the configuration with its family's defaults in place of None.

    UserError, one line a broken rule, if the configuration has problems on images of this shape.
    """
    if rules := [problem.rule for problem in problems(configuration, shape)]:
        raise UserError("\n".join(rules))
    values = {
        name: default(configuration, shape) if callable(default) else default
        for name, default in FAMILIES[configuration.family].defaults.items()
        if getattr(configuration, name) is None
    }
    return configuration.model_copy(update=values)


def build_model(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    """Return a new model: (B, channels, height, width) float -> logits (B, num_classes).

    Its weights come from torch's default generator: seed that first. UserError if the configuration has problems.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    resolved = resolve(configuration, shape)
    return FAMILIES[resolved.family].build(resolved, shape, num_classes)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _lkca_problems(configuration: Configuration, shape: ImageShape) -> Iterator[Problem]:
    yield from _backbone_problems(configuration, shape)
    tiled = patch_size_rule(configuration.patch_size, shape) is None
    if configuration.kernel_size is not None and tiled:
        if rule := kernel_size_rule(configuration.kernel_size, token_grid(configuration.patch_size, shape)):
            yield Problem(("kernel_size",), rule)


def _full_kernel_size(configuration: Configuration, shape: ImageShape) -> int:
    return full_kernel_size(token_grid(configuration.patch_size, shape))


def _build_lkca(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    assert configuration.kernel_size is not None
    grid = token_grid(configuration.patch_size, shape)
    make_mixer = partial(LKCA, configuration.width, grid, configuration.kernel_size)
    return _backbone(configuration, shape, num_classes, make_mixer, "mean")


def _vit_problems(configuration: Configuration, shape: ImageShape) -> Iterator[Problem]:
    yield from _backbone_problems(configuration, shape)
    num_heads = DEFAULT_NUM_HEADS if configuration.num_heads is None else configuration.num_heads
    if rule := num_heads_rule(num_heads, configuration.width):
        # Heads left to the default are not what the user wrote; the width is.
        yield Problem(("width",) if configuration.num_heads is None else ("num_heads",), rule)


def _build_vit(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    assert configuration.num_heads is not None
    assert configuration.pooling is not None
    make_mixer = partial(Attention, configuration.width, configuration.num_heads)
    return _backbone(configuration, shape, num_classes, make_mixer, configuration.pooling)


def _backbone_problems(configuration: Configuration, shape: ImageShape) -> Iterator[Problem]:
    if rule := patch_size_rule(configuration.patch_size, shape):
        yield Problem(("patch_size",), rule)
    if rule := mlp_ratio_rule(configuration.mlp_ratio, configuration.width):
        yield Problem(("mlp_ratio",), rule)


def _backbone(
    configuration: Configuration,
    shape: ImageShape,
    num_classes: int,
    make_mixer: Callable[[], nn.Module],
    pooling: Pooling,
) -> nn.Module:
    return Backbone(
        shape,
        num_classes,
        make_mixer=make_mixer,
        patch_size=configuration.patch_size,
        embed_dim=configuration.width,
        depth=configuration.depth,
        mlp_ratio=configuration.mlp_ratio,
        drop_path_rate=configuration.drop_path_rate,
        pooling=pooling,
    )


FAMILIES: Mapping[str, Family] = {
    "lkca": Family(
        defaults={"kernel_size": _full_kernel_size},
        problems=_lkca_problems,
        build=_build_lkca,
    ),
    "vit": Family(
        defaults={"num_heads": DEFAULT_NUM_HEADS, "pooling": "mean"},
        problems=_vit_problems,
        build=_build_vit,
    ),
}
"""Every family by the name that a space file gives it."""

PRESETS: Mapping[str, Mapping[str, Scalar]] = {
    "LKCA-T": {"family": "lkca", "width": 136, "depth": 9, "mlp_ratio": 2.0},
    "LKCA-B": {"family": "lkca", "width": 210, "depth": 10, "mlp_ratio": 2.0},
    "LKCA-L": {"family": "lkca", "width": 360, "depth": 12, "mlp_ratio": 3.0},
    "ViT-Lite": {
        "family": "vit",
        "width": 136,
        "depth": 7,
        "mlp_ratio": 2.0,
        "num_heads": 8,
        "pooling": "class_token",
    },
    "ViT-Small": {
        "family": "vit",
        "width": 192,
        "depth": 9,
        "mlp_ratio": 2.0,
        "num_heads": 12,
        "pooling": "class_token",
    },
}
"""The authors' models (arXiv 2401.05738) as configuration values; `patch_size` is the caller's: 4 at 32 px, 8 at 64."""
