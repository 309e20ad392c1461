"""Search spec: the content of a space file that has passed every rule."""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lkca_search.augmentations import with_joined_levels
from lkca_search.errors import Location, Problem, did_you_mean
from lkca_search.own_code import Kind, is_dotted
from lkca_search.paths import nearest_existing, parse_path
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import NAMES, Configuration, Scalar, in_order, own_name_rule
from lkca_search.spec.domains import (
    Domain,
    FloatRange,
    IntRange,
    Level,
    Space,
    cycle_problem,
    domain_problems,
    value_problems,
)
from lkca_search.spec.factors import (
    DRAW,
    Design,
    Exclusion,
    Factor,
    condition_rule,
    count_cells,
    draws_rule,
    factor_problems,
    repeats_of,
    with_repeats,
)
from lkca_search.spec.metrics import name_of
from lkca_search.spec.reading.limits import NUM_NAMES, REPLICATES, TRIALS, Limits, ReadingContext, breaks
from lkca_search.spec.recipe_space import RecipeSpace, dataset_problems, numerics_problems
from lkca_search.spec.resources import KeepSection, ResourcesSection
from lkca_search.spec.sections import ConfirmSection, DataSection, LimitsSection, SearchSection, TrainingSection

_MAX_PROBLEMS = 1_000
"""Maximum number of broken rules that are collected. A message shows fewer."""


