"""Rules, defaults and normal form of recipes."""

from typing import Any

import pytest
import torch
from torch import nn

from lkca_search.spec.configuration import Configuration
from lkca_search.spec.recipe.rules import (
    fill_recipe,
    normal_recipe,
    num_moments,
    recipe_problems,
)
from lkca_search.training.recipe.optimizers import make_optimizer


@pytest.mark.parametrize(
    ("values", "name", "rule"),
    [
        (
            {"momentum": 0.9},
            "momentum",
            "optimizer adamw; set another optimizer, or give momentum when: {optimizer: [sgd]}",
        ),
        (
            {"optimizer": "lion", "momentum": 0.9},
            "momentum",
            "optimizer lion; set another optimizer, or give momentum when: {optimizer: [sgd]}",
        ),
        (
            {"optimizer": "sgd", "beta2": 0.9},
            "beta2",
            "optimizer sgd; set another optimizer, or give beta2 when: {optimizer: [adamw, lamb, lion]}",
        ),
        (
            {"schedule": "constant", "final_lr_fraction": 0.1},
            "final_lr_fraction",
            "schedule constant; set another schedule, or give final_lr_fraction "
            "when: {schedule: [cosine, linear, warmup_stable_decay]}",
        ),
    ],
)
def test_a_name_without_effect_is_refused_with_the_condition_to_give(
    values: dict[str, Any], name: str, rule: str
) -> None:
    (problem,) = recipe_problems(Configuration.model_validate(values))
    assert problem == ((name,), f"{name} does not apply to {rule}")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "lamb", "beta2": 0.99, "final_lr_fraction": 0.0},
        {"optimizer": "torch.optim.NAdam", "beta2": 0.99, "momentum": 0.9},
    ],
)
def test_a_recipe_whose_names_all_apply_breaks_no_rule(values: dict[str, Any]) -> None:
    assert list(recipe_problems(Configuration.model_validate(values))) == []


@pytest.mark.parametrize(
    ("optimizer", "momentum", "beta2"),
    [
        ("adamw", None, 0.999),
        ("lamb", None, 0.999),
        ("lion", None, 0.99),
        ("sgd", 0.9, None),
        ("torch.optim.NAdam", None, None),
    ],
)
def test_each_optimizer_has_its_defaults_and_keeps_given_values(
    optimizer: str, momentum: float | None, beta2: float | None
) -> None:
    filled = fill_recipe(Configuration(optimizer=optimizer))
    assert (filled.momentum, filled.beta2) == (momentum, beta2)
    given = {name: 0.5 for name, value in (("momentum", momentum), ("beta2", beta2)) if value is not None}
    configuration = Configuration.model_validate({"optimizer": optimizer, **given})
    assert fill_recipe(configuration) == configuration


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"beta2": 0.999}, {}),
        ({"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "sgd"}),
        ({"weight_decay": 0.0, "weight_decay_on": "weights"}, {"weight_decay": 0.0}),
        ({"final_lr_fraction": 1.0}, {"schedule": "constant"}),
        ({"schedule": "linear", "final_lr_fraction": 1}, {"schedule": "constant"}),
    ],
)
def test_recipes_that_train_the_same_way_have_one_normal_form(one: dict[str, Any], other: dict[str, Any]) -> None:
    forms = [normal_recipe(Configuration.model_validate(values)) for values in (one, other)]
    assert forms[0] == forms[1]
    assert normal_recipe(forms[0]) == forms[0]


@pytest.mark.parametrize(
    "values",
    [
        {"weight_decay_on": "weights"},
        {"final_lr_fraction": 0.9},
        {"schedule": "constant"},
        {"optimizer": "lion"},
        {"class_weights": "balanced"},
    ],
)
def test_recipes_that_differ_have_different_normal_forms(values: dict[str, Any]) -> None:
    assert normal_recipe(Configuration.model_validate(values)) != normal_recipe(Configuration())


def test_class_weights_have_no_effect_if_all_classes_have_as_many_images() -> None:
    balanced = Configuration(class_weights="balanced")
    assert normal_recipe(balanced, balanced_classes=True) == normal_recipe(Configuration())


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 2),
        ({"optimizer": "lamb"}, 2),
        ({"optimizer": "lion"}, 1),
        ({"optimizer": "sgd"}, 1),
        ({"optimizer": "sgd", "momentum": 0.0}, 0),
    ],
)
def test_the_numbers_that_an_optimizer_keeps_per_parameter_are_those_of_its_state(
    values: dict[str, Any], count: int
) -> None:
    configuration = Configuration.model_validate(values)
    weight = nn.Linear(2, 2, bias=False)
    optimizer = make_optimizer(weight, configuration)
    weight(torch.ones(2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()["state"].get(0, {})
    assert sum(value.numel() for name, value in state.items() if name != "step") == 4 * count
    assert num_moments(configuration) == count
