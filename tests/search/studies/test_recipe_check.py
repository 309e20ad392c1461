"""Checks of the recipes of a space file."""

from typing import Any

import numpy as np
import pytest

from lkca_search.search.studies.recipe_check import find_recipe_problems
from lkca_search.spec.search_spec import SearchSpec

EQUAL = np.repeat(np.arange(3), 40)
UNEQUAL = np.repeat(np.arange(3), [40, 40, 20])


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
    (problem,) = find_recipe_problems(spec(factors, {"momentum": momentum}), EQUAL)
    assert problem.location == ("parameters", "momentum")
    condition = "give momentum when: {optimizer: [sgd]}"
    assert problem.rule == f"momentum does not apply to optimizer adamw; set another optimizer, or {condition}"
    conditional = {"momentum": {**momentum, "when": {"optimizer": ("sgd",)}}}
    assert list(find_recipe_problems(spec(factors, conditional), EQUAL)) == []


def test_optimizers_that_are_searched_are_checked_too() -> None:
    parameters: dict[str, Any] = {"optimizer": {"choice": ("sgd", "lion")}, "beta2": {"value": 0.99}}
    (problem,) = find_recipe_problems(spec({}, parameters), EQUAL)
    assert problem.rule.startswith("beta2 does not apply to optimizer sgd")


@pytest.mark.parametrize(
    ("factors", "parameters", "sides"),
    [
        ({"weight_decay_on": ("all", "weights")}, {"weight_decay": {"value": 0.0}}, "weight_decay_on"),
        ({"beta2": (0.999, 0.99)}, {}, None),
        ({"schedule": ("cosine", "linear")}, {"final_lr_fraction": {"value": 1.0}}, "schedule"),
        ({"schedule": ("cosine", "linear")}, {"final_lr_fraction": {"choice": (1.0, 0.1)}}, None),
        ({"weight_decay_on": ("all", "weights")}, {"weight_decay": {"float": (0.0, 0.1)}}, None),
    ],
)
def test_cells_whose_recipes_train_the_same_way_are_a_problem(
    factors: dict[str, Any], parameters: dict[str, Any], sides: str | None
) -> None:
    problems = list(find_recipe_problems(spec(factors, parameters), EQUAL))
    assert [problem.location for problem in problems] == ([("factors", sides)] if sides else [])


def test_class_weights_are_no_factor_if_every_class_has_as_many_images() -> None:
    weighted = spec({"class_weights": ("none", "balanced")}, {})
    (problem,) = find_recipe_problems(weighted, EQUAL)
    assert problem.location == ("factors", "class_weights")
    assert problem.rule.endswith(": every class has as many training images")
    assert list(find_recipe_problems(weighted, UNEQUAL)) == []
