"""Registry of model families and presets: checks a configuration and builds its model."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from lkca_search.errors import Problem, UserError, did_you_mean
from lkca_search.models.backbone_families import BACKBONE_FAMILIES
from lkca_search.models.convolutional_baselines import CONVOLUTIONAL_BASELINES
from lkca_search.models.cost import Cost, measure_cost
from lkca_search.models.family import COMMON, Family, of_equal_cost, require
from lkca_search.models.matching import UNMATCHED, matched_width, matches, parameters_at
from lkca_search.models.networks.strided_convolution import subsample_strided_convolutions
from lkca_search.models.own_family import own_family
from lkca_search.models.timm_models import close_timm_names, timm_family
from lkca_search.models.transformer_baselines import TRANSFORMER_BASELINES
from lkca_search.spec.configuration import NAMES, TIMM, Configuration, ImageShape, Scalar, UsedPrecision, family_rule
from lkca_search.spec.recipe.rules import fill_recipe, recipe_problems

FAMILIES: Mapping[str, Family] = {**BACKBONE_FAMILIES, **TRANSFORMER_BASELINES, **CONVOLUTIONAL_BASELINES}
"""Families by their name in a space file. Every model of timm is one more family, `timm:NAME`."""


def _preset(family: str, label: str, **fixed: Scalar) -> Family:
    return replace(FAMILIES[family], label=label, fixed=fixed)


PRESETS: Mapping[str, Family] = {
    "LKCA-T": _preset("lkca", "LKCA-T (arXiv 2401.05738)", width=136, depth=9, mlp_ratio=2.0),
    "LKCA-B": _preset("lkca", "LKCA-B (arXiv 2401.05738)", width=210, depth=10, mlp_ratio=2.0),
    "LKCA-L": _preset("lkca", "LKCA-L (arXiv 2401.05738)", width=360, depth=12, mlp_ratio=3.0),
    "ViT-Lite": _preset(
        "vit", "ViT-Lite (arXiv 2401.05738)", width=136, depth=7, mlp_ratio=2.0, num_heads=8, pooling="class_token"
    ),
    "ViT-Small": _preset(
        "vit", "ViT-Small (arXiv 2401.05738)", width=192, depth=9, mlp_ratio=2.0, num_heads=12, pooling="class_token"
    ),
    "SL-ViT": _preset(
        "vit",
        "SL-ViT (arXiv 2112.13492)",
        width=192,
        depth=9,
        mlp_ratio=2.0,
        num_heads=12,
        pooling="class_token",
        shifted_patches=True,
        locality_attention=True,
    ),
    "VAN-B1": _preset("van", "VAN-B1 (arXiv 2202.09741)", width=512, depth=2, mlp_ratio=4.0),
    "ConvMixer-256-8": _preset("convmixer", "ConvMixer-256/8 (arXiv 2201.09792)", width=256, depth=8, kernel_size=5),
    "ResNet-20": _preset("resnet", "ResNet-20 (arXiv 1512.03385)", width=64, depth=3),
    "ResNet-56": _preset("resnet", "ResNet-56 (arXiv 1512.03385)", width=64, depth=9),
}
"""Published models: families with fixed hyperparameters. Their default patch sizes are those of the authors."""


def find_family(name: str) -> Family | None:
    """Return the family, preset, timm model or family of your own of this name, or None.

    Raises:
        UserError: The code of a dotted path cannot be imported, or its signature breaks a rule.
    """
    return FAMILIES.get(name) or PRESETS.get(name) or timm_family(name) or own_family(name)


def problems(configuration: Configuration, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield every rule that the configuration breaks on images of this shape, located at the name to change."""
    name = configuration.family
    try:
        family = find_family(name)
    except UserError as error:
        yield Problem(("family",), str(error))
        return
    if family is None:
        yield Problem(("family",), _unknown_family(name))
        return
    names = (*NAMES, *configuration.own)
    user_set = {name for name in names if getattr(configuration, name) is not None}
    for other in names:
        if other in configuration.own and other not in family.hyperparameters:
            takes = ", ".join(family.hyperparameters) or "none"
            hint = did_you_mean(other, family.hyperparameters)
            yield Problem((other,), f"{other} is no name of family {name}, which takes {takes}{hint}")
        elif other in user_set and other not in COMMON and other not in family.hyperparameters:
            owners = ", ".join(key for key, owner in FAMILIES.items() if other in owner.hyperparameters)
            yield Problem((other,), f"{other} does not apply to family {name}; give it when: {{family: [{owners}]}}")
        elif other in user_set and other in family.fixed and getattr(configuration, other) != family.fixed[other]:
            rule = f"{other} of preset {name} is {family.fixed[other]!r}, got {getattr(configuration, other)!r}"
            yield Problem((other,), rule)
    yield from recipe_problems(configuration)
    if configuration.match_parameters is not None and "width" in family.fixed:
        yield Problem(("match_parameters",), f"match_parameters does not apply to preset {name}, whose width is fixed")
        return
    is_matched = configuration.match_parameters is not None and "match_parameters" in family.hyperparameters
    # The width is searched later. A very large one breaks only the rules that every width breaks.
    is_searched = is_matched and configuration.width is None
    width = 4096 * family.width_step(configuration) if is_searched else configuration.width
    filled = family.fill(configuration.model_copy(update={"width": width}), shape)
    broken = list(family.rules(filled, shape))
    for names, rule in broken:
        # The problem is located at a name that the user set, not at one with its default value.
        yield Problem((next((other for other in names if other in user_set), "family"),), rule)
    if is_matched and not broken:
        yield from _matching_problems(family, configuration, shape, num_classes)


