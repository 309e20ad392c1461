"""Samplers and pruners by name: which class each is, its arguments, and whether it can be made from them.

A short name stands for the dotted path of one of Optuna's classes and for defaults of ours, set explicitly because
Optuna's change from release to release. Classes are imported where they are used.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from lkca_search.errors import Problem, UserError
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import cells, points
from lkca_search.spec.components import OPTUNAHUB, PRUNERS, ComponentConfig, name_rule
from lkca_search.spec.search_spec import SearchSpec

Kind = Literal["sampler", "pruner"]

_BASES = {"sampler": "optuna.samplers.BaseSampler", "pruner": "optuna.pruners.BasePruner"}
_OURS = ("seed", "search_space", "independent_sampler", "wrapped_pruner")
"""Arguments of constructors that are derived, not written."""
_NUM_REPORTS = "num_reports"
"""Stands for the number of reports of a trial, which every trial of a search has the same number of."""
_MOST_POINTS = 100_000
_YAML_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
}


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What a short name stands for."""

    path: str
    """The dotted path of the class."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that a space file may replace."""
    needs: tuple[str, ...] = ()
    """Packages that Optuna imports only where the class is at work."""
    one_sequence: bool = False
    """Whether every trial of a cell has the same seed, and its place in a sequence instead."""


