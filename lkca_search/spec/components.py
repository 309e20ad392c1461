"""Samplers and pruners as a space file gives them: a name, or a mapping with a name and arguments."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, model_serializer, model_validator

from lkca_search.errors import did_you_mean
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.reading.limits import ARGUMENTS, check_limit

SAMPLERS = ("tpe", "random", "qmc", "gp", "cmaes", "nsga2", "grid")
"""Short names of samplers."""
INDEPENDENT_SAMPLERS = ("random", "qmc")
"""Samplers whose trials do not depend on earlier trials."""
GRID = "grid"
"""Sampler that tries each configuration once."""
LEARNS_FROM_FAILURES = ("tpe",)
"""Samplers that receive failed trials as trials that break a constraint, and so leave their region."""
PRUNERS = (
    "none", "median", "hyperband", "successive_halving", "percentile", "wilcoxon", "patient", "threshold", "curves",
)  # fmt: skip
"""Short names of pruners."""
CURVES_STARTUP_TRIALS, CURVES_WARMUP_SHARE, CURVES_MIN_PROBABILITY = 2, 0.2, 0.2
"""Defaults of `n_startup_trials`, `warmup_share` and `min_probability` of the pruner `curves`."""
OPTUNAHUB = "optunahub:"
"""Prefix of the name of an OptunaHub package."""


def _check_argument(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _check_argument(inner, info) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_check_argument(inner, info) for inner in value)
    if isinstance(value, int | float) and math.isfinite(value):
        check_limit(info.context, ARGUMENTS, value)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"must be a finite number, text, true, false, null, a list or a mapping of these, got {value!r}")


class ComponentConfig(FrozenModel):
    """Name of a class, with arguments of its constructor; `tpe` is short for `{name: tpe}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_check_argument)]] = Field(init=False)

    name: Annotated[str, Field(min_length=1)]
    """Short name, `optunahub:PACKAGE`, or dotted path of a class."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments given in the space file."""
        return self.__pydantic_extra__

    def __str__(self) -> str:
        """Return the name, followed by the arguments in parentheses if there are any."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})" if arguments else self.name

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer
    def _shorten(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.arguments} if self.arguments else self.name


def dependence_reason(sampler: str) -> str | None:
    """Return the reason why the trials of a sampler are no random sample of its space; None if they are one."""
    if sampler in INDEPENDENT_SAMPLERS:
        return None
    if sampler == GRID:
        return f"sampler {GRID} tries each configuration once, so its trials are no random sample"
    verb = "chooses" if sampler in SAMPLERS else "may choose"
    return f"sampler {sampler} {verb} a trial by the results of earlier trials"


def may_repeat_failures(sampler: str) -> bool:
    """Return True if a sampler is known to suggest values near those of failed trials as if they were new."""
    return sampler in SAMPLERS and sampler not in (GRID, *LEARNS_FROM_FAILURES)


def name_rule(kind: str, name: str, known: tuple[str, ...]) -> str | None:
    """Return the rule that the name of a sampler or pruner breaks; None if it breaks none."""
    package = name.removeprefix(OPTUNAHUB)
    parts = package.split("/") if package != name else name.split(".")
    if name in known or (len(parts) > 1 and all(part.isidentifier() for part in parts)):
        return None
    return (
        f"{kind} must be one of {', '.join(known)}, {OPTUNAHUB}PACKAGE "
        f"or the dotted path of a class (package.module.Class), got {name!r}{did_you_mean(name, known)}"
    )
