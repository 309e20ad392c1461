"""Optimizers by dotted path: their construction, and the laws that they keep before a search starts."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from lkca_search.errors import Problem, UserError
from lkca_search.own_code import describe_error, load_own, signature_of
from lkca_search.recipe import BETA1
from lkca_search.spec.configuration import Configuration

Groups = list[dict[str, Any]]
"""Parameter groups of an optimizer, each with its weight decay."""

_ARGUMENTS = {"momentum": "momentum", "beta2": "betas"}
"""Name of a recipe, and argument of a constructor that has its value."""
_STEPS = 3


class OptimizerCall(NamedTuple):
    """Class of an optimizer, or a function that makes one, and the arguments that it is called with."""

    function: Callable[..., Optimizer]
    arguments: Mapping[str, Any]
    has_decay: bool = True
    """False if the function takes no weight decay."""

    def make(self, groups: Groups) -> Optimizer:
        """Return the optimizer of these parameter groups."""
        if not self.has_decay:
            groups = [{"params": group["params"]} for group in groups]
        return self.function(groups, **self.arguments)

    def signature(self) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
        """Return the function and all its arguments other than the parameters, defaults included."""
        bound = inspect.signature(self.function).bind(None, **self.arguments)
        bound.apply_defaults()
        return self.function, dict(list(bound.arguments.items())[1:])


def own_optimizer(configuration: Configuration) -> OptimizerCall:
    """Return the optimizer of the class at a dotted path.

    It is called with `lr`, with `weight_decay` if it has this argument, and with the names that are given. All else
    keeps the defaults of its constructor.

    Raises:
        UserError: The class cannot be loaded, or is no optimizer.
    """
    make: Callable[..., Optimizer] = load_own("optimizer", configuration.optimizer)
    given: dict[str, Any] = {"lr": configuration.learning_rate}
    has_decay = _has_argument(configuration.optimizer, make, "weight_decay")
    if has_decay:
        given["weight_decay"] = configuration.weight_decay
    if configuration.momentum is not None:
        given["momentum"] = configuration.momentum
    if configuration.beta2 is not None:
        given["betas"] = (BETA1, configuration.beta2)
    return OptimizerCall(make, given, has_decay)


def own_optimizer_problem(configuration: Configuration) -> Problem | None:
    """Return the law that an optimizer by dotted path breaks on a small model, or None.

    It can be loaded and called, has the names that are given, takes three steps, and resumes from its state bit for
    bit.
    """
    name = configuration.optimizer
    try:
        make = load_own("optimizer", name)
        for other, argument in _ARGUMENTS.items():
            if getattr(configuration, other) is not None and not _has_argument(name, make, argument):
                return _missing_argument(name, other, argument)
        gives_decay = "weight_decay" in configuration.model_fields_set and configuration.weight_decay != 0
        if gives_decay and not _has_argument(name, make, "weight_decay"):
            return _missing_argument(name, "weight_decay", "weight_decay")
    except UserError as error:
        return Problem(("optimizer",), str(error))
    try:
        is_exact = _resumes_exactly(configuration)
    except Exception as error:  # code of the user raises anything
        rule = f"optimizer {name} must take three steps on a small model, got {describe_error(error)}"
        return Problem(("optimizer",), rule)
    if is_exact:
        return None
    rule = f"optimizer {name} must resume bit for bit from its state_dict, got other weights"
    return Problem(("optimizer",), f"{rule}; keep all state in `state` and `param_groups`")


def _missing_argument(optimizer: str, name: str, argument: str) -> Problem:
    rule = f"{name} does not apply to optimizer {optimizer}, whose constructor has no argument {argument}"
    return Problem((name,), rule)


def _has_argument(name: str, make: Callable[..., Optimizer], argument: str) -> bool:
    parameters = signature_of("optimizer", name, make).parameters.values()
    return any(each.name == argument or each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def _resumes_exactly(configuration: Configuration) -> bool:
    """Train a small model, and a copy of it that resumes before the last step; return True if they are equal."""
    whole, resumed = _Trained(configuration), _Trained(configuration)
    for step in range(_STEPS):
        if step == _STEPS - 1:
            resumed.model.load_state_dict(whole.model.state_dict())
            resumed.optimizer.load_state_dict(deepcopy(whole.optimizer.state_dict()))
            resumed.step(step)
        whole.step(step)
    return torch.equal(whole.model.weight, resumed.model.weight)


class _Trained:
    """Small model with an optimizer of its own."""

    def __init__(self, configuration: Configuration) -> None:
        """Make both; the weights are equal each time."""
        self.model = nn.Linear(4, 3)
        with torch.no_grad():
            self.model.weight.copy_(torch.linspace(-1, 1, 12).view(3, 4))
            self.model.bias.zero_()
        groups = [{"params": list(self.model.parameters()), "weight_decay": configuration.weight_decay}]
        self.optimizer = own_optimizer(configuration).make(groups)

    def step(self, step: int) -> None:
        """Take one step; all randomness is a function of its number."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            self.optimizer.zero_grad()
            self.model(torch.linspace(step, 2, 8).view(2, 4)).pow(2).mean().backward()
            self.optimizer.step()
