"""Checks of a space file against its images: all configurations can be trained, and all cells differ."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from lkca_search.data.store import Images
from lkca_search.data.subsets import Indices, assign_images, hold_out, named_rule
from lkca_search.errors import DataError, Problem
from lkca_search.models.determinism import nondeterministic_operations
from lkca_search.models.difference import ARCHITECTURE_NAMES, is_of_architecture, trains_same_model
from lkca_search.models.family import COMMON, without_common
from lkca_search.models.matching import split_rule
from lkca_search.models.own_family import GIVEN
from lkca_search.models.registry import one_image_problem, resolve
from lkca_search.models.registry import problems as model_problems
from lkca_search.search.studies.equal_trainings import find_equal_datasets, find_equal_trainings
from lkca_search.search.studies.recipe_check import (
    find_foreign_names,
    find_recipe_problems,
    location_in_space_file,
)
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.starts import find_start_problems
from lkca_search.search.studies.study import find_suggestion_problems
from lkca_search.spec.cells import Cell, cells, specs_by_dataset
from lkca_search.spec.configuration import SIZE_NAMES, Configuration, ImageShape, Scalar, in_order
from lkca_search.spec.domains import Domain, may_hold
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile

T = TypeVar("T")
_Levels = tuple[tuple[str, Scalar], ...]
_MAX_COMBINATIONS = 20_000
_MAX_MATCHED = 64
"""Maximum number with `match_parameters`, which takes about a hundred times as long: it searches for a width."""
_NUM_COMPARED = 4
"""Number of configurations at which two cells are compared."""


def check_space(
    space_file: SpaceFile, images: Mapping[str | None, Images], *, started: SearchSpec | None = None
) -> None:
    """Raise SpaceFileError if a configuration cannot be trained on the images of its dataset, or two cells are equal.

    Args:
        space_file: Space file of the search.
        images: Training images per level of the factor `dataset`; the level is None without this factor.
        started: Spec of the search that the space file resumes: its sizes may be equal.
    """
    specs = specs_by_dataset(space_file.spec)
    earlier = specs_by_dataset(started) if started is not None else None

    if foreign := list(find_foreign_names(space_file.spec)):
        raise space_file.error(foreign)

    def find_first(level: str | None) -> Iterator[Problem]:
        spec, opened = specs[level], images[level]
        yield from find_space_problems(spec, opened.shape, len(opened.class_names))
        yield from find_subset_problems(spec, opened.labels, started=started, class_names=opened.class_names)
        recipes = list(find_recipe_problems(spec))
        yield from recipes
        if not recipes:
            yield from find_equal_trainings(spec, opened.labels, started=(earlier or {}).get(level))

    def find_second(level: str | None) -> Iterator[Problem]:
        spec, opened = specs[level], images[level]
        yield from find_batch_problems(spec, opened.shape, len(opened.class_names))
        yield from find_determinism_problems(spec, opened.shape, len(opened.class_names))

    problems = [*_find_in_each(specs, find_first), *find_equal_datasets(space_file.spec, images)]
    problems = problems or list(_find_in_each(specs, find_second))
    if problems:
        raise space_file.error(problems)


def _find_in_each(levels: Iterable[str | None], find: Callable[[str | None], Iterable[Problem]]) -> Iterator[Problem]:
    """Yield the problems that `find` finds for each dataset, each once, with the level of the dataset in its rule."""
    found = ((level, problem) for level in levels for problem in find(level))
    first = dict[Problem, str | None]()
    for level, problem in found:
        first.setdefault(problem, level)
    for problem, level in first.items():
        yield problem if level is None else problem._replace(rule=f"{problem.rule} (dataset {level})")


def find_space_problems(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield each rule that the sampler, the pruner or a configuration breaks on images of this shape, once.

    Configurations are checked at the edges of their parameters, which are all values of a choice or a short range.
    All combinations of parameters that shape the model or occur in a condition are checked, up to 20,000 per cell.
    With `match_parameters`, 64 evenly spaced ones are checked. If no configuration breaks a rule, two cells with equal
    models are a problem.
    """
    yield from [*find_sampler_problems(spec), *find_start_problems(spec)] or find_suggestion_problems(spec)
    found: dict[tuple[str, ...], list[Problem]] = {}
    checked: set[Configuration] = set()
    for cell in _model_cells(spec, cells(spec)):
        for configuration in map(without_common, boundary_configurations(spec, cell)):
            if configuration in checked:
                continue
            checked.add(configuration)
            for problem in model_problems(configuration, shape, num_classes):
                found.setdefault(_kind_of(problem.rule), []).append(problem)
    for problems in found.values():
        yield Problem(location_in_space_file(spec, problems[0].location), _join_rules(problems))
    if not found:
        yield from _find_equal_models(spec, shape, num_classes)


def _kind_of(rule: str) -> tuple[str, ...]:
    """Return the parts of a rule that are equal for all configurations of a family that break it in one way."""
    what, given, error = rule.partition(GIVEN)
    return (what, error.rpartition(" (")[2]) if given else (split_rule(rule)[0],)


def _join_rules(problems: Sequence[Problem]) -> str:
    """Return the rule that configurations break in one way: the first one, or the range of the sizes."""
    rules = list(dict.fromkeys(problem.rule for problem in problems))
    if len(rules) < 2:
        return rules[0]
    rule, before, _ = split_rule(rules[0])
    if not before:
        return f"{rules[0]}; so do {len(rules) - 1} more configurations"
    sizes = sorted((split_rule(each)[2] for each in rules), key=lambda size: int(size.split()[0]))
    return f"{rule}{before}from {sizes[0]} to {sizes[-1]}, as the other hyperparameters are"


def _find_equal_models(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield a problem if a cell's models equal those of an earlier cell at a few configurations; each rule once."""
    seen: set[str] = set()
    sampled: dict[_Levels, tuple[int, list[Configuration]]] = {}
    earlier: dict[_Levels, list[tuple[Cell, int, list[Configuration]]]] = {}
    for cell in cells(spec):
        model_cell = _model_cell(spec, cell)
        key = tuple(model_cell.levels.items())
        if key not in sampled:
            every = boundary_configurations(spec, model_cell)
            sampled[key] = len(every), evenly_spaced(every, _NUM_COMPARED)
        count, configurations = sampled[key]
        alike = earlier.setdefault(tuple(pair for pair in cell.levels.items() if not is_of_architecture(pair[0])), [])
        for other, other_count, others in alike:
            pairs = list(zip(configurations, others, strict=False))
            if count == other_count and all(trains_same_model(one, two, shape, num_classes) for one, two in pairs):
                one, two = (resolve(configuration, shape, num_classes) for configuration in pairs[0])
                rule = f"a factor level must change the model, got equal models for {_show_differences(one, two)}"
                if rule not in seen:
                    seen.add(rule)
                    names = {**cell.levels, **other.levels}
                    factor = next(name for name in names if cell.levels.get(name) != other.levels.get(name))
                    yield Problem(("factors", factor), rule)
                break
        else:
            alike.append((cell, count, configurations))


def _model_cells(spec: SearchSpec, chosen: Iterable[Cell]) -> list[Cell]:
    """Return each model cell of the chosen cells once."""
    model_cells = (_model_cell(spec, cell) for cell in chosen)
    return list({tuple(cell.levels.items()): cell for cell in model_cells}.values())


def _model_cell(spec: SearchSpec, cell: Cell) -> Cell:
    """Return the cell without levels on which no model depends: cells that differ in these alone are checked once."""
    in_conditions = {name for domain in spec.parameters.values() for name in domain.when}
    kept = in_conditions | {"family"}
    return Cell(levels={name: level for name, level in cell.levels.items() if name not in COMMON or name in kept})


def _show_differences(one: Configuration, other: Configuration) -> str:
    """Format the values in which two configurations differ: family=lkca_grouped,num_heads=1 and family=lkca."""
    every = in_order({*ARCHITECTURE_NAMES, *one.own, *other.own})
    names = [name for name in every if getattr(one, name) != getattr(other, name)]
    sides = ([(name, getattr(side, name)) for name in names] for side in (one, other))
    return " and ".join(",".join(f"{name}={value}" for name, value in side if value is not None) for side in sides)


def boundary_configurations(spec: SearchSpec, cell: Cell) -> list[Configuration]:
    """Return the configurations of a cell at the edges of its parameters."""
    combinations = list(islice(_boundary_combinations(spec, cell), _MAX_COMBINATIONS))
    is_matched = "match_parameters" in cell.levels or "match_parameters" in spec.parameters
    checked = evenly_spaced(combinations, _MAX_MATCHED) if is_matched else combinations
    return [Configuration.model_validate(chosen) for chosen in checked]


def sampled_models(spec: SearchSpec) -> Iterator[Configuration]:
    """Yield up to four evenly spaced boundary configurations per model cell and dataset."""
    for level, part in specs_by_dataset(spec).items():
        for cell in _model_cells(part, cells(part)):
            for configuration in evenly_spaced(boundary_configurations(part, cell), _NUM_COMPARED):
                yield configuration.model_copy(update={"dataset": level})


def evenly_spaced(items: list[T], count: int) -> list[T]:
    """Return `count` evenly spaced items, including the first and the last; all items if there are fewer."""
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def _boundary_combinations(spec: SearchSpec, cell: Cell) -> Iterator[dict[str, Scalar]]:
    combined = {name for domain in spec.parameters.values() for name in domain.when}

    def edges(name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in combined or is_of_architecture(name) else domain.edges()[:1]

    return spec.space.branch(edges, cell.levels)


def find_subset_problems(
    spec: SearchSpec, labels: Indices, *, started: SearchSpec | None = None, class_names: Sequence[str] = ()
) -> Iterator[Problem]:
    """Yield each subset size that cannot be drawn from these labels, or has the images of an earlier size.

    Sizes are levels, and values at the edges of a parameter. Two sizes of `started` may be equal: an earlier version
    has accepted them. Messages have the names of classes if they are given, else their labels.
    """
    try:
        hold_out(labels, fraction=spec.data.validation, seed=0)
    except DataError as error:
        yield Problem(("data", "dataset"), named_rule(error, class_names))
        return
    for section, name, values in _subset_sizes(spec):
        known = [value for *place, old in _subset_sizes(started) if place == [section, name] for value in old]
        first_of: dict[int, Scalar] = {}
        for value in values:
            configuration = Configuration.model_validate({name: value})
            try:
                # The seed does not matter: only the numbers of images are checked.
                count = len(assign_images(labels, spec.data, configuration, split_seed=0).train)
            except DataError as error:
                yield Problem((section, name), named_rule(error, class_names))
                continue
            first = first_of.setdefault(count, value)
            if first != value and not {first, value} <= set(known):
                rule = (
                    f"values of {name} must give different numbers of training images, "
                    f"got {count} for {first} and for {value}; remove one of them"
                )
                levels = spec.factors[name].levels if section == "factors" else ()
                yield Problem((section, name, *(("levels", levels.index(value)) if levels else ())), rule)


def find_batch_problems(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield each family that cannot train with `batch_size: 1`.

    With any other batch size no batch has one image: a subset has at least one image per class.
    """
    alone = [cell for cell in cells(spec) if 1 in _batch_sizes(spec, cell)]
    for family, reason in _first_per_family(spec, alone, lambda model: one_image_problem(model, shape, num_classes)):
        rule = f"batch_size must be at least 2 for family {family}, got 1 ({reason})"
        section = next((part for part in ("factors", "parameters") if "batch_size" in getattr(spec, part)), "training")
        yield Problem((section, "batch_size"), rule)


def _batch_sizes(spec: SearchSpec, cell: Cell) -> set[Scalar]:
    return {recipe.get("batch_size", spec.training.batch_size) for recipe in spec.recipes.recipes_of(cell.levels)}


def find_determinism_problems(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Yield each family whose trials would fail on a GPU, at an operation without a deterministic implementation."""
    if not spec.resources.uses_gpu or spec.training.deterministic == "warn":
        return
    operations = partial(nondeterministic_operations, shape=shape, num_classes=num_classes)
    for family, names in _first_per_family(spec, cells(spec), operations):
        rule = f"deterministic must be warn for family {family} on a GPU, got strict"
        reason = f"without a deterministic implementation on CUDA: {', '.join(names)}"
        yield Problem(("training", "deterministic"), f"{rule} ({reason})")


def _first_per_family(
    spec: SearchSpec, chosen: Iterable[Cell], find: Callable[[Configuration], T]
) -> Iterator[tuple[str, T]]:
    """Yield the first true result of `find` per family, over boundary configurations of the chosen cells."""
    found: set[str] = set()
    for cell in _model_cells(spec, chosen):
        for configuration in evenly_spaced(boundary_configurations(spec, cell), _NUM_COMPARED):
            if configuration.family not in found and (result := find(without_common(configuration))):
                found.add(configuration.family)
                yield configuration.family, result


def _subset_sizes(spec: SearchSpec | None) -> Iterator[tuple[str, str, tuple[Scalar, ...]]]:
    """Yield section, name and values of the subset sizes: the levels in cells, and the edges of a parameter."""
    if spec is None:
        return
    all_cells = cells(spec)
    for name in SIZE_NAMES:
        yield "factors", name, tuple(dict.fromkeys(cell.levels[name] for cell in all_cells if name in cell.levels))
        yield "parameters", name, _edges_in(all_cells, spec, name)


def _edges_in(all_cells: Sequence[Cell], spec: SearchSpec, name: str) -> tuple[Scalar, ...]:
    """Return the edges of a parameter that exists in one of the cells; none otherwise."""
    domain = spec.parameters.get(name)
    exists = domain is not None and any(may_hold(domain.when, cell.levels, spec.factors) for cell in all_cells)
    return domain.edges() if domain is not None and exists else ()
