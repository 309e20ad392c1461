"""Samplers and pruners of a space file, built from their names and arguments."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from lkca_search.own_code import load_path
from lkca_search.search.studies.registry import DERIVED_ARGUMENTS, NUM_REPORTS, REGISTRY, Kind, load
from lkca_search.seeds import derive_seed
from lkca_search.spec.components import ComponentConfig


def make_sampler(config: ComponentConfig, *, seed: int, number: int, name: str | None = None) -> Any:
    """Build an Optuna sampler for one trial, or for one of its parameters if `name` is given.

    `grid` is not built here: see `GridSampler` in this package.

    Args:
        config: Name and arguments of the sampler.
        seed: Seed of the cell.
        number: Optuna's number of the trial.
        name: Parameter that is sampled independently of the others.
    """
    cls, entry = load("sampler", config.name), REGISTRY["sampler"].get(config.name)
    arguments, parameters = _constructor_arguments("sampler", config, num_reports=1), _parameters_of(cls)
    own_seed = derive_seed(seed, number) if name is None else derive_seed(seed, number, name)
    if "seed" in parameters:
        arguments["seed"] = seed if entry and entry.shares_seed else own_seed
    with _ignore_experimental_warnings():
        if entry and "independent_sampler" in parameters:
            arguments["independent_sampler"] = load("sampler", "random")(seed=own_seed)
        return cls(**arguments)


def make_pruner(config: ComponentConfig, *, num_reports: int) -> Any:
    """Build an Optuna pruner for trials with `num_reports` reports each."""
    arguments = _constructor_arguments("pruner", config, num_reports=num_reports)
    if config.name == "patient":
        wraps = ComponentConfig.model_validate(arguments.pop("wraps"))
        wrapped = None if wraps.name == "none" else make_pruner(wraps, num_reports=num_reports)
        arguments["wrapped_pruner"] = wrapped
    with _ignore_experimental_warnings():
        return load("pruner", config.name)(**arguments)


def describe(kind: Kind, config: ComponentConfig, *, num_reports: int) -> dict[str, Any]:
    """Return the name and all arguments as JSON values, with the defaults of the class and without seeds."""
    parameters = _parameters_of(load(kind, config.name))
    defaults = {name: parameter.default for name, parameter in parameters.items() if name not in DERIVED_ARGUMENTS}
    plain = {name: value for name, value in defaults.items() if isinstance(value, bool | int | float | str)}
    description = {"name": config.name, **plain, **_constructor_arguments(kind, config, num_reports=num_reports)}
    if config.name == "patient":
        description["wraps"] = describe(
            "pruner", ComponentConfig.model_validate(description["wraps"]), num_reports=num_reports
        )
    return description


@cache
def _parameters_of(cls: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class; a trial has a sampler per parameter."""
    return inspect.signature(cls).parameters


def _constructor_arguments(kind: Kind, config: ComponentConfig, *, num_reports: int) -> dict[str, Any]:
    """Return the arguments of the space file, and the defaults of REGISTRY for the rest."""
    entry = REGISTRY[kind].get(config.name)
    arguments = {**(entry.defaults if entry else {}), **config.arguments}
    return {name: num_reports if value is NUM_REPORTS else value for name, value in arguments.items()}


@contextmanager
def _ignore_experimental_warnings() -> Iterator[None]:
    """Ignore Optuna's ExperimentalWarning: conditional spaces need TPE's `group`, which is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", load_path("optuna.exceptions.ExperimentalWarning"))
        yield
