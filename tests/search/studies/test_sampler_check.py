"""Tests of the argument types of samplers and pruners, as Optuna's constructors declare them."""

from typing import Any

import pytest

from lkca_search.search.studies.sampler_check import find_sampler_problems
from lkca_search.spec.search_spec import SearchSpec


def rules(**search: Any) -> list[str]:
    """Return the rules that the sampler or the pruner of a search breaks."""
    spec = SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": {"depth": {"int": (1, 4)}, "learning_rate": {"float": (1e-4, 1e-1), "log": True}},
            "training": {"steps": 20, "reports": 4},
            "search": {"trials_per_cell": 3, **search},
        }
    )
    return [problem.rule for problem in find_sampler_problems(spec)]


@pytest.mark.parametrize(
    ("sampler", "argument", "value"),
    [
        ("tpe", "n_startup_trials", 3),
        ("nsga2", "crossover_prob", 1),  # an int is a valid float
        ("nsga2", "mutation_prob", 0.5),
        ("tpe", "gamma", None),
    ],
)
def test_an_argument_of_its_declared_type_is_accepted(sampler: str, argument: str, value: Any) -> None:
    assert rules(sampler={"name": sampler, argument: value}) == []


@pytest.mark.parametrize(
    ("sampler", "argument", "value", "declared"),
    [
        ("tpe", "n_startup_trials", 3.0, "int"),
        ("tpe", "n_startup_trials", True, "int"),
        ("tpe", "n_startup_trials", "3", "int"),
        ("tpe", "n_startup_trials", None, "int"),
        ("nsga2", "mutation_prob", True, "float | None"),
        ("tpe", "group", 1, "bool"),
        ("tpe", "gamma", [1, 2], "Callable[[int], int] | None"),
        ("qmc", "qmc_type", 3, "str"),
        ("nsga2", "mutation", "uniform", "BaseMutation | None"),
    ],
)
def test_an_argument_of_another_type_is_refused(sampler: str, argument: str, value: Any, declared: str) -> None:
    shown = tuple(value) if isinstance(value, list) else value
    assert rules(sampler={"name": sampler, argument: value}) == [
        f"{argument} of sampler {sampler} must be {declared}, got {shown!r}"
    ]
