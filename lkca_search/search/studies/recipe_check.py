"""Checks of the names in a space file: every name applies to its optimizer, its schedule and its own family."""

from collections.abc import Iterator
from itertools import islice

from lkca_search.errors import Location, Problem, did_you_mean
from lkca_search.own_code import is_dotted
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import NAMES, OPTIMIZER_NAMES, OPTIMIZERS, Configuration, Scalar, without_own_names
from lkca_search.spec.domains import Domain
from lkca_search.spec.recipe.rules import recipe_problems
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.own_optimizers import own_optimizer_problem

_MAX_RECIPES = 2_000
"""Maximum number of recipes, and of combinations of conditions, of a cell that are checked."""
_Levels = tuple[tuple[str, Scalar], ...]


def find_recipe_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each rule that a recipe breaks, once. Recipes are checked at the edges of their parameters."""
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


def find_foreign_names(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each name of your own that a configuration of another family has, such as `lkca`."""
    in_conditions = {name for domain in spec.parameters.values() for name in domain.when} | {"family"}

    def edges(name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in in_conditions else domain.edges()[:1]

    own_families = ", ".join(family for family in map(str, spec.families) if is_dotted(family))
    found: set[str] = set()
    for cell in cells(spec) if spec.own_names else ():
        for chosen in islice(spec.space.branch(edges, cell.levels), _MAX_RECIPES):
            family = str(chosen["family"]) if "family" in chosen else None
            for name in spec.own_names:
                if name in chosen and name not in found and not (family and is_dotted(family)):
                    found.add(name)
                    section = "factors" if name in spec.factors else "parameters"
                    rule = f"{name} is no name of family {family or 'lkca'}{did_you_mean(name, NAMES)}"
                    yield Problem(
                        (section, name), f"{rule}; give a name of your own when: {{family: [{own_families}]}}"
                    )


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
