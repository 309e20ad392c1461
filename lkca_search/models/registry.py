"""Model families and presets by name: which configurations they take, and how a model is built from one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from torch import nn

from lkca_search.errors import Problem, UserError
from lkca_search.models.backbone_families import BACKBONE_FAMILIES
from lkca_search.models.baselines import BASELINES, TIMM, close_timm_names, timm_family
from lkca_search.models.cost import Cost, measure_cost
from lkca_search.models.family import COMMON, Family, known, without_common
from lkca_search.models.matching import matched_width, matches, parameters_at
from lkca_search.spec.configuration import NAMES, Configuration, ImageShape, Scalar

FAMILIES: Mapping[str, Family] = {**BACKBONE_FAMILIES, **BASELINES}
"""Every family by the name that a space file gives it; `timm:NAME` is one more for every model of timm."""


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
    "ConvMixer-256-8": _preset("convmixer", "ConvMixer-256/8 (arXiv 2201.09792)", width=256, depth=8, kernel_size=5),
    "ResNet-20": _preset("resnet", "ResNet-20 (arXiv 1512.03385)", width=64, depth=3),
    "ResNet-56": _preset("resnet", "ResNet-56 (arXiv 1512.03385)", width=64, depth=9),
}
"""Published models: families some of whose names have one value. Their default patch is what their authors take."""


def find_family(name: str) -> Family | None:
    """Return the family, preset or timm model of this name, or None."""
    return FAMILIES.get(name) or PRESETS.get(name) or timm_family(name)


def problems(configuration: Configuration, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield every rule that the configuration breaks on such images, located at the name that breaks it."""
    name = configuration.family
    family = find_family(name)
    if family is None:
        yield Problem(("family",), _unknown_family(name))
        return
    given = {name for name in NAMES if getattr(configuration, name) is not None}
    for other in NAMES:
        if other in given and other not in COMMON and other not in family.takes:
            takers = ", ".join(key for key, taker in FAMILIES.items() if other in taker.takes)
            yield Problem((other,), f"{other} does not apply to family {name}; give it when: {{family: [{takers}]}}")
        elif other in given and other in family.fixed and getattr(configuration, other) != family.fixed[other]:
            rule = f"{other} of preset {name} is {family.fixed[other]!r}, got {getattr(configuration, other)!r}"
            yield Problem((other,), rule)
    if configuration.match_parameters is not None and "width" in family.fixed:
        yield Problem(("match_parameters",), f"match_parameters does not apply to preset {name}, whose width is fixed")
        return
    matching = configuration.match_parameters is not None and "match_parameters" in family.takes
    # A width still to be found is put in as a very wide one, which breaks only the rules that any width would.
    searched = matching and configuration.width is None
    width = 4096 * family.width_step(configuration) if searched else configuration.width
    filled = family.fill(configuration.model_copy(update={"width": width}), shape)
    broken = list(family.rules(filled, shape))
    for names, rule in broken:
        # A default is not what the user wrote: of the names that a rule is about, blame the first that was.
        yield Problem((next((other for other in names if other in given), "family"),), rule)
    if matching and not broken:
        yield from _matching_problems(family, configuration, shape, num_classes)


def resolve(configuration: Configuration, shape: ImageShape, num_classes: int) -> Configuration:
    """Return the configuration with its family's defaults, and the matched width, in place of None.

    UserError, one line a broken rule, if the configuration has problems on such images.
    """
    if rules := [problem.rule for problem in problems(configuration, shape, num_classes)]:
        raise UserError("\n".join(rules))
    family = find_family(configuration.family)
    assert family is not None
    if configuration.match_parameters is not None and configuration.width is None:
        width = matched_width(family, configuration, shape, num_classes)
        configuration = configuration.model_copy(update={"width": width})
    return family.fill(configuration, shape)


def build_model(configuration: Configuration, shape: ImageShape, num_classes: int) -> nn.Module:
    """Return a new model: (B, channels, height, width) float -> logits (B, num_classes).

    Its weights come from torch's default generator: seed that first. UserError if the configuration has problems.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    resolved = resolve(configuration, shape, num_classes)
    family = find_family(resolved.family)
    assert family is not None
    return family.build(resolved, shape, num_classes)


def model_cost(configuration: Configuration, shape: ImageShape, num_classes: int, *, batch_size: int) -> Cost:
    """Return the cost of a configuration's model at a training step of `batch_size` images.

    Measured once per process for each model: learning rates and data fractions do not change it.
    UserError if the configuration has problems.
    """
    return _model_cost(without_common(configuration), shape, num_classes, batch_size)


@lru_cache(maxsize=10_000)
def _model_cost(configuration: Configuration, shape: ImageShape, num_classes: int, batch_size: int) -> Cost:
    return measure_cost(lambda: build_model(configuration, shape, num_classes), shape, batch_size=batch_size)


def _unknown_family(name: str) -> str:
    if name.startswith(TIMM):
        close = ", ".join(close_timm_names(name))
        return f"unknown family {name!r}; timm has {close or 'no model'} spelled much like it"
    return f"unknown family {name!r}; known are {', '.join((*FAMILIES, *PRESETS))} and timm:NAME for a model of timm"


def _matching_problems(
    family: Family, configuration: Configuration, shape: ImageShape, num_classes: int
) -> Iterator[Problem]:
    """Yield the rule about `match_parameters` that a configuration breaks."""
    target, width = known(configuration.match_parameters), configuration.width
    if width is None:
        try:
            matched_width(family, configuration, shape, num_classes)
        except ValueError as error:
            yield Problem(("match_parameters",), str(error))
    elif not matches(size := parameters_at(family, configuration, width, shape, num_classes), target):
        rule = f"a width beside match_parameters must have as many, got width {width} with {size} and {target}"
        yield Problem(("width",), rule)
