"""Laws of optimizers by dotted path."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lkca_search.errors import UserError
from lkca_search.own_code import load_own
from lkca_search.search.studies.recipe_check import find_recipe_problems
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.optimizers import make_optimizer
from lkca_search.training.recipe.own_optimizers import own_optimizer_problem

SOURCE = """
import torch

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                weight -= group["lr"] * weight.grad

class Counts(Plain):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("three steps")
        super().step()

class Hides(Plain):
    steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for weight in group["params"]:
                weight -= group["lr"] * weight.grad / self.steps

class NoRate(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

def function(params, lr):
    return torch.optim.SGD(params, lr)
"""


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "ownoptim.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("ownoptim", None)


@pytest.mark.parametrize(
    ("values", "name", "rule"),
    [
        ({"optimizer": "ownoptim.Plian"}, "optimizer", "did you mean ownoptim.Plain?"),
        ({"optimizer": "nomodule.Plain"}, "optimizer", "cannot be loaded: ModuleNotFoundError"),
        ({"optimizer": "ownoptim.function"}, "optimizer", "must be a subclass of torch.optim.Optimizer"),
        ({"optimizer": "ownoptim.NoRate"}, "optimizer", "must take three steps on a small model, got TypeError"),
        ({"optimizer": "ownoptim.Counts"}, "optimizer", "got RuntimeError: three steps"),
        ({"optimizer": "ownoptim.Hides"}, "optimizer", "must resume bit for bit from its state_dict"),
        ({"optimizer": "ownoptim.Plain", "momentum": 0.5}, "momentum", "whose constructor has no argument momentum"),
        ({"optimizer": "torch.optim.SGD", "beta2": 0.5}, "beta2", "whose constructor has no argument betas"),
    ],
)
def test_a_broken_optimizer_of_your_own_is_a_problem_before_the_search(
    values: dict[str, Any], name: str, rule: str
) -> None:
    problem = own_optimizer_problem(Configuration.model_validate(values))
    assert problem is not None
    assert problem.location == (name,)
    assert rule in problem.rule
    spec = SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("resnet",)},
            "parameters": {given: {"value": value} for given, value in values.items()},
            "training": {"steps": 4},
            "search": {"trials_per_cell": 2},
        }
    )
    assert [found.location for found in find_recipe_problems(spec)] == [("parameters", name)]


@pytest.mark.parametrize("path", ["ownoptim.Plain", "torch.optim.NAdam", "torch.optim.RMSprop", "timm.optim.Lamb"])
def test_an_optimizer_that_keeps_the_laws_is_accepted(path: str) -> None:
    assert own_optimizer_problem(Configuration(optimizer=path)) is None


def test_a_weight_decay_is_refused_if_the_optimizer_does_not_take_it() -> None:
    problem = own_optimizer_problem(Configuration(optimizer="ownoptim.Plain", weight_decay=0.1))
    assert problem is not None
    assert problem.location == ("weight_decay",)
    assert "constructor has no argument weight_decay" in problem.rule
    assert own_optimizer_problem(Configuration(optimizer="ownoptim.Plain", weight_decay=0)) is None


def test_an_optimizer_without_weight_decay_is_called_without_it() -> None:
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(model, Configuration(optimizer="ownoptim.Plain", learning_rate=0.5))
    assert all("weight_decay" not in group for group in optimizer.param_groups)
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, before - 0.5)


@pytest.mark.parametrize(
    ("written", "ending"),
    [
        ("torch.optm.NAdam", "; did you mean torch.optim.NAdam?"),
        ("torch.optim.NAdm", "; did you mean torch.optim.NAdam?"),
        ("torch.nothing.like.it", "No module named 'torch.nothing'"),
        ("mine.Adam", "; put mine.py next to the space file or into the working directory"),
    ],
)
def test_a_slip_in_the_path_of_an_optimizer_has_the_path_that_is_meant(written: str, ending: str) -> None:
    with pytest.raises(UserError) as caught:
        load_own("optimizer", written)
    assert str(caught.value).endswith(ending)
