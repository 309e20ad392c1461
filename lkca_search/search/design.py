"""Whether every configuration that a search can draw can be trained on its images."""

from collections.abc import Iterator
from itertools import islice

from lkca_search.configuration import Configuration, ImageShape, Scalar
from lkca_search.data.subsets import Indices, assign_images
from lkca_search.errors import DataError, Problem
from lkca_search.models.registry import problems as model_problems
from lkca_search.search.cells import Cell, cells, exists
from lkca_search.spec import SearchSpec, parameter_order

_MOST_COMBINATIONS = 20_000
_SHAPING_THE_MODEL = {"family", "patch_size", "depth", "width", "mlp_ratio", "kernel_size", "num_heads", "pooling"}


def design_problems(spec: SearchSpec, shape: ImageShape) -> Iterator[Problem]:
    """Every rule that a configuration of the search can break on images of this shape, each broken rule once.

    Parameters are tried at their edges (all values of a choice or a short range), in every combination of those that
    shape the model or decide where another exists, up to 20,000 a cell.
    """
    seen: set[str] = set()
    for cell in cells(spec):
        for configuration in islice(_edge_configurations(spec, cell), _MOST_COMBINATIONS):
            for problem in model_problems(configuration, shape):
                if problem.rule not in seen:
                    seen.add(problem.rule)
                    yield Problem(_written_location(spec, problem.location), problem.rule)


def _edge_configurations(spec: SearchSpec, cell: Cell) -> Iterator[Configuration]:
    order = parameter_order(spec.parameters)
    combined = _SHAPING_THE_MODEL.union(*(domain.when for domain in spec.parameters.values()))

    def extend(chosen: dict[str, Scalar], rest: tuple[str, ...]) -> Iterator[dict[str, Scalar]]:
        if not rest:
            yield chosen
            return
        name, domain = rest[0], spec.parameters[rest[0]]
        values = domain.edges() if exists(domain, chosen) else ()
        for value in values if name in combined else values[:1]:
            yield from extend({**chosen, name: value}, rest[1:])
        if not values:
            yield from extend(chosen, rest[1:])

    for chosen in extend(dict(cell.levels), order):
        yield Configuration.model_validate(chosen)


def _written_location(spec: SearchSpec, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    name = location[0] if location else ""
    for section in ("factors", "parameters"):
        if name in getattr(spec, section):
            return (section, *location)
    return (section,)


def data_problems(spec: SearchSpec, labels: Indices) -> Iterator[Problem]:
    """Every size of a subset, as a level or at a parameter's edge, that cannot be drawn from these labels."""
    for name in ("data_fraction", "images_per_class"):
        for section, values in (
            ("factors", spec.factors.get(name, ())),
            ("parameters", spec.parameters[name].edges() if name in spec.parameters else ()),
        ):
            for value in values:
                configuration = Configuration.model_validate({name: value})
                try:
                    # Which images does not matter, how many does: any seed will do.
                    assign_images(labels, spec.data, configuration, split_seed=0)
                except DataError as error:
                    yield Problem((section, name), str(error))
