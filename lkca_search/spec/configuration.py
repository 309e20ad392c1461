"""A configuration: the value of every name that a space file may cross (factor) or search (parameter)."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from lkca_search.spec.base import FrozenModel


def _check_scalar(value: object) -> object:
    """One sentence, where the union would complain once for each of its members."""
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"must be a finite number, text, true or false, got {value!r}")


def _parse_count(value: object) -> object:
    """Read 1.0M and 250k as people write them."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM])", value) if isinstance(value, str) else None
    return round(float(match[1]) * {"k": 1e3, "M": 1e6}[match[2]]) if match else value


Scalar = Annotated[bool | int | float | str, BeforeValidator(_check_scalar)]
"""What one name of a configuration can hold."""


class ImageShape(NamedTuple):
    """Size of a dataset's images in pixels, and their number of channels."""

    height: int
    width: int
    channels: int


class Configuration(FrozenModel):
    """What distinguishes one training from another. A name that its family does not take stays None."""

    family: str = "lkca"
    """Model family, a preset, or `timm:NAME`; models/registry.py has them all."""
    data_fraction: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    """Fraction of the training split after validation was held out; None where `images_per_class` is given."""
    images_per_class: Annotated[int, Field(ge=1)] | None = None
    """Training images of every class, in place of a fraction."""
    draw: Annotated[int, Field(ge=0)] = 0
    """Which of the seeded subset draws to train on; for one draw, smaller subsets are inside larger ones."""
    patch_size: Annotated[int, Field(ge=1)] | None = None
    """Side of a square patch in pixels; the token grid has image side / patch size tokens a side."""
    depth: Annotated[int, Field(ge=1)] | None = None
    """Number of blocks; of blocks a stage in a family with stages."""
    width: Annotated[int, Field(ge=1)] | None = None
    """Embedding dimension of a token: the channels that the classifier sees."""
    match_parameters: Annotated[int, BeforeValidator(_parse_count), Field(ge=1)] | None = None
    """Learnable parameters that the model is to have, within 3%, in place of a width: 250000, "250k" or "1.0M"."""
    mlp_ratio: Annotated[float, Field(gt=0)] | None = None
    """Hidden width of a block's MLP as a multiple of the width."""
    kernel_size: Annotated[int, Field(ge=1)] | None = None
    """Side of the kernel that mixes tokens, in tokens; odd, at most 2 s - 1 on an s x s grid."""
    kernel_init: Literal["zero", "delta", "normal"] | None = None
    """How LKCA kernels start: all zero, as the identity, or drawn from a normal distribution."""
    num_heads: Annotated[int, Field(ge=1)] | None = None
    """Attention heads, or groups of channels that share an LKCA kernel; must divide the width."""
    pooling: Literal["mean", "class_token"] | None = None
    """How attention tokens become one vector: their mean, or a learned class token."""
    position_embedding: bool | None = None
    """Whether a learned embedding of its position is added to each token."""
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability that a residual branch is dropped for an image."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Decoupled weight decay of AdamW, on all parameters."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Label smoothing of the cross-entropy."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the planned steps over which the learning rate rises linearly."""

    @model_validator(mode="before")
    @classmethod
    def _images_per_class_replaces_the_default_fraction(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("images_per_class") is not None:
            return {"data_fraction": None, **values}
        return values

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.data_fraction is None) == (self.images_per_class is None):
            size = f"{self.data_fraction} and {self.images_per_class}"
            raise ValueError(f"a subset has either a data_fraction or images_per_class, got {size}")
        return self


NAMES: tuple[str, ...] = tuple(Configuration.model_fields)
"""Every name that may stand in `factors` or `parameters`, in canonical order."""

SUBSET_NAMES = ("data_fraction", "images_per_class", "draw")
"""The names that decide which images are trained on, whatever the family."""


def broken_rule(name: str, value: object) -> str | None:
    """Return the rule that `value` breaks as a value of `name`, or None if it is a legal one."""
    try:
        Configuration.model_validate({name: value})
    except ValidationError as error:
        return f"{name}: {error.errors()[0]['msg'].lower()}"
    return None
