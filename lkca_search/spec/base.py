"""The base of every value: frozen, complete, and checked where it is made."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A frozen value whose unknown keys, silent conversions and non-finite numbers are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )
