"""A search as a value: what a space file says, section by section, once it has passed every rule."""

from collections.abc import Container, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lkca_search.configuration import NAMES, Scalar, broken_rule
from lkca_search.errors import Problem
from lkca_search.space import Domain, IntRange
from lkca_search.value import Value


class DataSection(Value):
    """Which images, how many are held out, and how they are augmented."""

    dataset: Annotated[str, Field(min_length=1)]
    """`digits`, the name of a folder under LKCA_DATA_DIR, or `parquet:PATH`."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the training images held out, class by class; never trained on."""
    augment: tuple[Literal["crop", "flip"], ...] = ()
    """Random crop after padding by an eighth of the side; random horizontal flip."""


class TrainingSection(Value):
    """How long every trial trains, in exactly one unit."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training subset."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Training images seen, rounded up to whole batches."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Images in a step; a smaller subset trains in batches of its own size."""
    reports: Annotated[int, Field(ge=1)] | None = None
    """Evaluations in a trial, evenly spaced; by default one an epoch where epochs are the unit, else 20."""

    @property
    def num_reports(self) -> int:
        """Evaluations of every trial that has at least as many steps."""
        return self.reports or self.epochs or 20

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [unit for unit in ("epochs", "steps", "samples") if getattr(self, unit) is not None]
        if len(given) != 1:
            raise ValueError(f"training needs exactly one of epochs, steps, samples, got {given or 'none'}")
        return self


class SearchSection(Value):
    """How each cell is searched, and by which number trials are compared."""

    sampler: Literal["tpe", "random", "qmc"] = "tpe"
    """Optuna sampler of every cell's study."""
    pruner: Literal["none", "median", "hyperband", "successive_halving"] = "none"
    """Optuna pruner of every cell's study; it compares trials of one cell only."""
    trials_per_cell: Annotated[int, Field(ge=1)]
    """Trials of every cell: equal budgets."""
    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """The result by which trials are compared, as reported last."""
    goal: Literal["maximize", "minimize"] = "maximize"
    """Which direction of the metric is better."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The number from which every seed of the search is derived."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """How often a trial that died of an outside cause (node, memory) goes on from its checkpoint."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds of training after which a report is followed by a checkpoint; 0 means after every report."""

    @model_validator(mode="after")
    def _sensible_goal(self) -> Self:
        better = "minimize" if self.metric.endswith("loss") else "maximize"
        if self.goal != better:
            raise ValueError(f"goal of metric {self.metric} must be {better}, got {self.goal}")
        return self


class ResourcesSection(Value):
    """What one trial holds while it trains."""

    cpu: Annotated[int, Field(ge=1)] = 1
    """CPU cores, and threads, of a trial."""
    gpu: Annotated[float, Field(ge=0)] = 0.0
    """Share of one GPU: 0.25 packs four trials on each."""

    @model_validator(mode="after")
    def _one_device(self) -> Self:
        if self.gpu > 1:
            raise ValueError(f"gpu must be at most 1, since a trial uses one device, got {self.gpu}")
        return self


class SearchSpec(Value):
    """Everything that decides what a search does. Equal specs give equal searches."""

    data: DataSection
    factors: Mapping[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]]
    """Name to levels; every combination of levels is a cell."""
    parameters: Mapping[str, Domain]
    """Name to domain; searched inside every cell where the condition holds."""
    training: TrainingSection
    search: SearchSection
    resources: ResourcesSection = ResourcesSection()

    @model_validator(mode="after")
    def _names_and_levels(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise PydanticCustomError("spec_rules", "{summary}", {"summary": problems[0].rule, "problems": problems})
        return self


def _problems(spec: SearchSpec) -> Iterator[Problem]:
    for section, names in (("factors", spec.factors), ("parameters", spec.parameters)):
        for name in names:
            if name not in NAMES:
                yield Problem((section, name), f"unknown name {name!r}; known names: {', '.join(NAMES)}")
    for name in spec.parameters:
        if name in spec.factors:
            yield Problem(("parameters", name), f"{name} stands in factors and in parameters; it can be in one")
    for name, levels in spec.factors.items():
        for i, level in enumerate(levels):
            yield from _value_problems(name, level, ("factors", name, i))
        if len(set(levels)) < len(levels):
            yield Problem(("factors", name), f"levels must be distinct, got {list(levels)}")
    for name, domain in spec.parameters.items():
        for edge in domain.edges():
            yield from _value_problems(name, edge, ("parameters", name))
        for other, values in domain.when.items():
            if other not in spec.factors and other not in spec.parameters:
                rule = f"`when` names {other!r}, which is neither a factor nor a parameter"
                yield Problem(("parameters", name, "when", other), rule)
            elif unknown := [value for value in values if value not in _possible_values(spec, other)]:
                rule = f"`when` waits for {other} in {unknown}, which it never is"
                yield Problem(("parameters", name, "when", other), rule)
    try:
        parameter_order(spec.parameters)
    except CycleError as error:
        circle = error.args[1]
        yield Problem(("parameters", circle[0], "when"), f"`when` conditions form a circle: {' -> '.join(circle)}")


def _value_problems(name: str, value: Scalar, location: tuple[str | int, ...]) -> Iterator[Problem]:
    rule = broken_rule(name, value) if name in NAMES else None
    if rule is not None:
        yield Problem(location, f"{rule}, got {value!r}")


def _possible_values(spec: SearchSpec, name: str) -> Container[Scalar]:
    if name in spec.factors:
        return spec.factors[name]
    domain = spec.parameters[name]
    return domain.values() if isinstance(domain, IntRange) else domain.edges()


def parameter_order(parameters: Mapping[str, Domain]) -> tuple[str, ...]:
    """Names of the parameters, each after those its condition depends on; graphlib.CycleError if there is no order."""
    graph = {name: [other for other in domain.when if other in parameters] for name, domain in parameters.items()}
    return tuple(TopologicalSorter(graph).static_order())
