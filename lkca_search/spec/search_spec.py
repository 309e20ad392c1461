"""A search as a value: what a space file says, section by section, once it has passed every rule."""

from collections.abc import Container, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lkca_search.errors import Problem
from lkca_search.paths import parse_path
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.components import PRUNERS, SAMPLERS, ComponentConfig, name_rule
from lkca_search.spec.configuration import NAMES, Scalar, broken_rule
from lkca_search.spec.confirm_section import ConfirmSection
from lkca_search.spec.domains import Domain, FloatRange, IntRange, Level
from lkca_search.spec.factors import Design, Exclusion, Factor, factor_problems
from lkca_search.spec.repeats import repeats_of, repeats_problems, with_draws, with_repeats
from lkca_search.spec.resources import ResourcesSection

Augmentation = Literal[
    "crop", "crop_reflect", "flip", "trivial_augment", "rand_augment", "erase", "cutmix", "mixup"
]  # fmt: skip
"""What may be done to training images, in the order in which it is done; `data/augment.py` has the strengths.

`crop`: a random window after padding by an eighth of each side, in black; `crop_reflect`: the same, padded by the
image's own reflection; `flip`: left to right, every other image; `trivial_augment`, `rand_augment`: distortions drawn
by these policies; `erase`: a random box made grey in every other image; `cutmix`, `mixup`: images and labels mixed in
pairs, with both named by one of them at each step.
"""

_EXCLUSIVE = (("crop", "crop_reflect"), ("trivial_augment", "rand_augment"))
_SHOW_DIGITS = ("digits", "svhn")


def augment_rule(names: Sequence[str]) -> str | None:
    """Return the rule that a list of augmentations breaks, or None."""
    known = get_args(Augmentation)
    if unknown := sorted(set(names) - set(known)):
        return f"augment must be among {', '.join(known)}, got {unknown}"
    if len(set(names)) < len(names):
        return f"augment must name each augmentation once, got {list(names)}"
    for pair in _EXCLUSIVE:
        if set(pair) <= set(names):
            return f"augment takes one of {' and '.join(pair)}, got both"
    return None


Metric = Literal["val_accuracy", "val_loss", "num_train_images", "num_parameters", "flops", "seconds"]
"""What trials can be compared by: numbers of a result, or facts of a trial."""
Goal = Literal["maximize", "minimize"]