class SearchSpec(FrozenModel):
    """Complete description of a search. Equal specs give equal searches."""

    data: DataSection
    factors: Mapping[str, Factor]
    """Name to levels; each combination of levels is a cell."""
    design: Design = "crossed"
    """`crossed`: all combinations of levels. `one_at_a_time`: the base, and each other level alone.

    The names that decide the subset (data_fraction, images_per_class, draw) are crossed in both designs.
    """
    base: Mapping[str, Level] = {}
    """Base level per factor of a one-at-a-time design; by default its first level."""
    exclude: tuple[Exclusion, ...] = ()
    """Combinations of levels to leave out."""
    parameters: Mapping[str, Domain]
    """Name to domain; searched in every cell in which the condition holds."""
    training: TrainingSection
    search: SearchSection
    resources: ResourcesSection = ResourcesSection()
    limits: LimitsSection = LimitsSection()
    confirm: ConfirmSection | None = None
    """Confirmation at the end of `run`; None leaves it to the command `confirm`."""
    keep: KeepSection = KeepSection()
    storage: str | None = None
    """Folder of records and checkpoints: file:///PATH, s3://BUCKET/PATH or gs://BUCKET/PATH; by default the home."""

    @property
    def space(self) -> Space[Domain]:
        """Conditional space of the parameters."""
        return Space(self.parameters)

    @property
    def recipes(self) -> RecipeSpace:
        """Datasets, batch sizes, augmentations and lengths of the trainings."""
        names = ("factors", "design", "base", "exclude", "parameters", "data", "training")
        return RecipeSpace(**{name: getattr(self, name) for name in names})

    @model_validator(mode="before")
    @classmethod
    def _join_augmentations(cls, content: Any) -> Any:
        return with_joined_levels(content)

    @property
    def families(self) -> tuple[Scalar, ...]:
        """Every model family that a trial may have."""
        return self.values_of("family") or (Configuration().family,)

    def values_of(self, name: str) -> tuple[Scalar, ...]:
        """Return the levels of a factor, or the values at the edges of a parameter; empty if it is neither."""
        if name in self.factors:
            return self.factors[name].levels
        return self.parameters[name].edges() if name in self.parameters else ()

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names of the factors and parameters that only a family of your own takes."""
        return tuple(name for name in in_order({**self.factors, **self.parameters}) if name not in NAMES)

    def own_code(self) -> Iterator[tuple[Kind, str]]:
        """Yield kind and dotted path of each object of your own code that the search uses, once."""
        named: list[tuple[Kind, Any]] = [("family", family) for family in self.families]
        datasets = (self.data.dataset, *self.data.sources.values(), *self.values_of("dataset"))
        named += [("dataset", dataset) for dataset in datasets]
        named += [("optimizer", optimizer) for optimizer in self.values_of("optimizer")]
        named += [("metric", name_of(metric)) for metric in self.search.measured]
        augment = [*self.data.augment, *(name for level in self.values_of("augment") for name in str(level).split("+"))]
        named += [("augment", name) for name in augment]
        for component in (self.search.sampler, self.search.pruner):
            wraps: Any = component.arguments.get("wraps")
            inner = wraps.get("name") if isinstance(wraps, Mapping) else wraps
            kind: Kind = "sampler" if component is self.search.sampler else "pruner"
            named += [(kind, component.name), (kind, inner)]
        yield from dict.fromkeys((kind, name) for kind, name in named if isinstance(name, str) and is_dotted(name))

    @model_validator(mode="after")
    def _add_repeats(self) -> Self:
        object.__setattr__(self, "factors", with_repeats(self.factors, self.search.repeats))
        if self.confirm is not None:
            object.__setattr__(self, "confirm", with_draws(self.confirm, len(repeats_of(self.factors, self.exclude))))
        return self

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, storage: str | None, info: ValidationInfo) -> str | None:
        if storage is not None and isinstance(path := parse_path(storage), Path):
            if not path.is_absolute():
                raise ValueError(f"storage must be an absolute path or a URL, got {storage!r}")
            # A stored spec is read even if the folder is gone.
            if isinstance(info.context, Limits) and not (found := nearest_existing(path)).is_dir():
                raise ValueError(f"storage must be a folder, got {storage!r}, and {found} is none; give another path")
        return storage

    @model_validator(mode="after")
    def _check_rules(self, info: ValidationInfo) -> Self:
        problems = list(islice(_problems(self, info.context), _MAX_PROBLEMS))
        if problems:
            raise PydanticCustomError("spec_rules", "{summary}", {"summary": problems[0].rule, "problems": problems})
        return self


def with_draws(confirm: ConfirmSection, repeats: int) -> ConfirmSection:
    """Return the section `confirm` with one draw per repeat, unless its number of draws is given."""
    if not repeats or "draws" in confirm.model_fields_set:
        return confirm
    return confirm.model_copy(update={"draws": repeats})


def _problems(spec: SearchSpec, limits: Any) -> Iterator[Problem]:
    values = [*_all_value_problems(spec, limits), *_unknown_dataset_problems(spec, limits)]
    broken = {str(problem.location[1]) for problem in values if problem.location[0] in ("factors", "parameters")}
    yield from dataset_problems(spec.factors, spec.parameters, spec.data)
    problems = [*_name_problems(spec)]
    num_names = len(spec.factors) + len(spec.parameters)
    if breaks(limits, NUM_NAMES, num_names):
        problems.append(Problem(("factors",), NUM_NAMES.rule("the number of factors and parameters", num_names)))
    else:
        problems += factor_problems(spec.factors, spec.design, spec.base, spec.exclude, limits, broken=broken)
    yield from problems or _size_problems(spec, limits)
    yield from _repeats_problems(spec.factors, spec.exclude, spec.search.repeats, spec.confirm)
    values += _condition_problems(spec, broken)
    yield from values
    if cycle := cycle_problem(spec.space, "parameters"):
        yield cycle
    elif not problems and not values:
        yield from spec.recipes.problems(limits)
    yield from _search_problems(spec)


def _all_value_problems(spec: SearchSpec, limits: Any) -> Iterator[Problem]:
    for name, factor in spec.factors.items():
        for i, level in enumerate(factor.levels):
            yield from value_problems(name, level, ("factors", name, "levels", i), limits)
    for name, domain in spec.parameters.items():
        yield from domain_problems(name, domain, limits)
    yield from numerics_problems(spec.factors, spec.parameters, uses_gpu=spec.resources.uses_gpu)


def _unknown_dataset_problems(spec: SearchSpec, limits: Any) -> Iterator[Problem]:
    """Yield each dataset that does not exist, if the context of the validation has the datasets."""
    if not isinstance(limits, ReadingContext):
        return
    named: list[tuple[str | None, Location]] = [(None, ("data", "dataset"))] if spec.data.dataset else []
    for i, level in enumerate(spec.values_of("dataset")):
        source, place = ("data", "sources", str(level)), ("factors", "dataset", "levels", i)
        named.append((str(level), source if str(level) in spec.data.sources else place))
    for name, location in named:
        if rule := limits.dataset_rule(spec.data.place_of(name)):
            yield Problem(location, rule)


def _size_problems(spec: SearchSpec, limits: Any) -> Iterator[Problem]:
    """Yield each total of trainings over its limit. `factors` and `exclude` break no rule."""
    num_cells = count_cells(spec.factors, spec.design, spec.base, spec.exclude)
    num_trials = num_cells * spec.search.trials_per_cell
    if breaks(limits, TRIALS, num_trials):
        got = f"{num_trials:,} ({num_cells:,} cells of {spec.search.trials_per_cell:,})"
        yield Problem(("search", "trials_per_cell"), TRIALS.rule("the number of trials", got))
    confirm = spec.confirm
    if confirm is None:
        return
    num_replicates = num_cells * confirm.top * confirm.draws * confirm.seeds
    if breaks(limits, REPLICATES, num_replicates):
        factors = (num_cells, confirm.top, confirm.draws, confirm.seeds)
        got = f"{num_replicates:,} (cells x top x draws x seeds: {' x '.join(f'{factor:,}' for factor in factors)})"
        yield Problem(("confirm",), REPLICATES.rule("the number of replicates", got))


def _name_problems(spec: SearchSpec) -> Iterator[Problem]:
    for section, names in (("factors", spec.factors), ("parameters", spec.parameters)):
        for name in names:
            if name in NAMES:
                continue
            if not any(is_dotted(str(family)) for family in spec.families):
                hint = did_you_mean(name, NAMES)
                yield Problem((section, name), f"unknown name {name!r}{hint}; known names: {', '.join(NAMES)}")
            elif rule := own_name_rule(name):
                yield Problem((section, name), rule)
    for name in spec.parameters:
        if name in spec.factors:
            yield Problem(("parameters", name), f"{name} must be either a factor or a parameter, got both")
    if {"data_fraction", "images_per_class"} <= {*spec.factors, *spec.parameters}:
        section = "factors" if "images_per_class" in spec.factors else "parameters"
        rule = "a space file must have at most one of data_fraction and images_per_class, got both"
        yield Problem((section, "images_per_class"), rule)


def _condition_problems(spec: SearchSpec, broken: Container[str]) -> Iterator[Problem]:
    """Yield each condition that cannot hold. Conditions on names with a broken value are not checked."""
    pairs = ((name, other) for name, domain in spec.parameters.items() for other in domain.when if other not in broken)
    for name, other in pairs:
        values = spec.parameters[name].when[other]
        if other not in spec.factors and other not in spec.parameters:
            hint = did_you_mean(other, (*spec.factors, *spec.parameters))
            unknown = f"`when` must name a factor or a parameter, got {other!r}{hint}"
            yield Problem(("parameters", name, "when", other), unknown)
            continue
        kind = "level of factor" if other in spec.factors else "value of parameter"
        if rule := condition_rule(values, _possible_values(spec, other), f"{kind} `{other}`"):
            yield Problem(("parameters", name, "when", other), rule)


def _search_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield every rule that the sampler or pruner breaks together with the rest of the space file."""
    sampler, pruner = spec.search.sampler.name, spec.search.pruner.name
    has_several_metrics = len(spec.search.metrics) > 1
    if has_several_metrics and pruner != "none":
        rule = f"pruner must be none with several metrics, since Optuna compares one value per step, got {pruner}"
        yield Problem(("search", "pruner"), rule)
    if has_several_metrics and sampler == "cmaes":
        yield Problem(("search", "sampler"), "sampler cmaes must have one metric, since it ranks trials by one value")
    if sampler == "cmaes" and not any(isinstance(domain, IntRange | FloatRange) for domain in spec.parameters.values()):
        rule = "parameters must have at least one range (int or float) for sampler cmaes, got none"
        yield Problem(("search", "sampler"), rule)
    for name, domain in spec.parameters.items():
        if sampler == "grid" and isinstance(domain, FloatRange):
            rule = f"{name} must not be a range of floats with sampler grid, which tries every value: make it a choice"
            yield Problem(("parameters", name), rule)


def _repeats_problems(
    factors: Mapping[str, Factor], exclude: Sequence[Exclusion], repeats: int, confirm: ConfirmSection | None
) -> Iterator[Problem]:
    """Yield every rule about repeats that is broken, where `repeats` is the number given in the section `search`."""
    if repeats > 1 and factors[DRAW] != Factor(levels=tuple(range(repeats))):
        rule = f"repeats must be left out if factor draw is given, unless its levels are 0 to {repeats - 1}"
        yield Problem(("search", "repeats"), rule)
    for i, entry in enumerate(exclude):
        if repeats > 1 and DRAW in entry:
            rule = "exclude must not name draw with search.repeats: every cell is repeated on each draw"
            yield Problem(("exclude", i, DRAW), rule)
    draws = repeats_of(factors, exclude)
    if confirm is not None and (broken := draws_rule(len(draws), confirm.draws)):
        yield Problem(("confirm", "draws"), broken)


def _possible_values(spec: SearchSpec, name: str) -> Container[Scalar]:
    if name in spec.factors:
        return spec.factors[name].levels
    domain = spec.parameters[name]
    return domain.edges() if isinstance(domain, FloatRange) else domain.values()
