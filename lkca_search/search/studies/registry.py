"""Short names of samplers and pruners: the class of each name, and default arguments.

The defaults are explicit because Optuna's own change between releases. A class is imported when it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from lkca_search.errors import UserError
from lkca_search.own_code import check_kind, is_subclass, load_own, load_path
from lkca_search.spec.components import OPTUNAHUB

Kind = Literal["sampler", "pruner"]

NUM_REPORTS = "num_reports"
"""Placeholder of an argument's value: the number of reports per trial."""
DERIVED_ARGUMENTS = ("seed", "search_space", "independent_sampler", "wrapped_pruner")
"""Constructor arguments that the search sets. A space file cannot set them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Class with a short name."""

    path: str
    """Dotted path of the class."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Default arguments. A space file can replace them."""
    needs: tuple[str, ...] = ()
    """Packages that Optuna imports only when the class runs."""
    shares_seed: bool = False
    """True if all trials of a cell get the same seed, because each takes the next point of one sequence."""


_QUIET = {"warn_independent_sampling": False}
REGISTRY: Mapping[Kind, Mapping[str, Entry]] = {
    "sampler": {
        "tpe": Entry(
            path="optuna.samplers.TPESampler",
            defaults={"n_startup_trials": 10, "multivariate": True, "group": True, "constant_liar": True},
        ),
        "random": Entry(path="optuna.samplers.RandomSampler"),
        "qmc": Entry(
            path="optuna.samplers.QMCSampler",
            defaults={"qmc_type": "sobol", "scramble": True, **_QUIET},
            shares_seed=True,
        ),
        "gp": Entry(
            path="optuna.samplers.GPSampler",
            defaults={"n_startup_trials": 10, **_QUIET},
            needs=("scipy", "torch"),
        ),
        "cmaes": Entry(
            path="optuna.samplers.CmaEsSampler", defaults={"n_startup_trials": 1, **_QUIET}, needs=("cmaes",)
        ),
        "nsga2": Entry(
            path="optuna.samplers.NSGAIISampler",
            defaults={"population_size": 50, "crossover_prob": 0.9, "swapping_prob": 0.5},
        ),
        "grid": Entry(path="optuna.samplers.GridSampler"),
    },
    "pruner": {
        "none": Entry(path="optuna.pruners.NopPruner"),
        "median": Entry(
            path="optuna.pruners.MedianPruner",
            defaults={"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
        ),
        "hyperband": Entry(
            path="optuna.pruners.HyperbandPruner",
            defaults={"min_resource": 1, "max_resource": NUM_REPORTS, "reduction_factor": 3},
        ),
        "successive_halving": Entry(
            path="optuna.pruners.SuccessiveHalvingPruner", defaults={"min_resource": 1, "reduction_factor": 4}
        ),
        "percentile": Entry(
            path="optuna.pruners.PercentilePruner",
            defaults={"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
        ),
        "wilcoxon": Entry(
            path="optuna.pruners.WilcoxonPruner",
            defaults={"p_threshold": 0.1, "n_startup_steps": 2},
            needs=("scipy",),
        ),
        "patient": Entry(path="optuna.pruners.PatientPruner", defaults={"min_delta": 0.0, "wraps": "none"}),
        "threshold": Entry(path="optuna.pruners.ThresholdPruner", defaults={"n_warmup_steps": 0, "interval_steps": 1}),
        "curves": Entry(path="lkca_search.search.studies.algorithms.curve_pruner.CurvePruner"),
    },
}


def load(kind: Kind, name: str) -> Any:
    """Return the class of a sampler or pruner.

    Raises:
        UserError: A package is missing, the import fails, or the name does not refer to a sampler or pruner.
    """
    entry = REGISTRY[kind].get(name)
    for package in entry.needs if entry else ():
        _require_package(package, kind, name)
    if entry is None and not name.startswith(OPTUNAHUB):
        return load_own(kind, name)
    try:
        loaded = load_path(entry.path) if entry else _load_from_optunahub(kind, name)
    except UserError:
        raise
    except Exception as error:  # third-party code may raise anything when it is imported
        raise UserError(f"{kind} {name} cannot be loaded: {type(error).__name__}: {error}") from error
    check_kind(kind, name, loaded)
    return loaded


def _require_package(package: str, kind: Kind, name: str) -> None:
    if find_spec(package) is None:
        raise UserError(f"{kind} {name} needs the package {package}, which is not installed: pip install {package}")


def _load_from_optunahub(kind: Kind, name: str) -> Any:
    _require_package("optunahub", kind, name)
    module = import_module("optunahub").load_module(name.removeprefix(OPTUNAHUB))
    public = getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]
    loaded = [value for value in (getattr(module, key) for key in public) if is_subclass(kind, value)]
    own = [value for value in loaded if not value.__module__.startswith("optuna.")]
    if len(own) != 1:
        raise UserError(f"{kind} {name} must be a package with one {kind}, got {[value.__name__ for value in own]}")
    return own[0]
