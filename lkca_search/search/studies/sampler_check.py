"""Checks of the sampler and the pruner of a space file, before a search starts."""

import builtins
import collections.abc
import inspect
from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lkca_search.errors import Problem, UserError
from lkca_search.search.studies.registry import DERIVED_ARGUMENTS, REGISTRY, Kind, load
from lkca_search.search.studies.samplers import make_pruner, make_sampler
from lkca_search.spec.cells import cells, grid_points, num_reports
from lkca_search.spec.components import PRUNERS, ComponentConfig, name_rule
from lkca_search.spec.search_spec import SearchSpec

_MAX_GRID_POINTS = 100_000
_ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


def find_sampler_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each reason why the sampler or the pruner of a search cannot be built."""
    fewest = min(num_reports(spec, cell) for cell in cells(spec))
    yield from _find_problems("sampler", spec.search.sampler, ("search", "sampler"), fewest)
    yield from _find_problems("pruner", spec.search.pruner, ("search", "pruner"), fewest)
    if spec.search.sampler.name == "grid":
        if any(len(grid_points(spec, cell, limit=_MAX_GRID_POINTS + 1)) > _MAX_GRID_POINTS for cell in cells(spec)):
            rule = (
                f"sampler grid must have at most {_MAX_GRID_POINTS} points per cell, got more; "
                "remove choices, narrow the ranges, or use another sampler"
            )
            yield Problem(("search", "sampler"), rule)


def _find_problems(
    kind: Kind, config: ComponentConfig, location: tuple[str, ...], num_reports: int
) -> Iterator[Problem]:
    wraps = config.arguments.get("wraps") if config.name == "patient" else None
    if wraps is not None:
        if rule := _wraps_rule(wraps):
            yield Problem((*location, "wraps"), rule)
            return
        inner = list(_find_problems("pruner", ComponentConfig.model_validate(wraps), (*location, "wraps"), num_reports))
        yield from inner
        if inner:
            return
    try:
        cls = load(kind, config.name)
    except UserError as error:
        yield Problem(location, str(error))
        return
    problems = list(_find_argument_problems(kind, config, location, cls))
    yield from problems
    if not problems and config.name != "grid":
        try:
            if kind == "sampler":
                make_sampler(config, seed=0, number=0)
            else:
                make_pruner(config, num_reports=num_reports)
        except (TypeError, ValueError) as error:
            yield Problem(location, f"{kind} {config.name} cannot be built from {_show_arguments(config)}: {error}")


def _wraps_rule(wraps: Any) -> str | None:
    """Return the rule that the argument `wraps` of the pruner `patient` breaks, or None."""
    if isinstance(wraps, str) or (isinstance(wraps, Mapping) and isinstance(wraps.get("name"), str)):
        return name_rule("pruner", wraps if isinstance(wraps, str) else wraps["name"], PRUNERS)
    return f"wraps must be a pruner's name, or a mapping with its name and arguments, got {wraps!r}"


def _find_argument_problems(
    kind: Kind, config: ComponentConfig, location: tuple[str, ...], cls: Any
) -> Iterator[Problem]:
    is_registered = config.name in REGISTRY[kind]
    parameters, derived = inspect.signature(cls).parameters, DERIVED_ARGUMENTS if is_registered else ("seed",)
    allowed = [*(name for name in parameters if name not in derived), *(["wraps"] if config.name == "patient" else [])]
    allows_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    types = _argument_types(cls) if is_registered else {}
    for name, value in config.arguments.items():
        if name in parameters and name in derived:
            yield Problem((*location, name), f"{name} of {kind} {config.name} is set by the search, got {value!r}")
        elif name not in allowed and not allows_any:
            close = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its arguments: {', '.join(allowed) or 'none'}"
            yield Problem((*location, name), f"{kind} {config.name} has no argument {name}, got {value!r}; {hint}")
        elif name in types and not _has_type(value, types[name]):
            annotation = parameters[name].annotation
            expected = annotation.__name__ if isinstance(annotation, type) else annotation
            yield Problem((*location, name), f"{name} of {kind} {config.name} must be {expected}, got {value!r}")
    for name, parameter in parameters.items():
        is_required = parameter.default is parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if is_required and name in allowed and name not in config.arguments:
            yield Problem(location, f"{kind} {config.name} needs the argument {name}")


def _argument_types(cls: Any) -> Mapping[str, Any]:
    """Return the declared types of a constructor's arguments.

    Optuna imports some names only for type checkers. No YAML value has one of these types.
    """
    not_in_yaml = type("NotInYaml", (), {})
    module = vars(import_module(cls.__module__))
    names = ChainMap(module, vars(collections.abc), vars(builtins), defaultdict(lambda: not_in_yaml))
    return get_type_hints(cls.__init__, localns=names)


def _has_type(value: Any, expected: Any) -> bool:
    """Return True if a value of a space file has the type, with int to float as the only conversion."""
    try:
        TypeAdapter(expected, config=_ANY_TYPE).validate_python(_with_lists(value), strict=True)
    except ValidationError:
        return False
    return True


def _with_lists(value: Any) -> Any:
    """Return the value with lists in place of tuples: YAML has no tuples."""
    if isinstance(value, Mapping):
        return {name: _with_lists(inner) for name, inner in value.items()}
    return [_with_lists(inner) for inner in value] if isinstance(value, tuple) else value


def _show_arguments(config: ComponentConfig) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in config.arguments.items()) or "no arguments"
