"""Base class of all pydantic models."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Frozen pydantic model that rejects unknown keys, silent conversions and non-finite numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )
