"""Checks of the recipes of a space file: every name has an effect, and no two cells train the same way."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice

from lkca_search.data.subsets import Indices, assign_images
from lkca_search.errors import DataError, Location, Problem
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import OPTIMIZER_NAMES, OPTIMIZERS, Configuration, Scalar, without_own_names
from lkca_search.spec.domains import Domain
from lkca_search.spec.recipe.rules import normal_recipe, recipe_problems
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.own_optimizers import own_optimizer_problem

_MAX_RECIPES = 2_000
"""Maximum number of recipes of a cell that are checked."""
_Levels = tuple[tuple[str, Scalar], ...]


def find_recipe_problems(spec: SearchSpec, labels: Indices) -> Iterator[Problem]:
    """Yield each rule that a recipe breaks, once; or else each pair of cells whose recipes train the same way.

    Recipes are checked at the edges of their parameters. `labels` are those of the training images.
    """
    seen: set[str] = set()
    recipes: dict[_Levels, list[Configuration]] = {}
    for cell in cells(spec):
        if (levels := _recipe_levels(spec, cell)) not in recipes:
            recipes[levels] = _recipes(spec, levels)
    for configuration in (each for configurations in recipes.values() for each in configurations):
        for problem in (*recipe_problems(configuration), *_own_optimizer_problems(configuration)):
            if problem.rule not in seen:
                seen.add(problem.rule)
                yield Problem(location_in_space_file(spec, problem.location), problem.rule)
    if not seen:
        yield from _find_equal_recipes(spec, labels, recipes)


def _own_optimizer_problems(configuration: Configuration) -> Iterator[Problem]:
    if configuration.optimizer not in OPTIMIZERS and (problem := own_optimizer_problem(configuration)):
        yield problem


def location_in_space_file(spec: SearchSpec, location: Location) -> Location:
    """Return the location in the space file of a value of a configuration."""
    name = location[0] if location else ""
    for section in ("factors", "parameters"):
        if name in getattr(spec, section):
            return (section, *location)
    return (section,)


def _combined_names(spec: SearchSpec) -> set[str]:
    """Return the names of recipes, and those on which a parameter depends."""
    return {*OPTIMIZER_NAMES}.union(*(domain.when for domain in spec.parameters.values()))


def _recipe_levels(spec: SearchSpec, cell: Cell) -> _Levels:
    """Return the levels of a cell that decide its recipes."""
    combined = _combined_names(spec)
    return tuple(pair for pair in cell.levels.items() if pair[0] in combined)


def _recipes(spec: SearchSpec, levels: _Levels) -> list[Configuration]:
    """Return the configurations with these levels, at the edges of the names of a recipe."""
    combined = _combined_names(spec)

    def edges(name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in combined else domain.edges()[:1]

    chosen = islice(spec.space.branch(edges, dict(levels)), _MAX_RECIPES)
    return [without_own_names(values) for values in chosen]


def _find_equal_recipes(
    spec: SearchSpec, labels: Indices, recipes: dict[_Levels, list[Configuration]]
) -> Iterator[Problem]:
    """Yield a problem per factor of the recipe whose levels give cells that train the same way."""
    alike: dict[_Levels, list[Cell]] = defaultdict(list)
    for cell in cells(spec):
        alike[tuple(pair for pair in cell.levels.items() if pair[0] not in OPTIMIZER_NAMES)].append(cell)
    seen: set[str] = set()
    for group in alike.values():
        first_of: dict[frozenset[Configuration], Cell] = {}
        is_balanced = len(group) > 1 and _has_equal_classes(spec, group[0], labels)
        for cell in group if len(group) > 1 else ():
            of_cell = recipes[_recipe_levels(spec, cell)]
            forms = frozenset(normal_recipe(recipe, balanced_classes=is_balanced) for recipe in of_cell)
            first = first_of.setdefault(forms, cell)
            if first is cell:
                continue
            names = [name for name in OPTIMIZER_NAMES if first.levels.get(name) != cell.levels.get(name)]
            sides = [",".join(f"{name}={side.levels.get(name)}" for name in names) for side in (first, cell)]
            rule = f"a factor level must change the training, got equal trainings for {sides[0]} and {sides[1]}"
            if names == ["class_weights"]:
                rule += ": every class has as many training images"
            if rule not in seen:
                seen.add(rule)
                yield Problem(("factors", names[0]), rule)


def _has_equal_classes(spec: SearchSpec, cell: Cell, labels: Indices) -> bool:
    """Return True if every class has as many training images as any other."""
    try:
        train = assign_images(labels, spec.data, without_own_names(cell.levels), split_seed=0).train
    except DataError:
        return False  # another check reports it
    counts = Counter(labels[train].tolist())
    return len(counts) == len(set(labels.tolist())) and len(set(counts.values())) == 1