_QUIET = {"warn_independent_sampling": False}
KNOWN: Mapping[Kind, Mapping[str, _Known]] = {
    "sampler": {
        "tpe": _Known(
            path="optuna.samplers.TPESampler",
            defaults={"n_startup_trials": 10, "multivariate": True, "group": True, "constant_liar": True},
        ),
        "random": _Known(path="optuna.samplers.RandomSampler"),
        "qmc": _Known(
            path="optuna.samplers.QMCSampler",
            defaults={"qmc_type": "sobol", "scramble": True, **_QUIET},
            one_sequence=True,
        ),
        "gp": _Known(
            path="optuna.samplers.GPSampler",
            defaults={"n_startup_trials": 10, **_QUIET},
            needs=("scipy", "torch"),
        ),
        "cmaes": _Known(
            path="optuna.samplers.CmaEsSampler", defaults={"n_startup_trials": 1, **_QUIET}, needs=("cmaes",)
        ),
        "nsga2": _Known(
            path="optuna.samplers.NSGAIISampler",
            defaults={"population_size": 50, "crossover_prob": 0.9, "swapping_prob": 0.5},
        ),
        "grid": _Known(path="optuna.samplers.GridSampler"),
    },
    "pruner": {
        "none": _Known(path="optuna.pruners.NopPruner"),
        "median": _Known(
            path="optuna.pruners.MedianPruner",
            defaults={"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
        ),
        "hyperband": _Known(
            path="optuna.pruners.HyperbandPruner",
            defaults={"min_resource": 1, "max_resource": _NUM_REPORTS, "reduction_factor": 3},
        ),
        "successive_halving": _Known(
            path="optuna.pruners.SuccessiveHalvingPruner", defaults={"min_resource": 1, "reduction_factor": 4}
        ),
        "percentile": _Known(
            path="optuna.pruners.PercentilePruner",
            defaults={"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
        ),
        "wilcoxon": _Known(
            path="optuna.pruners.WilcoxonPruner",
            defaults={"p_threshold": 0.1, "n_startup_steps": 2},
            needs=("scipy",),
        ),
        "patient": _Known(path="optuna.pruners.PatientPruner", defaults={"min_delta": 0.0, "wraps": "none"}),
        "threshold": _Known(path="optuna.pruners.ThresholdPruner", defaults={"n_warmup_steps": 0, "interval_steps": 1}),
    },
}


def make_sampler(named: ComponentConfig, *, seed: int, number: int, name: str | None = None) -> Any:
    """Make an Optuna sampler for one trial, or for one of its names where it is sampled by itself.

    `seed` is the cell's. A grid's sampler is made where its points are known.
    """
    made, known = load("sampler", named.name), KNOWN["sampler"].get(named.name)
    arguments, takes = _constructor_arguments("sampler", named, num_reports=1), inspect.signature(made).parameters
    own_seed = derive_seed(seed, number) if name is None else derive_seed(seed, number, name)
    if "seed" in takes:
        arguments["seed"] = seed if known and known.one_sequence else own_seed
    with _quietly():
        if known and "independent_sampler" in takes:
            arguments["independent_sampler"] = load("sampler", "random")(seed=own_seed)
        return made(**arguments)


def make_pruner(named: ComponentConfig, *, num_reports: int) -> Any:
    """Make an Optuna pruner for a study whose trials report so many times."""
    arguments = _constructor_arguments("pruner", named, num_reports=num_reports)
    if named.name == "patient":
        wraps = ComponentConfig.model_validate(arguments.pop("wraps"))
        wrapped = None if wraps.name == "none" else make_pruner(wraps, num_reports=num_reports)
        arguments["wrapped_pruner"] = wrapped
    with _quietly():
        return load("pruner", named.name)(**arguments)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Optuna's warnings that a class or an argument is experimental: TPE's `group`, which conditions need."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _at("optuna.exceptions.ExperimentalWarning"))
        yield


def description(kind: Kind, named: ComponentConfig, *, num_reports: int) -> dict[str, Any]:
    """Name and every argument that can be written down, the class's own defaults included; no seeds."""
    takes = inspect.signature(load(kind, named.name)).parameters
    own = {name: parameter.default for name, parameter in takes.items() if name not in _OURS}
    plain = {name: value for name, value in own.items() if isinstance(value, bool | int | float | str)}
    found = {"name": named.name, **plain, **_constructor_arguments(kind, named, num_reports=num_reports)}
    if named.name == "patient":
        found["wraps"] = description("pruner", ComponentConfig.model_validate(found["wraps"]), num_reports=num_reports)
    return found


def load(kind: Kind, name: str) -> Any:
    """The class of a sampler or pruner; UserError, which says what is missing, if it cannot be had."""
    known = KNOWN[kind].get(name)
    for package in known.needs if known else ():
        if find_spec(package) is None:
            raise UserError(f"{kind} {name} needs the package {package}, which is not installed: pip install {package}")
    try:
        found = _from_optunahub(kind, name) if name.startswith(OPTUNAHUB) else _at(known.path if known else name)
    except UserError:
        raise
    except Exception as error:  # whatever other people's code raises as it is imported
        raise UserError(f"{kind} {name} cannot be loaded: {type(error).__name__}: {error}") from error
    if not _is_a(kind, found):
        raise UserError(f"{kind} {name} must be a class made from {_BASES[kind]}, got {found!r}")
    return found


def _at(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _is_a(kind: Kind, found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, _at(_BASES[kind]))


def _from_optunahub(kind: Kind, name: str) -> Any:
    if find_spec("optunahub") is None:
        raise UserError(f"{kind} {name} needs the package optunahub, which is not installed: pip install optunahub")
    package = name.removeprefix(OPTUNAHUB)
    module = import_module("optunahub").load_module(package)
    public = getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]
    found = [value for value in (getattr(module, key) for key in public) if _is_a(kind, value)]
    own = [value for value in found if not value.__module__.startswith("optuna.")]
    if len(own) != 1:
        raise UserError(f"{kind} {name} must be a package with one {kind}, got {[value.__name__ for value in own]}")
    return own[0]


def _constructor_arguments(kind: Kind, named: ComponentConfig, *, num_reports: int) -> dict[str, Any]:
    """What the space file gives, over our defaults."""
    known = KNOWN[kind].get(named.name)
    arguments = {**(known.defaults if known else {}), **named.arguments}
    return {name: num_reports if value is _NUM_REPORTS else value for name, value in arguments.items()}


def named_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Every reason why the sampler or the pruner of a search cannot be made as it is written."""
    yield from _problems("sampler", spec.search.sampler, ("search", "sampler"), spec.training.num_reports)
    yield from _problems("pruner", spec.search.pruner, ("search", "pruner"), spec.training.num_reports)
    if spec.search.sampler.name == "grid":
        if any(len(points(spec, cell, most=_MOST_POINTS + 1)) > _MOST_POINTS for cell in cells(spec)):
            rule = f"sampler grid takes at most {_MOST_POINTS} points a cell, and the choices and ranges here make more"
            yield Problem(("search", "sampler"), rule)


def _problems(kind: Kind, named: ComponentConfig, location: tuple[str, ...], num_reports: int) -> Iterator[Problem]:
    wraps = named.arguments.get("wraps") if named.name == "patient" else None
    if wraps is not None:
        if rule := _wraps_rule(wraps):
            yield Problem((*location, "wraps"), rule)
            return
        inner = list(_problems("pruner", ComponentConfig.model_validate(wraps), (*location, "wraps"), num_reports))
        yield from inner
        if inner:
            return
    try:
        found = load(kind, named.name)
    except UserError as error:
        yield Problem(location, str(error))
        return
    problems = list(_argument_problems(kind, named, location, found))
    yield from problems
    if not problems and named.name != "grid":
        try:
            if kind == "sampler":
                make_sampler(named, seed=0, number=0)
            else:
                make_pruner(named, num_reports=num_reports)
        except (TypeError, ValueError) as error:
            yield Problem(location, f"{kind} {named.name} cannot be made from {_listed(named)}: {error}")


def _wraps_rule(wraps: Any) -> str | None:
    if isinstance(wraps, str) or (isinstance(wraps, Mapping) and isinstance(wraps.get("name"), str)):
        return name_rule("pruner", wraps if isinstance(wraps, str) else wraps["name"], PRUNERS)
    return f"wraps must be a pruner's name, or a mapping with its name and arguments, got {wraps!r}"


def _argument_problems(kind: Kind, named: ComponentConfig, location: tuple[str, ...], found: Any) -> Iterator[Problem]:
    known = KNOWN[kind].get(named.name)
    parameters, ours = inspect.signature(found).parameters, _OURS if known else ("seed",)
    takes = [*(name for name in parameters if name not in ours), *(["wraps"] if named.name == "patient" else [])]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in named.arguments.items():
        if name in parameters and name in ours:
            yield Problem((*location, name), f"{name} of {kind} {named.name} is set by the search, got {value!r}")
        elif name not in takes and not takes_any:
            close = get_close_matches(name, takes, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(takes) or 'none'}"
            yield Problem((*location, name), f"{kind} {named.name} has no argument {name}, got {value!r}; {hint}")
        elif known and name != "wraps" and not _fits(value, wanted := _in_words(parameters[name].annotation)):
            yield Problem((*location, name), f"{name} of {kind} {named.name} must be {wanted}, got {value!r}")
    for name, parameter in parameters.items():
        is_due = parameter.default is parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if is_due and name in takes and name not in named.arguments:
            yield Problem(location, f"{kind} {named.name} needs the argument {name}")


def _in_words(annotation: Any) -> str:
    """What a constructor says an argument is: int, str | None."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value of a space file can be what one of Optuna's constructors says it takes."""
    members = [member.strip() for member in annotation.split("|")]
    if isinstance(value, Mapping | tuple):
        names = ("dict[", "Mapping[") if isinstance(value, Mapping) else ("list[", "tuple[", "Sequence[")
        return any(member.startswith(names) for member in members)
    return type(value) in [kind for member in members for kind in _YAML_TYPES.get(member, ())]


def _listed(named: ComponentConfig) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named.arguments.items()) or "no arguments"
