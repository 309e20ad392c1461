"""Whether every configuration that a search can draw can be trained on its images."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from lkca_search.data.subsets import Indices, assign_images
from lkca_search.errors import DataError, Problem
from lkca_search.models.difference import ARCHITECTURE_NAMES, trains_same_model
from lkca_search.models.family import without_common
from lkca_search.models.registry import problems as model_problems
from lkca_search.models.registry import resolve
from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.search.studies.study import find_suggestion_problems
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Configuration, ImageShape, Scalar
from lkca_search.spec.domains import Domain
from lkca_search.spec.search_spec import SearchSpec

T = TypeVar("T")
_MOST_COMBINATIONS = 20_000
_MOST_MATCHED = 64
"""Of combinations whose width is to be found: a hundred times the work."""
_COMPARED = 4
"""Combinations at which two cells are compared."""


def find_space_problems(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Every rule that the sampler, the pruner or a configuration breaks on images of this shape, each once.

    Parameters are tried at their edges (all values of a choice or a short range), in every combination of those that
    shape the model or decide where another exists, up to 20,000 a cell, or 64 spread over them where widths are to be
    found for `match_parameters`. Where no rule is broken, two cells that give the same model break one.
    """
    yield from list(find_sampler_problems(spec)) or find_suggestion_problems(spec)
    seen: set[str] = set()
    checked: set[Configuration] = set()
    for cell in cells(spec):
        for configuration in map(without_common, boundary_configurations(spec, cell)):
            if configuration in checked:
                continue
            checked.add(configuration)
            for problem in model_problems(configuration, shape, num_classes):
                if problem.rule not in seen:
                    seen.add(problem.rule)
                    yield Problem(_written_location(spec, problem.location), problem.rule)
    if not seen:
        yield from _same_models(spec, shape, num_classes)


def _same_models(spec: SearchSpec, shape: ImageShape, num_classes: int) -> Iterator[Problem]:
    """Every cell that gives the same model as an earlier one, for all that their parameters can be."""
    seen: set[str] = set()
    earlier: dict[tuple[tuple[str, Scalar], ...], list[tuple[Cell, list[Configuration]]]] = {}
    for cell in cells(spec):
        configurations = list(boundary_configurations(spec, cell))
        alike = earlier.setdefault(tuple(pair for pair in cell.levels.items() if pair[0] not in ARCHITECTURE_NAMES), [])
        for other, others in alike:
            pairs = list(zip(evenly_spaced(configurations, _COMPARED), evenly_spaced(others, _COMPARED), strict=False))
            if len(configurations) == len(others) and all(
                trains_same_model(one, two, shape, num_classes) for one, two in pairs
            ):
                one, two = (resolve(configuration, shape, num_classes) for configuration in pairs[0])
                rule = f"a factor level must change the model: {_differences(one, two)} give the same one"
                if rule not in seen:
                    seen.add(rule)
                    names = {**cell.levels, **other.levels}
                    factor = next(name for name in names if cell.levels.get(name) != other.levels.get(name))
                    yield Problem(("factors", factor), rule)
                break
        else:
            alike.append((cell, configurations))


def _differences(one: Configuration, other: Configuration) -> str:
    """What two configurations differ in: family=lkca_grouped,num_heads=1 and family=lkca."""
    names = [name for name in ARCHITECTURE_NAMES if getattr(one, name) != getattr(other, name)]
    sides = ([(name, getattr(side, name)) for name in names] for side in (one, other))
    return " and ".join(",".join(f"{name}={value}" for name, value in side if value is not None) for side in sides)


def boundary_configurations(spec: SearchSpec, cell: Cell) -> list[Configuration]:
    """The configurations at which a cell is tried."""
    combinations = list(islice(_edge_combinations(spec, cell), _MOST_COMBINATIONS))
    matched = "match_parameters" in cell.levels or "match_parameters" in spec.parameters
    tried = evenly_spaced(combinations, _MOST_MATCHED) if matched else combinations
    return [Configuration.model_validate(chosen) for chosen in tried]


def evenly_spaced(items: list[T], count: int) -> list[T]:
    """So many of the items, evenly spaced, the first and the last among them; all if there are no more."""
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def _edge_combinations(spec: SearchSpec, cell: Cell) -> Iterator[dict[str, Scalar]]:
    combined = {*ARCHITECTURE_NAMES}.union(*(domain.when for domain in spec.parameters.values()))

    def edges(name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in combined else domain.edges()[:1]

    return spec.space.branch(edges, cell.levels)


def _written_location(spec: SearchSpec, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    name = location[0] if location else ""
    for section in ("factors", "parameters"):
        if name in getattr(spec, section):
            return (section, *location)
    return (section,)


def find_subset_problems(spec: SearchSpec, labels: Indices) -> Iterator[Problem]:
    """Every size of a subset, as a level or at a parameter's edge, that cannot be drawn from these labels."""
    found = cells(spec)
    for name in ("data_fraction", "images_per_class"):
        for section, values in (
            ("factors", tuple(dict.fromkeys(cell.levels[name] for cell in found if name in cell.levels))),
            ("parameters", spec.parameters[name].edges() if name in spec.parameters else ()),
        ):
            for value in values:
                configuration = Configuration.model_validate({name: value})
                try:
                    # Which images does not matter, how many does: any seed will do.
                    assign_images(labels, spec.data, configuration, split_seed=0)
                except DataError as error:
                    yield Problem((section, name), str(error))
