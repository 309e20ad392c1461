"""Configuration: the value of every name that may be a factor or a parameter in a space file."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lkca_search.augmentations import augment_rule, join_augment, parse_augment
from lkca_search.errors import did_you_mean, show_value
from lkca_search.own_code import is_dotted
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.reading.hints import value_hint
from lkca_search.spec.reading.limits import LIMIT_ERROR, Limits, at_most
from lkca_search.spec.reading.scalars import parse_count
from lkca_search.spec.reading.switches import parse_switch


def _check_scalar(value: object) -> object:
    """Raise one error; the union would raise one per member."""
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"must be a finite number, text, true or false, got {show_value(value)}")


def _check_augment(level: str) -> str:
    if rule := augment_rule(parse_augment(level)):
        raise ValueError(rule)
    return level


Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
UsedPrecision = Literal["float32", "tf32", "bfloat16", "float16"]
OPTIMIZERS = ("adamw", "sgd", "lamb", "lion")
"""Short names of optimizers."""


def _check_optimizer(name: str) -> str:
    if name in OPTIMIZERS or is_dotted(name):
        return name
    rule = f"must be one of {', '.join(OPTIMIZERS)}, or the dotted path of a class, got {name!r}"
    raise ValueError(rule + did_you_mean(name, OPTIMIZERS))


FAMILY_NAMES = (
    *("lkca", "lkca_grouped", "lkca_depthwise", "vit", "lka", "pool", "identity"),
    *("timm_vit", "cct", "swin", "convnext", "convmixer", "resnet", "van"),
)
"""Families, which `models` defines: a space file is checked without torch."""
PRESET_NAMES = (
    *("LKCA-T", "LKCA-B", "LKCA-L", "ViT-Lite", "ViT-Small", "SL-ViT", "VAN-B1"),
    *("ConvMixer-256-8", "ResNet-20", "ResNet-56"),
)
"""Published models, which `models` defines."""
TIMM = "timm:"
"""Prefix of the family name of a timm model."""


def family_rule(name: object) -> str | None:
    """Return the rule that the name of a family breaks. Names of timm and dotted paths are checked later."""
    known = (*FAMILY_NAMES, *PRESET_NAMES)
    if name in known or (isinstance(name, str) and (name.startswith(TIMM) or is_dotted(name))):
        return None
    more = "timm:NAME for a model of timm, module.Name for your own"
    return f"unknown family {name!r}{did_you_mean(name, known)}; known families: {', '.join(known)}, {more}"


Scalar = Annotated[bool | int | float | str, BeforeValidator(_check_scalar)]
"""Value of one name of a configuration."""


class ImageShape(NamedTuple):
    """Size of a dataset's images in pixels, and their number of channels."""

    height: int
    width: int
    channels: int


