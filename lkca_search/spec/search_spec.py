"""A search as a value: what a space file says, section by section, once it has passed every rule."""

from collections.abc import Container, Iterator, Mapping, Sequence
from graphlib import CycleError
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from lkca_search.errors import Problem
from lkca_search.paths import parse_path
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Scalar, broken_rule
from lkca_search.spec.domains import Domain, FloatRange, IntRange, Level
from lkca_search.spec.factors import (
    DRAW,
    Design,
    Exclusion,
    Factor,
    draws_rule,
    factor_problems,
    repeats_of,
    with_repeats,
)
from lkca_search.spec.resources import ResourcesSection
from lkca_search.spec.sections import ConfirmSection, DataSection, LimitsSection, SearchSection, TrainingSection
from lkca_search.spec.space import Space

_SHOW_DIGITS = ("digits", "svhn")


class SearchSpec(FrozenModel):
    """Everything that decides what a search does. Equal specs give equal searches."""

    data: DataSection
    factors: Mapping[str, Factor]
    """Name to levels; combinations of levels are cells."""
    design: Design = "crossed"
    """Which combinations: all, or a base and, factor by factor, each other level with the rest at base.

    The names that decide the subset (data_fraction, images_per_class, draw) are crossed with either.
    """
    base: Mapping[str, Level] = {}
    """The base level of a factor, one at a time; by default its first."""
    exclude: tuple[Exclusion, ...] = ()
    """Combinations of levels that are no cells."""
    parameters: Mapping[str, Domain]
    """Name to domain; searched inside every cell where the condition holds."""
    training: TrainingSection
    search: SearchSection
    resources: ResourcesSection = ResourcesSection()
    limits: LimitsSection = LimitsSection()
    confirm: ConfirmSection | None = None
    """The confirmation that `run` ends with; None where it is left to the command `confirm`."""
    storage: str | None = None
    """Where trials leave records and checkpoints: file:///PATH, s3://BUCKET/PATH, gs://...; by default the home."""

    @property
    def space(self) -> Space[Domain]:
        """The parameters, to be walked in dependency order."""
        return Space(self.parameters)

    @model_validator(mode="after")
    def _repeated(self) -> Self:
        object.__setattr__(self, "factors", with_repeats(self.factors, self.search.repeats))
        if self.confirm is not None:
            object.__setattr__(self, "confirm", with_draws(self.confirm, len(repeats_of(self.factors, self.exclude))))
        return self

    @field_validator("storage")
    @classmethod
    def _absolute_storage(cls, storage: str | None) -> str | None:
        if storage is not None and isinstance(place := parse_path(storage), Path) and not place.is_absolute():
            raise ValueError(f"storage must be an absolute path or a URL, got {storage!r}")
        return storage

    @model_validator(mode="after")
    def _names_and_levels(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise PydanticCustomError("spec_rules", "{summary}", {"summary": problems[0].rule, "problems": problems})
        return self


def with_draws(confirm: ConfirmSection, repeats: int) -> ConfirmSection:
    """The section `confirm` with one draw a repeat, unless it says how many draws itself."""
    if not repeats or "draws" in confirm.model_fields_set:
        return confirm
    return confirm.model_copy(update={"draws": repeats})


def _problems(spec: SearchSpec) -> Iterator[Problem]:
    if "flip" in spec.data.augment and spec.data.dataset in _SHOW_DIGITS:
        rule = f"flip makes other signs of digits, or none, so {spec.data.dataset} cannot be augmented by it"
        yield Problem(("data", "augment", spec.data.augment.index("flip")), rule)
    yield from _name_problems(spec)
    yield from factor_problems(spec.factors, spec.design, spec.base, spec.exclude)
    yield from _repeats_problems(spec.factors, spec.exclude, spec.search.repeats, spec.confirm)
    for name, factor in spec.factors.items():
        for i, level in enumerate(factor.levels):
            yield from _value_problems(name, level, ("factors", name, "levels", i))
    for name, domain in spec.parameters.items():
        for edge in domain.edges():
            yield from _value_problems(name, edge, ("parameters", name))
        yield from _condition_problems(spec, name, domain)
    try:
        _ = spec.space.order
    except CycleError as error:
        circle = error.args[1]
        yield Problem(("parameters", circle[0], "when"), f"`when` conditions form a circle: {' -> '.join(circle)}")
    yield from _search_problems(spec)


def _name_problems(spec: SearchSpec) -> Iterator[Problem]:
    for section, names in (("factors", spec.factors), ("parameters", spec.parameters)):
        for name in names:
            if name not in NAMES:
                yield Problem((section, name), f"unknown name {name!r}; known names: {', '.join(NAMES)}")
    for name in spec.parameters:
        if name in spec.factors:
            yield Problem(("parameters", name), f"{name} stands in factors and in parameters; it can be in one")
    if {"data_fraction", "images_per_class"} <= {*spec.factors, *spec.parameters}:
        section = "factors" if "images_per_class" in spec.factors else "parameters"
        rule = "images_per_class takes the place of data_fraction; only one of them can be given"
        yield Problem((section, "images_per_class"), rule)


def _condition_problems(spec: SearchSpec, name: str, domain: Domain) -> Iterator[Problem]:
    for other, values in domain.when.items():
        if other not in spec.factors and other not in spec.parameters:
            rule = f"`when` names {other!r}, which is neither a factor nor a parameter"
            yield Problem(("parameters", name, "when", other), rule)
        elif unknown := [value for value in values if value not in _possible_values(spec, other)]:
            rule = f"`when` waits for {other} in {unknown}, which it never is"
            yield Problem(("parameters", name, "when", other), rule)


def _search_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Samplers and pruners that cannot do what the rest of the space file asks for."""
    sampler, pruner, several = spec.search.sampler.name, spec.search.pruner.name, len(spec.search.metrics) > 1
    if several and pruner != "none":
        rule = f"pruning with several goals is refused, since Optuna compares one value a step, got pruner {pruner}"
        yield Problem(("search", "pruner"), rule)
    if several and sampler == "cmaes":
        yield Problem(("search", "sampler"), "sampler cmaes takes one goal, since it ranks trials by one value")
    if sampler == "cmaes" and not any(isinstance(domain, IntRange | FloatRange) for domain in spec.parameters.values()):
        rule = "sampler cmaes searches ranges (int, float) and draws the rest at random, and no parameter is a range"
        yield Problem(("search", "sampler"), rule)
    for name, domain in spec.parameters.items():
        if sampler == "grid" and isinstance(domain, FloatRange):
            rule = f"sampler grid tries every value, and a range of floats has no end of them: make {name} a choice"
            yield Problem(("parameters", name), rule)


def _repeats_problems(
    factors: Mapping[str, Factor], exclude: Sequence[Exclusion], asked: int, confirm: ConfirmSection | None
) -> Iterator[Problem]:
    """Every rule of repeats that is broken, where so many are `asked` for."""
    if asked > 1 and factors[DRAW] != Factor(levels=tuple(range(asked))):
        rule = f"repeats are the levels 0 to {asked - 1} of the factor draw, which the space file gives as well"
        yield Problem(("search", "repeats"), f"{rule}: leave one out")
    for i, entry in enumerate(exclude):
        if asked > 1 and DRAW in entry:
            yield Problem(("exclude", i, DRAW), "every cell is repeated on each draw, so exclude names none")
    draws = repeats_of(factors, exclude)
    if confirm is not None and (broken := draws_rule(len(draws), confirm.draws)):
        yield Problem(("confirm", "draws"), broken)


def _value_problems(name: str, value: Scalar, location: tuple[str | int, ...]) -> Iterator[Problem]:
    rule = broken_rule(name, value) if name in NAMES else None
    if rule is not None:
        yield Problem(location, f"{rule}, got {value!r}")


def _possible_values(spec: SearchSpec, name: str) -> Container[Scalar]:
    if name in spec.factors:
        return spec.factors[name].levels
    domain = spec.parameters[name]
    return domain.edges() if isinstance(domain, FloatRange) else domain.values()
