"""Base class of all pydantic models, and the fields in which two models differ."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from lkca_search.spec.reading.limits import register_fields


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

    @classmethod
    def __pydantic_init_subclass__(cls, **arguments: Any) -> None:
        """Register the fields with a limit."""
        super().__pydantic_init_subclass__(**arguments)
        register_fields(cls.model_fields)


class Difference(NamedTuple):
    """Field with another value in the other of two models."""

    name: str
    """Path of keys: `training.steps`."""
    one: Any
    """Value in the first model; None if it has no such field."""
    other: Any
    """Value in the second model."""


def find_differences(one: FrozenModel, other: FrozenModel, *, whole: Collection[str] = ()) -> list[Difference]:
    """Return every field that differs, sorted by name.

    Sections are compared field by field, except mappings named in `whole`, which are compared and shown as one value.
    """
    values = [dict(_flatten(model.model_dump(by_alias=True), whole)) for model in (one, other)]
    names = sorted(values[0].keys() | values[1].keys())
    differences = (Difference(name, values[0].get(name), values[1].get(name)) for name in names)
    return [difference for difference in differences if difference.one != difference.other]


def _flatten(value: Mapping[str, Any], whole: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping) and f"{prefix}{name}" not in whole:
            yield from _flatten(inner, whole, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
