"""Checks of the recipes of a space file."""

from typing import Any

from lkca_search.search.studies.recipe_check import find_recipe_problems
from lkca_search.spec.search_spec import SearchSpec


def spec(factors: dict[str, Any], parameters: dict[str, Any]) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits", "validation": 0.25},
            "factors": {"family": ("resnet",), **factors},
            "parameters": parameters,
            "training": {"steps": 4},
            "search": {"trials_per_cell": 2},
        }
    )


def test_a_parameter_that_no_optimizer_of_a_cell_has_is_a_problem_at_its_place() -> None:
    factors = {"optimizer": ("adamw", "sgd")}
    momentum: dict[str, Any] = {"float": (0.5, 0.95)}
    (problem,) = find_recipe_problems(spec(factors, {"momentum": momentum}))
    assert problem.location == ("parameters", "momentum")
    condition = "give momentum when: {optimizer: [sgd]}"
    assert problem.rule == f"momentum does not apply to optimizer adamw; set another optimizer, or {condition}"
    conditional = {"momentum": {**momentum, "when": {"optimizer": ("sgd",)}}}
    assert list(find_recipe_problems(spec(factors, conditional))) == []


def test_optimizers_that_are_searched_are_checked_too() -> None:
    parameters: dict[str, Any] = {"optimizer": {"choice": ("sgd", "lion")}, "beta2": {"value": 0.99}}
    (problem,) = find_recipe_problems(spec({}, parameters))
    assert problem.rule.startswith("beta2 does not apply to optimizer sgd")
