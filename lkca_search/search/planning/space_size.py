"""How far a cell reaches: how many configurations it has, the outermost of them, and a few spread evenly."""

import math
from collections.abc import Iterable, Mapping

from scipy.stats import qmc

from lkca_search.models.difference import ARCHITECTURE_NAMES
from lkca_search.search.studies.space_check import boundary_configurations, evenly_spaced
from lkca_search.spec.cells import Cell
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange, holds
from lkca_search.spec.search_spec import SearchSpec

_MOST_CORNERS = 32


def count_configurations(spec: SearchSpec, cell: Cell) -> int | None:
    """Return how many configurations a cell has that its sampler tells apart; None if a range of floats is searched."""
    named: dict[str, set[Scalar]] = {name: set() for name in spec.parameters}
    for domain in spec.parameters.values():
        for other in domain.when.keys() & named.keys():
            named[other].update(domain.when[other])
    weights = {name: _weights(domain, named[name]) for name, domain in spec.parameters.items()}
    total: float = 0
    for chosen in spec.space.branch(lambda name, _: weights[name], cell.levels):
        total += math.prod(weights[name][value] for name, value in chosen.items() if name in weights)
        if math.isinf(total):
            return None
    return int(total)


def _weights(domain: Domain, named: set[Scalar]) -> Mapping[Scalar, float]:
    """Return the values that conditions name, and one that stands for all others, each with its number of values."""
    if isinstance(domain, FloatRange):
        return {domain.bounds[0]: math.inf}
    values = domain.values()
    weights: dict[Scalar, float] = {value: 1 for value in named if value in values}
    if others := len(values) - len(weights):
        weights[next(value for value in values if value not in weights)] = others
    return weights


def extreme_configurations(spec: SearchSpec, cell: Cell) -> list[Configuration]:
    """Return configurations of a cell among which its smallest and its largest model are.

    Taken as given is that a model grows, or shrinks, with each number that shapes it: of those only the edges stand
    here, with every value of what is no number; at most 32, and then the first and the last among them. Each comes with
    the smallest and the largest subset where the size of a subset is searched.
    """
    groups: dict[tuple[object, ...], list[Configuration]] = {}
    for configuration in boundary_configurations(spec, cell):
        values = [getattr(configuration, name) for name in ARCHITECTURE_NAMES]
        kind = tuple("number" if _is_number(value) else value for value in values)
        groups.setdefault(kind, []).append(configuration)
    found = [corner for group in groups.values() for corner in _outermost(group)]
    return [sized for corner in evenly_spaced(found, _MOST_CORNERS) for sized in _with_sizes(spec, corner)]


def _with_sizes(spec: SearchSpec, corner: Configuration) -> list[Configuration]:
    result = [corner]
    for name in ("data_fraction", "images_per_class"):
        domain = spec.parameters.get(name)
        if domain is not None and holds(domain.when, corner.model_dump()):
            edges = [edge for edge in domain.edges() if not isinstance(edge, str)]
            result = [each.model_copy(update={name: edge}) for each in result for edge in {min(edges), max(edges)}]
    return result


def _outermost(configurations: list[Configuration]) -> Iterable[Configuration]:
    """Those of which every number that shapes the model is the smallest or the largest among them."""
    edges: dict[str, tuple[float, float]] = {}
    for name in ARCHITECTURE_NAMES:
        numbers = [value for each in configurations if _is_number(value := getattr(each, name))]
        if numbers:
            edges[name] = (min(numbers), max(numbers))
    extreme_configurations = [
        each for each in configurations if all(getattr(each, name) in edge for name, edge in edges.items())
    ]
    return extreme_configurations or configurations


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sampled_configurations(spec: SearchSpec, cell: Cell, count: int) -> list[Configuration]:
    """Return so many configurations of a cell, drawn as a random search would, but evenly (a Latin hypercube).

    Each parameter takes `count` values evenly spread over its domain, in an order of its own: the same for all cells.
    """
    hypercube = qmc.LatinHypercube(d=len(spec.parameters), scramble=False, rng=0)
    points = (dict(zip(spec.parameters, point, strict=True)) for point in hypercube.random(count).tolist())
    return [_configuration_at(quantiles, spec, cell) for quantiles in points]


def _configuration_at(quantiles: Mapping[str, float], spec: SearchSpec, cell: Cell) -> Configuration:
    chosen = spec.space.walk(lambda name, domain: _at(domain, quantiles[name]), cell.levels)
    return Configuration.model_validate(chosen)


def _at(domain: Domain, quantile: float) -> Scalar:
    """The value of a domain below which so large a share of what is drawn from it lies."""
    match domain:
        case Fixed():
            return domain.value
        case Choice():
            return domain.choice[int(quantile * len(domain.choice))]
        case IntRange() if domain.log:
            low, high = domain.bounds
            return min(high, max(low, round(_between(low - 0.5, high + 0.5, quantile, log=True))))
        case IntRange():
            values = domain.values()
            return values[int(quantile * len(values))]
        case FloatRange():
            return _between(*domain.bounds, quantile, log=domain.log)


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    return low * (high / low) ** share if log else low + (high - low) * share
