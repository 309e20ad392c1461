"""Dataset, batch size, augmentations, length and precision of the trainings of a search, and their rules."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from pydantic import ValidationError

from lkca_search.augmentations import parse_augment
from lkca_search.errors import Location, Problem
from lkca_search.spec.configuration import LENGTH_NAMES, SECTIONS, Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, Space
from lkca_search.spec.factors import DATASET, Combination, Design, Exclusion, Factor, included
from lkca_search.spec.reading.limits import LIMIT_ERROR, Limits
from lkca_search.spec.resources import cpu_precision_rule
from lkca_search.spec.sections import DataSection, TrainingSection

_MAX_BRANCHES = 1_000
"""Maximum number of combinations of values per cell that are checked."""
_PATH_CHARACTERS = frozenset(":/\\")
_DIGIT_DATASETS = ("digits", "svhn")


@dataclass(frozen=True, kw_only=True)
class RecipeSpace:
    """Values that factors, parameters and sections give the dataset and the names of SECTIONS, in all cells."""

    factors: Mapping[str, Factor]
    design: Design
    base: Mapping[str, Scalar]
    exclude: Sequence[Exclusion]
    parameters: Mapping[str, Domain]
    data: DataSection
    training: TrainingSection

    @cached_property
    def recipes(self) -> tuple[Combination, ...]:
        """Distinct values that factors and parameters give a training. A long range is represented by its ends."""
        distinct: dict[tuple[tuple[str, Scalar], ...], Combination] = {}
        for levels in included(self.factors, self.design, self.base, self.exclude):
            for recipe in self.recipes_of(levels):
                distinct.setdefault(tuple(recipe.items()), recipe)
        return tuple(distinct.values())

    def recipes_of(self, levels: Mapping[str, Scalar]) -> Iterator[Combination]:
        """Yield the values of each combination of parameters in a cell; they may repeat."""
        names = [name for name in ("dataset", *SECTIONS) if name in self.factors or name in self.parameters]
        needed = [name for name in names if name in self.parameters]
        for name in needed:
            others = (other for other in self.parameters[name].when if other in self.parameters)
            needed.extend(other for other in others if other not in needed)
        space = Space({name: self.parameters[name] for name in needed})
        for chosen in islice(space.branch(lambda _, domain: domain.edges(), levels), _MAX_BRANCHES):
            yield {name: chosen[name] for name in names if name in chosen}

    def problems(self, limits: Any) -> Iterator[Problem]:
        """Yield every broken rule; `limits` is the context of the validation.

        Factors, parameters and sections break none by themselves.
        """
        seen: set[str] = set()
        for recipe in self.recipes:
            for problem in (*self._length_problems(recipe, limits), *self._flip_problems(recipe)):
                if problem.rule not in seen:
                    seen.add(problem.rule)
                    yield problem
        yield from self._bound_problems()
        if isinstance(limits, Limits):  # a stored spec has every default, as if it were given
            yield from self._unused_problems()

    def _length_problems(self, recipe: Combination, limits: Any) -> Iterator[Problem]:
        """Yield each rule of the section `training` that the length of a recipe breaks."""
        units = [name for name in LENGTH_NAMES if name in recipe]
        if len(units) > 1:
            rule = f"every training must have its length in one unit, got {' and '.join(units)}; give each a `when`"
            yield Problem(self._location(units[-1]), rule)
        elif not units and self.training.unit is None:
            yield Problem(("training",), f"training must have exactly one of {', '.join(LENGTH_NAMES)}, got none")
        elif units:
            section = self.training.of(Configuration.model_validate(recipe))
            try:
                TrainingSection.model_validate(section.model_dump(exclude_none=True), context=limits)
            except ValidationError as error:
                details = error.errors(include_url=False)[0]
                if details["type"] == LIMIT_ERROR:
                    rule = details["ctx"]["limit"].rule("training.reports", section.reports)
                else:
                    rule = details["msg"].removeprefix("Value error, ")
                yield Problem(self._location(units[0]), rule)

    def _flip_problems(self, recipe: Combination) -> Iterator[Problem]:
        """Yield the problem of a recipe that mirrors digits."""
        dataset, level = recipe.get("dataset", self.data.dataset), recipe.get("augment")
        names = self.data.augment if level is None else parse_augment(str(level))
        if dataset not in _DIGIT_DATASETS or "flip" not in names:
            return
        subject = "augment" if level is None else f"augment {level}"
        rule = f"{subject} must not have flip for {dataset}: a mirrored digit is no digit, or another one"
        if level is None:
            yield Problem(("data", "augment", names.index("flip")), rule)
        else:
            levels = self.factors["augment"].levels if "augment" in self.factors else ()
            yield Problem((*self._location("augment"), *(("levels", levels.index(level)) if levels else ())), rule)

    def _bound_problems(self) -> Iterator[Problem]:
        """Yield each floor or cap of a length in epochs that no training has."""
        if self.training.epochs is not None or any("epochs" in recipe for recipe in self.recipes):
            return
        for bound in ("min_steps", "max_steps"):
            if (given := getattr(self.training, bound)) is not None:
                rule = f"{bound} must be given with epochs, whose steps it bounds, got {given} without epochs"
                yield Problem(("training", bound), rule)

    def _unused_problems(self) -> Iterator[Problem]:
        """Yield each value that a section gives and no training takes, because every cell has its own."""
        for name, section in SECTIONS.items():
            values = getattr(self, section)
            alike = LENGTH_NAMES if name in LENGTH_NAMES else (name,)
            if name not in values.model_fields_set or getattr(values, name) is None:
                continue
            if all(any(other in recipe for other in alike) for recipe in self.recipes):
                givers = [other for other in alike if other in self.factors or other in self.parameters]
                kind = " and ".join(f"{self._location(other)[0][:-1]} {other}" for other in givers)
                value = getattr(values, name)
                got = list(value) if isinstance(value, tuple) else value
                rule = f"{section}.{name} must be left out if {kind} gives every cell its own, got {got}"
                yield Problem((section, name), f"{rule}: remove it, or give {kind} a `when`")

    def _location(self, name: str) -> tuple[str, str]:
        return ("factors" if name in self.factors else "parameters", name)


def dataset_problems(factors: Mapping[str, Factor], parameters: Container[str], data: DataSection) -> Iterator[Problem]:
    """Yield every rule that the datasets of a space file break."""
    factor = factors.get(DATASET)
    if DATASET in parameters:
        rule = "dataset must be a factor, not a parameter: accuracies on different datasets cannot be compared"
        yield Problem(("parameters", DATASET), rule)
    elif factor is None and data.dataset is None:
        yield Problem(("data", "dataset"), "required key data.dataset is missing; give it, or the factor dataset")
    elif factor is not None and data.dataset is not None:
        rule = f"data.dataset must be left out if dataset is a factor, got {data.dataset}"
        yield Problem(("data", "dataset"), rule)
    if factor is not None and factor.when:
        yield Problem(("factors", DATASET, "when"), "factor dataset must have no `when`: every cell needs a dataset")
    levels = factor.levels if factor else ()
    for i, level in enumerate(levels):
        if not _is_name(level):
            rule = f"a level of dataset must be a name, got {level!r}"
            remedy = "give a path as data.sources: {NAME: folder:PATH}, and its NAME as level"
            yield Problem(("factors", DATASET, "levels", i), f"{rule}; {remedy}")
    for name in data.sources:
        if name not in (*levels, data.dataset):
            rule = f"data.sources must have only datasets of the search ({_join(levels, data)}), got {name}"
            yield Problem(("data", "sources", name), rule)


def numerics_problems(
    factors: Mapping[str, Factor], parameters: Mapping[str, Domain], *, uses_gpu: bool
) -> Iterator[Problem]:
    """Yield each value of `precision` and `compile` that a CPU does not have, or that another value may stand for."""
    for name in ("precision", "compile"):
        for location, values in _listed_values(factors, parameters, name):
            for i, value in enumerate(values):
                place = (*location, i) if location[-1] in ("levels", "choice") else location
                if value == "auto" and len(values) > 1:
                    reason = "auto stands for one of the others"
                    yield Problem(
                        place, f"{name} must not have auto among several values, got {list(values)}: {reason}"
                    )
                elif name == "precision" and not uses_gpu:
                    if rule := cpu_precision_rule(str(value)):
                        yield Problem(place, f"{rule}; request a GPU with resources.gpu")


def _listed_values(
    factors: Mapping[str, Factor], parameters: Mapping[str, Domain], name: str
) -> Iterator[tuple[Location, tuple[Scalar, ...]]]:
    """Yield the location and the values of a name that is a factor or a parameter."""
    if name in factors:
        yield ("factors", name, "levels"), factors[name].levels
    if isinstance(domain := parameters.get(name), Choice):
        yield ("parameters", name, "choice"), domain.choice
    elif isinstance(domain, Fixed):
        yield ("parameters", name), (domain.value,)


def _is_name(level: Scalar) -> bool:
    """Return True if a level can be a part of the name of a folder."""
    return isinstance(level, str) and bool(level) and not _PATH_CHARACTERS & set(level)


def _join(levels: tuple[Scalar, ...], data: DataSection) -> str:
    return ", ".join(map(str, levels)) or str(data.dataset)