class Configuration(FrozenModel):
    """Hyperparameters of one training. A name that does not apply to the family stays None.

    With a family of your own, it may also have names of its own: `own` has them, and each is an attribute too.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    family: str = "lkca"
    """Model family, preset, `timm:NAME` or dotted path of your own; `lkca-search models` lists all."""
    dataset: Annotated[str, Field(min_length=1)] | None = None
    """Dataset to train, validate and test on; None is `data.dataset`."""
    data_fraction: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    """Fraction of the training images left after validation images are held out; None with `images_per_class`."""
    images_per_class: (
        Annotated[int, Field(ge=1), at_most(1_000_000, "no class of a known dataset has as many")] | None
    ) = None
    """Training images per class, instead of `data_fraction`."""
    draw: Annotated[int, Field(ge=0), at_most(1_000_000, "no search has as many trials")] = 0
    """Number of the seeded subset draw. Within one draw, larger subsets contain the smaller ones."""
    patch_size: Annotated[int, Field(ge=1), at_most(1_024, "images have at most 1,024 pixels per side")] | None = None
    """Side of a square patch in pixels; the token grid has image side / patch size tokens per side."""
    shifted_patches: bool | None = None
    """True if a patch is embedded with those of four copies of the image, shifted diagonally (arXiv 2112.13492)."""
    depth: (
        Annotated[int, Field(ge=1), at_most(1_000, "the deepest networks in the literature have 1,000 blocks")] | None
    ) = None
    """Number of blocks; blocks per stage in a family with stages."""
    width: Annotated[int, Field(ge=1), at_most(65_536, "one layer of this width has 4 billion parameters")] | None = (
        None
    )
    """Embedding dimension of a token, and input channels of the classifier."""
    match_parameters: (
        Annotated[
            int,
            BeforeValidator(parse_count),
            Field(ge=1),
            at_most(10_000_000_000, "its training takes 160 GB, and a trial uses one device"),
        ]
        | None
    ) = None
    """Target number of learnable parameters, met within 3% by the choice of width: 250000, "250k" or "1.0M"."""
    mlp_ratio: Annotated[float, Field(gt=0), at_most(100, "networks in the literature have at most 8")] | None = None
    """Hidden width of a block's MLP as a multiple of the width."""
    kernel_size: Annotated[int, Field(ge=1), at_most(2_047, "a grid has at most 1,024 tokens per side")] | None = None
    """Side of the token-mixing kernel, in tokens; odd, at most 2 s - 1 on an s x s grid."""
    kernel_init: Literal["zero", "delta", "normal"] | None = None
    """Initial LKCA kernels: all zero, the identity, or drawn from a normal distribution."""
    attention_init: Literal["default", "mimetic", "impulse"] | None = None
    """Initial weights of attention: as in other layers, mimetic (arXiv 2305.09828), or impulse (arXiv 2505.19985)."""
    locality_attention: bool | None = None
    """True if no token attends to itself and each head learns its temperature (arXiv 2112.13492)."""
    num_heads: Annotated[int, Field(ge=1), at_most(65_536, "it must divide the width, which has this limit")] | None = (
        None
    )
    """Attention heads, or channel groups that share an LKCA kernel; must divide the width."""
    pooling: Literal["mean", "class_token"] | None = None
    """Reduction of attention tokens to one vector: their mean, or a learned class token."""
    position_embedding: bool | None = None
    """True if a learned position embedding is added to each token."""
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability that a residual branch is dropped for an image."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability that a unit is zeroed in training; on tokens in transformers, before the classifier elsewhere."""
    learning_rate: Annotated[float, Field(gt=0), at_most(1_000, "AdamW diverges far below")] = 1e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0), at_most(1_000, "weights are zero after one step far below")] = 0.05
    """Weight decay: decoupled in AdamW and Lion, added to the gradient in SGD, to the update in LAMB."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Label smoothing of the cross-entropy."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the planned steps over which the learning rate rises linearly."""
    optimizer: Annotated[str, AfterValidator(_check_optimizer)] = "adamw"
    """Optimizer: adamw, sgd (with Nesterov momentum), lamb, lion, or the dotted path of a class of optimizers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Nesterov momentum of SGD; 0.9 by default."""
    beta2: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay rate of the average of squared gradients (of the momentum in Lion); by default 0.999, in Lion 0.99."""
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = "cosine"
    """Learning rate after the warm-up: half a cosine, a line, constant, or constant with a line in the last 20%."""
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """Learning rate at the end of the decay, as a fraction of the peak; by default the rate is 1e-6."""
    weight_decay_on: Literal["all", "weights"] = "all"
    """Parameters that decay: all, or weights without biases, norms, positions, class tokens and layer scales."""
    gradient_clip: Annotated[float, Field(ge=0), at_most(1_000_000, "no gradient is as large; 0 clips none")] = 0.0
    """Norm of the gradient of all parameters above which it is scaled down; 0 clips none."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights, which is evaluated in their place; 0 averages none."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss: all 1, or inversely proportional to the number of training images."""
    precision: Precision = "auto"
    """Type of matrix products and convolutions; `auto` is bfloat16 on GPUs that have it, else float32. The short types
    use autocast, and float16 scales the loss."""
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(parse_switch)] = "auto"
    """`on` compiles the model with torch.compile; `auto` does on GPUs for trainings of at least 20,000 steps."""
    batch_size: (
        Annotated[int, Field(ge=1), at_most(65_536, "batches in the literature have at most 65,536 images")] | None
    ) = None
    """Images per step; None for `training.batch_size`."""
    augment: Annotated[str, BeforeValidator(join_augment), AfterValidator(_check_augment)] | None = None
    """Augmentations of training images: a named set, or names joined by `+`; None for `data.augment`."""
    epochs: (
        Annotated[int, Field(ge=1), at_most(1_000_000, "trainings in the literature have at most 10,000")] | None
    ) = None
    """Passes over the training subset, instead of the length in the section `training`."""
    steps: Annotated[int, Field(ge=1), at_most(10**9, "at 1 ms per step they take 12 days per trial")] | None = None
    """Optimizer steps, instead of the length in the section `training`."""
    samples: Annotated[int, Field(ge=1), at_most(10**12, "at 1,000,000 images per second they take 12 days")] | None = (
        None
    )
    """Training images seen, instead of the length in the section `training`."""

    @model_validator(mode="before")
    @classmethod
    def _images_per_class_replaces_the_default_fraction(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("images_per_class") is not None:
            return {"data_fraction": None, **values}
        return values

    @model_validator(mode="after")
    def _one_size_and_length(self) -> Self:
        if (self.data_fraction is None) == (self.images_per_class is None):
            size = f"{self.data_fraction} and {self.images_per_class}"
            raise ValueError(f"a subset must have either data_fraction or images_per_class, got {size}")
        given = {name: getattr(self, name) for name in LENGTH_NAMES if getattr(self, name) is not None}
        if len(given) > 1:
            got = " and ".join(f"{name} {value:,}" for name, value in given.items())
            raise ValueError(f"a training must have its length in one unit, got {got}")
        return self

    @model_validator(mode="after")
    def _own_names_need_an_own_family(self) -> Self:
        for name in self.own:
            if rule := own_name_rule(name):
                raise ValueError(rule)
            if not is_dotted(self.family):
                raise ValueError(f"unknown name {name!r}{did_you_mean(name, NAMES)}; known names: {', '.join(NAMES)}")
        return self

    @property
    def own(self) -> Mapping[str, Scalar]:
        """Names that only a family of your own takes, sorted, with their values."""
        return dict(sorted(self.__pydantic_extra__.items()))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return None for a name of another family of your own."""
            if name.startswith("_"):
                return super().__getattr__(name)
            return self.__pydantic_extra__.get(name)


NAMES: tuple[str, ...] = tuple(Configuration.model_fields)
"""Every name that `factors` or `parameters` may have, in canonical order."""

SIZE_NAMES = ("data_fraction", "images_per_class")
"""Names that set the number of training images; a configuration has exactly one of them."""
SUBSET_NAMES = ("dataset", *SIZE_NAMES, "draw")
"""Names that decide which images are trained on, for every family."""
OPTIMIZER_NAMES = (
    *("learning_rate", "weight_decay", "label_smoothing", "warmup_fraction", "optimizer", "momentum", "beta2"),
    *("schedule", "final_lr_fraction", "weight_decay_on", "gradient_clip", "ema_decay", "class_weights"),
)
"""Names of every family that decide optimizer, schedule and loss."""
LENGTH_NAMES = ("epochs", "steps", "samples")
"""Units of the length of a training."""
SECTIONS: Mapping[str, str] = {"augment": "data", "batch_size": "training", **dict.fromkeys(LENGTH_NAMES, "training")}
"""Section of the space file that has the value of a name where neither a factor nor a parameter gives it."""
RECIPE_NAMES = ("batch_size", "augment", *LENGTH_NAMES)
"""Names of every family whose value, if None, stands in a section of the space file."""


_ANY_FAMILY = "own.family"


def own_name_rule(name: str) -> str | None:
    """Return the rule that a name of your own family breaks; None if it breaks none."""
    if name.isidentifier() and not name.startswith("_") and not hasattr(BaseModel, name) and name != "own":
        return None
    return f"a name of your own must be a Python identifier that is no attribute of a configuration, got {name!r}"


def without_own_names(values: Mapping[str, Scalar]) -> Configuration:
    """Return the configuration with these values, without names of your own, whose family may be among the rest."""
    return Configuration.model_validate({name: value for name, value in values.items() if name in NAMES})


def in_order(names: Iterable[str]) -> list[str]:
    """Return names in canonical order: those of `NAMES`, then names of your own by the alphabet."""
    return sorted(names, key=lambda name: (NAMES.index(name) if name in NAMES else len(NAMES), name))


def value_rule(name: str, value: object, limits: Any = None) -> str | None:
    """Return the rule that `value` breaks as a value of `name`, with the value; None if it is valid.

    `limits` is the context of the validation; by default no limit applies.
    """
    family = {} if name in NAMES else {"family": _ANY_FAMILY}
    try:
        Configuration.model_validate({**family, name: value}, context=limits)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        if details["type"] == LIMIT_ERROR:
            return str(details["ctx"]["limit"].rule(name, value))
        if details["type"] == "value_error":
            return f"{name}: {details['ctx']['error']}"
        hint = value_hint(value, details["type"], details.get("ctx", {}))
        if details["type"] == "literal_error" and isinstance(value, str):
            hint = did_you_mean(value, re.findall(r"'([^']*)'", details["ctx"]["expected"]))
        return f"{name}: {details['msg'].lower()}, got {value!r}{hint}"
    # A stored spec has been checked.
    return family_rule(value) if name == "family" and isinstance(limits, Limits) else None
