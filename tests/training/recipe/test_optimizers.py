"""Optimizers and parameter groups of a recipe."""

from typing import Any

import pytest
import torch
from torch import nn

from lkca_search.models.registry import FAMILIES, build_model
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.training.recipe.optimizers import find_optimizer, make_optimizer, parameter_groups

SHAPE = ImageShape(16, 16, 3)
MODELS = [*FAMILIES, "timm:vit_tiny_patch16_224", "timm:convnext_atto", "timm:resnet18"]
MATRICES = (nn.Linear, nn.Conv2d)


def model_of(family: str) -> tuple[nn.Module, Configuration]:
    small = {"depth": 1, "width": 32} if not family.startswith("timm:") else {}
    values = {"family": family, "weight_decay_on": "weights", **small}
    configuration = Configuration.model_validate(values)
    shape = ImageShape(32, 32, 3) if family.startswith("timm:") else SHAPE
    with torch.device("meta"):
        return build_model(configuration, shape, 10), configuration


@pytest.mark.parametrize("family", MODELS)
def test_weights_decay_and_norms_biases_positions_class_tokens_and_layer_scales_do_not(family: str) -> None:
    model, configuration = model_of(family)
    groups = parameter_groups(model, configuration)
    decayed = {id(weight) for group in groups if group["weight_decay"] for weight in group["params"]}
    expected = {id(module.weight) for module in model.modules() if isinstance(module, MATRICES)}
    # A kernel of LKCA is a weight.
    expected |= {id(weight) for name, weight in model.named_parameters() if name.endswith("mixer.kernel")}
    assert decayed == expected
    grouped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in model.parameters())


def test_by_default_all_parameters_decay_in_one_group_in_the_order_of_the_model() -> None:
    model, configuration = model_of("vit")
    (group,) = parameter_groups(model, configuration.model_copy(update={"weight_decay_on": "all"}))
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in model.parameters()]
    assert group["weight_decay"] == configuration.weight_decay


def test_a_models_own_list_of_undecayed_parameters_is_honored() -> None:
    class Own(nn.Linear):
        def no_weight_decay(self) -> set[str]:
            return {"weight"}

    groups = parameter_groups(Own(2, 2), Configuration(weight_decay_on="weights"))
    assert [group["weight_decay"] for group in groups] == [0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05, "fused": True}),
        ({"beta2": 0.95}, {"betas": (0.9, 0.95)}),
        ({"optimizer": "sgd"}, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "sgd", "momentum": 0.0}, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "lamb"}, {"betas": (0.9, 0.999), "eps": 1e-6}),
        ({"optimizer": "lion", "weight_decay": 0.3}, {"betas": (0.9, 0.99), "weight_decay": 0.3}),
        ({"optimizer": "torch.optim.NAdam", "beta2": 0.5}, {"betas": (0.9, 0.5), "weight_decay": 0.05}),
        ({"optimizer": "torch.optim.RMSprop", "momentum": 0.5}, {"momentum": 0.5, "alpha": 0.99}),
    ],
)
def test_an_optimizer_has_the_values_of_the_recipe(values: dict[str, Any], expected: dict[str, Any]) -> None:
    configuration = Configuration.model_validate({"learning_rate": 0.25, **values})
    (group,) = make_optimizer(nn.Linear(2, 2), configuration).param_groups
    assert group["lr"] == 0.25
    assert {name: group[name] for name in expected} == expected


def test_nesterov_momentum_is_that_of_sutskever() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    configuration = Configuration(optimizer="sgd", momentum=0.5, learning_rate=0.1, weight_decay=0.0)
    optimizer = find_optimizer(configuration).make([{"params": [weight], "weight_decay": 0.0}])
    buffer, value = 0.0, 1.0
    for _ in range(3):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        buffer = 0.5 * buffer + 2 * value
        value -= 0.1 * (2 * value + 0.5 * buffer)
        optimizer.step()
        assert weight.item() == pytest.approx(value)