def resolve(configuration: Configuration, shape: ImageShape, num_classes: int) -> Configuration:
    """Return the configuration with its family's defaults, and the matched width, in place of None.

    Raises:
        UserError: The configuration breaks rules; one line per rule.
    """
    if rules := [problem.rule for problem in problems(configuration, shape, num_classes)]:
        raise UserError(*rules)
    family = find_family(configuration.family)
    assert family is not None
    if configuration.match_parameters is not None and configuration.width is None:
        width = matched_width(family, configuration, shape, num_classes)
        configuration = configuration.model_copy(update={"width": width})
    return fill_recipe(family.fill(configuration, shape))


def build_model(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    """Return a new model: (B, channels, height, width) float -> logits (B, num_classes).

    The weights come from torch's default generator: seed it first.

    Raises:
        UserError: The configuration breaks rules; one line per rule.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    resolved = resolve(configuration, shape, num_classes)
    family = find_family(resolved.family)
    assert family is not None
    return subsample_strided_convolutions(family.build(resolved, shape, num_classes))


def model_cost(
    configuration: Configuration,
    shape: ImageShape,
    num_classes: int,
    *,
    batch_size: int,
    precision: UsedPrecision = "float32",
) -> Cost:
    """Return the cost of a configuration's model for training steps of `batch_size` images in a precision.

    It is measured once per process and architecture: learning rates, data fractions and rates of dropout do not change
    it.

    Raises:
        UserError: The configuration breaks rules; one line per rule.
    """
    return _model_cost(of_equal_cost(configuration), shape, num_classes, batch_size, precision)


@lru_cache(maxsize=10_000)
def _model_cost(
    configuration: Configuration, shape: ImageShape, num_classes: int, batch_size: int, precision: UsedPrecision
) -> Cost:
    return measure_cost(
        lambda: build_model(configuration, shape, num_classes),
        shape,
        batch_size=batch_size,
        precision=precision,
        is_linear=configuration.family in FAMILIES or configuration.family in PRESETS,
    )


@lru_cache(maxsize=1000)
def one_image_problem(configuration: Configuration, shape: ImageShape, num_classes: int) -> str | None:
    """Return the reason why a model cannot train on batches of one image, or None. Uses the meta device.

    BatchNorm needs two values per channel: a map of 1x1 pixels has one per image.
    """
    with torch.device("meta"):
        model = build_model(configuration, shape, num_classes)
        try:
            model.train()(torch.empty(1, shape.channels, shape.height, shape.width))
        except ValueError as error:
            return str(error)
    return None


def _unknown_family(name: str) -> str:
    if name.startswith(TIMM):
        close = ", ".join(close_timm_names(name))
        return f"unknown family {name!r}; similar models of timm: {close or 'none'}"
    return family_rule(name) or f"unknown family {name!r}"


def _matching_problems(
    family: Family, configuration: Configuration, shape: ImageShape, num_classes: int
) -> Iterator[Problem]:
    """Yield the rule on `match_parameters` that a configuration breaks."""
    target, width = require(configuration.match_parameters), configuration.width
    if width is None:
        try:
            matched_width(family, configuration, shape, num_classes)
        except ValueError as error:
            yield Problem(("match_parameters",), str(error))
    elif not matches(size := parameters_at(family, configuration, width, shape, num_classes), target):
        rule = f"width must match match_parameters ({target}){UNMATCHED}{size} parameters of width {width}"
        yield Problem(("width",), rule)
