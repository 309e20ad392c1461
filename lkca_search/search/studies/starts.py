"""Known starts of a space file: values of the first trials of each cell in which their names exist."""

from collections.abc import Iterator, Mapping
from math import nan

from lkca_search.errors import Location, Problem, did_you_mean
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.search_spec import SearchSpec

START_ATTR = "fixed_params"
"""System attribute of a trial that has the values of a start. It is that of Optuna's enqueued trials."""
_LOCATION: Location = ("search", "start")


def starts_of(spec: SearchSpec, cell: Cell) -> tuple[dict[str, Scalar], ...]:
    """Return the parameters that the space file gives for the first trials of a cell, in order of their numbers.

    A start holds in a cell if the cell has its factor levels, and each of its parameters exists with its other values.
    The sampler chooses the parameters that a start does not have.
    """
    found = (_params_in(spec, cell, start) for start in spec.search.start)
    return tuple(params for params in found if params)


def find_start_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each rule that a start of a space file breaks."""
    if spec.search.start and spec.search.sampler.name == "grid":
        yield Problem(_LOCATION, "start must be left out with sampler grid, which tries every configuration")
        return
    problems = [
        Problem((*_LOCATION, i, name), rule)
        for i, start in enumerate(spec.search.start)
        for name, value in start.items()
        if (rule := _value_rule(spec, name, value))
    ]
    yield from problems or _cell_problems(spec)


def _cell_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each start that holds in no cell or repeats an earlier one, and a cell with more starts than trials."""
    held: dict[int, list[tuple[str, dict[str, Scalar]]]] = {i: [] for i in range(len(spec.search.start))}
    for cell in cells(spec):
        for i, start in enumerate(spec.search.start):
            if params := _params_in(spec, cell, start):
                held[i].append((cell.key, params))
    for i, found in held.items():
        if not found:
            rule = f"a start must hold in a cell, got no cell that has all of {', '.join(spec.search.start[i]) or 'it'}"
            yield Problem((*_LOCATION, i), f"{rule}; give a parameter, and those in its `when`")
        elif earlier := [j for j in range(i) if any(pair in held[j] for pair in found)]:
            yield Problem((*_LOCATION, i), f"starts of a cell must differ, got {i} equal to {earlier[0]}; remove it")
    most = spec.search.trials_per_cell
    for cell in cells(spec):
        if (count := len(starts_of(spec, cell))) > most:
            rule = f"a cell must have at most trials_per_cell ({most}) starts, got {count} in {cell.key}"
            yield Problem(_LOCATION, f"{rule}; remove some, or give more trials")
            return


def _params_in(spec: SearchSpec, cell: Cell, start: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
    """Return the parameters of a start in a cell, as a sampler would suggest them; None if it does not hold there."""
    params: dict[str, Scalar] = {}

    def choose(name: str, domain: Domain) -> Scalar:
        if isinstance(domain, Fixed):
            return domain.value
        if name not in start:
            return nan  # no condition on it holds
        params[name] = _as_suggested(domain, start[name])
        return params[name]

    spec.space.walk(choose, cell.levels)
    levels = {name: value for name, value in start.items() if name in spec.factors}
    holds = all(cell.levels.get(name) == level for name, level in levels.items())
    return params if holds and params.keys() | levels.keys() == start.keys() else None


def _as_suggested(domain: Choice | IntRange | FloatRange, value: Scalar) -> Scalar:
    if isinstance(domain, Choice):
        return next((choice for choice in domain.choice if choice == value), value)
    return float(value) if isinstance(domain, FloatRange) else value


def _value_rule(spec: SearchSpec, name: str, value: Scalar) -> str | None:
    """Return the rule that a name or a value of a start breaks; None if it breaks none."""
    if name in spec.factors:
        levels = spec.factors[name].levels
        return None if value in levels else f"{name} of a start must be one of the levels {list(levels)}, got {value!r}"
    if name not in spec.parameters:
        known = (*spec.parameters, *spec.factors)
        return f"a start must have names of parameters and factors, got {name!r}{did_you_mean(name, known)}"
    match domain := spec.parameters[name]:
        case Fixed():
            return f"{name} of a start must be left out, since its value is fixed at {domain.value}, got {value!r}"
        case Choice():
            is_valid, rule = value in domain.choice, f"be one of {list(domain.choice)}"
        case IntRange():
            low, high = domain.bounds
            is_valid = isinstance(value, int) and not isinstance(value, bool) and value in domain.values()
            rule = f"be an integer from {low} to {high}" + (f" in steps of {domain.step}" if domain.step > 1 else "")
        case FloatRange():
            least, most = domain.bounds
            is_valid = not isinstance(value, bool | str) and least <= value <= most
            rule = f"be a number from {least:g} to {most:g}"
    return None if is_valid else f"{name} of a start must {rule}, got {value!r}"