class DataSection(FrozenModel):
    """Which images, how many are held out, and how they are augmented."""

    dataset: Annotated[str, Field(min_length=1)]
    """A name of the catalogue (`data list`), `parquet:PATH` or `folder:PATH`."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Side in pixels to which every image is brought, middle kept; by default images keep their size, one for all."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the training images held out, class by class; never trained on."""
    scale_validation: bool = False
    """Whether a trial is validated on as small a share of those held out, nested too, as it trains on of the rest."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to training images; the order of the names does not matter."""

    @field_validator("augment")
    @classmethod
    def _sensible_augment(cls, names: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        if rule := augment_rule(names):
            raise ValueError(rule)
        return names


class TrainingSection(FrozenModel):
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
    patience: Annotated[int, Field(ge=1)] | None = None
    """Evaluations in a row without a higher val_accuracy after which a trial ends, complete, before its length."""

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


class SearchSection(FrozenModel):
    """How each cell is searched, and by which number trials are compared."""

    sampler: ComponentConfig = ComponentConfig(name="tpe")
    """Optuna sampler of every cell's study, with arguments of its constructor: {name: tpe, n_startup_trials: 20}."""
    pruner: ComponentConfig = ComponentConfig(name="none")
    """Optuna pruner of every cell's study; it compares trials of one cell only, and counts in reports."""
    trials_per_cell: Annotated[int, Field(ge=1)]
    """Trials of every cell: equal budgets."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often every cell is searched, each time on a subset draw of its own; short for the factor draw."""
    metric: Metric | Annotated[tuple[Metric, ...], Field(min_length=1)] = "val_accuracy"
    """The number by which trials are compared, as reported last; several make a Pareto front, the first one leads."""
    goal: Goal | Annotated[tuple[Goal, ...], Field(min_length=1)] = "maximize"
    """Which direction of the metric, or of each, is better."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The number from which every seed of the search is derived."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """How often a trial that died of an outside cause (node, memory) goes on from its checkpoint."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds of training after which a report is followed by a checkpoint; 0 means after every report."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric; the first one leads: it picks the best trial, and is what is shown of a trial."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The direction of each metric."""
        return (self.goal,) if isinstance(self.goal, str) else self.goal

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_name(cls, named: ComponentConfig, info: ValidationInfo) -> ComponentConfig:
        assert info.field_name is not None
        if rule := name_rule(info.field_name, named.name, SAMPLERS if info.field_name == "sampler" else PRUNERS):
            raise ValueError(rule)
        return named

    @model_validator(mode="after")
    def _sensible_goals(self) -> Self:
        if len(self.goals) != len(self.metrics):
            raise ValueError(f"each metric needs a goal, got {len(self.metrics)} metrics and {len(self.goals)} goals")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics must be distinct, got {list(self.metrics)}")
        for metric, goal in zip(self.metrics, self.goals, strict=True):
            better = "maximize" if metric == "val_accuracy" else "minimize"
            if goal != better:
                raise ValueError(f"goal of metric {metric} must be {better}, got {goal}")
        if not self.metrics[0].startswith("val_"):
            raise ValueError(f"the first metric leads and must be val_accuracy or val_loss, got {self.metrics[0]}")
        return self


class LimitsSection(FrozenModel):
    """When a search ends before its budget is spent; what is finished stays, and the same command goes on."""

    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of a driver after which no trial or replicate is started; those that run are finished."""
    max_failures: Annotated[int, Field(ge=0)] | None = None
    """Failed trials of the search, or replicates of a round, beyond which none is started; 0 stops at the first."""
    plateau: Annotated[int, Field(ge=1)] | None = None
    """Complete trials in a row without a better value after which a cell is given no new one."""


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


def _problems(spec: SearchSpec) -> Iterator[Problem]:
    if "flip" in spec.data.augment and spec.data.dataset in _SHOW_DIGITS:
        rule = f"flip makes other signs of digits, or none, so {spec.data.dataset} cannot be augmented by it"
        yield Problem(("data", "augment", spec.data.augment.index("flip")), rule)
    yield from _name_problems(spec)
    yield from factor_problems(spec.factors, spec.design, spec.base, spec.exclude)
    yield from repeats_problems(spec.factors, spec.exclude, spec.search.repeats, spec.confirm)
    for name, factor in spec.factors.items():
        for i, level in enumerate(factor.levels):
            yield from _value_problems(name, level, ("factors", name, "levels", i))
    for name, domain in spec.parameters.items():
        for edge in domain.edges():
            yield from _value_problems(name, edge, ("parameters", name))
        yield from _condition_problems(spec, name, domain)
    try:
        parameter_order(spec.parameters)
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


def _value_problems(name: str, value: Scalar, location: tuple[str | int, ...]) -> Iterator[Problem]:
    rule = broken_rule(name, value) if name in NAMES else None
    if rule is not None:
        yield Problem(location, f"{rule}, got {value!r}")


def _possible_values(spec: SearchSpec, name: str) -> Container[Scalar]:
    if name in spec.factors:
        return spec.factors[name].levels
    domain = spec.parameters[name]
    return domain.edges() if isinstance(domain, FloatRange) else domain.values()


def parameter_order(parameters: Mapping[str, Domain]) -> tuple[str, ...]:
    """Names of the parameters, each after those its condition depends on; graphlib.CycleError if there is no order."""
    graph = {name: [other for other in domain.when if other in parameters] for name, domain in parameters.items()}
    return tuple(TopologicalSorter(graph).static_order())
