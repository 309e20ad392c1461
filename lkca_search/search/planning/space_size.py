"""Size of a cell's search space: number of configurations, the extreme ones, and an even sample."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from lkca_search.models.difference import ARCHITECTURE_NAMES
from lkca_search.search.studies.space_check import boundary_configurations, evenly_spaced
from lkca_search.spec.cells import Cell
from lkca_search.spec.configuration import NAMES, Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange, holds
from lkca_search.spec.search_spec import SearchSpec

_WITHOUT_COST = ("draw", "learning_rate", "weight_decay", "label_smoothing", "warmup_fraction", "drop_path_rate")
_MAX_EXTREMES = 32
_MAX_WORKLOADS = 16
"""Maximum number of configurations per model."""
WORKLOAD_NAMES = tuple(name for name in NAMES if name not in (*ARCHITECTURE_NAMES, *_WITHOUT_COST))
"""Names that change the memory or the time of a trial, and not its model."""


def count_configurations(spec: SearchSpec, cell: Cell) -> int | None:
    """Return the number of distinct configurations of a cell; None if a range of floats is searched."""
    in_conditions: dict[str, set[Scalar]] = {name: set() for name in spec.parameters}
    for domain in spec.parameters.values():
        for other in domain.when.keys() & in_conditions.keys():
            in_conditions[other].update(domain.when[other])
    weights = {name: _weights(domain, in_conditions[name]) for name, domain in spec.parameters.items()}
    total: float = 0
    for chosen in spec.space.branch(lambda name, _: weights[name], cell.levels):
        total += math.prod(weights[name][value] for name, value in chosen.items() if name in weights)
        if math.isinf(total):
            return None
    return int(total)


def _weights(domain: Domain, in_conditions: set[Scalar]) -> Mapping[Scalar, float]:
    """Return counts of values: 1 for a value that occurs in conditions, and one value that represents all others."""
    if isinstance(domain, FloatRange):
        return {domain.bounds[0]: math.inf}
    values = domain.values()
    weights: dict[Scalar, float] = {value: 1 for value in in_conditions if value in values}
    if others := len(values) - len(weights):
        weights[next(value for value in values if value not in weights)] = others
    return weights


def extreme_configurations(spec: SearchSpec, cell: Cell) -> list[Configuration]:
    """Return configurations of a cell that include its smallest and its largest model.

    The size of a model is assumed to be monotonic in each numeric parameter. Therefore, numeric parameters take only
    their smallest and largest values, combined with all values of the other parameters. At most 32 models are
    returned, evenly spaced. If the subset size, the batch size or the length is searched, each model is returned with
    the smallest and with the largest value, and with each value of another name that changes memory or time.
    """
    groups: dict[tuple[object, ...], list[Configuration]] = {}
    for configuration in boundary_configurations(spec, cell):
        values = [getattr(configuration, name) for name in (*ARCHITECTURE_NAMES, *spec.own_names)]
        kind = tuple("number" if _is_number(value) else value for value in values)
        groups.setdefault(kind, []).append(configuration)
    extremes = [configuration for group in groups.values() for configuration in _keep_extremes(group)]
    models = evenly_spaced(extremes, _MAX_EXTREMES)
    return [sized for model in models for sized in evenly_spaced(_with_workloads(spec, model), _MAX_WORKLOADS)]


def _with_workloads(spec: SearchSpec, configuration: Configuration) -> list[Configuration]:
    """Return the configuration with the extreme values of all names that change the work of a trial, not its model."""
    result = [configuration]
    for name in WORKLOAD_NAMES:
        domain = spec.parameters.get(name)
        if domain is None or not holds(domain.when, configuration.model_dump()):
            continue
        edges = domain.edges()
        numbers = [edge for edge in edges if _is_number(edge)]
        ends = dict.fromkeys((min(numbers), max(numbers))) if len(numbers) == len(edges) else edges
        result = [sized.model_copy(update={name: end}) for sized in result for end in ends]
    return result


def _keep_extremes(configurations: list[Configuration]) -> Iterable[Configuration]:
    """Return the configurations in which each number is its smallest or largest value; all if there is none."""
    edges: dict[str, tuple[float, float]] = {}
    for name in (*ARCHITECTURE_NAMES, *(name for configuration in configurations[:1] for name in configuration.own)):
        numbers = [value for configuration in configurations if _is_number(value := getattr(configuration, name))]
        if numbers:
            edges[name] = (min(numbers), max(numbers))
    extremes = [
        configuration
        for configuration in configurations
        if all(getattr(configuration, name) in edge for name, edge in edges.items())
    ]
    return extremes or configurations


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sampled_configurations(spec: SearchSpec, cell: Cell, count: int) -> list[Configuration]:
    """Return `count` configurations of a cell: a Latin hypercube of its parameters, the same for all cells."""
    points = latin_hypercube(count, len(spec.parameters))
    return [_configuration_at(dict(zip(spec.parameters, point, strict=True)), spec, cell) for point in points]


def latin_hypercube(num_points: int, num_dimensions: int) -> list[list[float]]:
    """Return the points of a centered Latin hypercube, each a list of coordinates between 0 and 1.

    They are those of `scipy.stats.qmc.LatinHypercube(scramble=False, rng=0)`, whose import takes half a second.
    """
    rng = np.random.default_rng(0).spawn(1)[0]  # as scipy, which spawns a generator of its own
    ranks = np.tile(np.arange(1, num_points + 1), (num_dimensions, 1))
    for row in ranks:
        rng.shuffle(row)
    points: list[list[float]] = ((ranks.T - 0.5) / num_points).tolist()
    return points


def _configuration_at(quantiles: Mapping[str, float], spec: SearchSpec, cell: Cell) -> Configuration:
    chosen = spec.space.walk(lambda name, domain: _quantile(domain, quantiles[name]), cell.levels)
    return Configuration.model_validate(chosen)


def _quantile(domain: Domain, quantile: float) -> Scalar:
    """Return the value of a domain at a quantile of its sampling distribution."""
    match domain:
        case Fixed():
            return domain.value
        case Choice():
            return domain.choice[int(quantile * len(domain.choice))]
        case IntRange() if domain.log:
            low, high = domain.bounds
            return min(high, max(low, round(_interpolate(low - 0.5, high + 0.5, quantile, log=True))))
        case IntRange():
            values = domain.values()
            return values[int(quantile * len(values))]
        case FloatRange():
            return _interpolate(*domain.bounds, quantile, log=domain.log)


def _interpolate(low: float, high: float, fraction: float, *, log: bool) -> float:
    return low * (high / low) ** fraction if log else low + (high - low) * fraction
