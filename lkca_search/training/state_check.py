"""Checks of a checkpoint's state against the model and optimizer that it is loaded into.

torch checks the names and shapes of a model, after it has changed a part of it, and nothing of an optimizer: moments
of another shape fail at a later step.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

_SCHEDULED = ("lr", "params")
"""Entries of an optimizer's group that are not compared: the schedule sets the rate, and the numbers are compared."""


def check_state(state: Mapping[str, Any], model: nn.Module) -> None:
    """Raise ValueError unless a state has the names, shapes and types of a model's tensors."""
    expected = model.state_dict()
    if missing := sorted(expected.keys() - state.keys()):
        raise ValueError(f"{len(missing)} tensors of the model are missing, {missing[0]} first")
    if unknown := sorted(map(str, state.keys() - expected.keys())):
        raise ValueError(f"{len(unknown)} tensors are not of the model, {unknown[0]} first")
    for name, tensor in expected.items():
        _check_tensor(name, state[name], tensor)


def check_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError unless a state has the groups of an optimizer, and values of its parameters' shapes.

    The values are compared with those of a copy after one step, so that the check holds for every optimizer.
    """
    fresh = optimizer.state_dict()["param_groups"]
    groups = state["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in fresh]:
        raise ValueError("the optimizer has other parameters")
    for group, own in zip(groups, fresh, strict=True):
        names = [name for name in own if name in group and name not in _SCHEDULED]
        if differing := [name for name in names if group[name] != own[name]]:
            raise ValueError(f"the optimizer has {differing[0]} {group[differing[0]]!r}, not {own[differing[0]]!r}")
    stepped = _state_after_a_step(optimizer)
    for group, own, before in zip(groups, stepped["param_groups"], fresh, strict=True):
        for name in own.keys() - before.keys():  # timm's LAMB keeps its number of steps in the group
            _check_value(f"{name} of the optimizer", group.get(name), own[name])
    for number, values in state["state"].items():
        if number not in stepped["state"]:
            raise ValueError(f"the optimizer has values of parameter {number!r}, of {len(stepped['state'])}")
        for name, expected in stepped["state"][number].items():
            _check_value(f"{name} of parameter {number}", values.get(name), expected)


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of a copy of an optimizer after a step with gradients of zero."""
    copy = deepcopy(optimizer)
    for group in copy.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    copy.step()
    return copy.state_dict()


def _check_value(name: str, value: object, expected: object) -> None:
    """Raise ValueError unless a value is a tensor like an expected tensor, or of the type of another value."""
    if isinstance(expected, Tensor):
        _check_tensor(name, value, expected)
    elif expected is not None and not isinstance(value, type(expected)):
        raise ValueError(f"{name} is {value!r}, not a {type(expected).__name__}")


def _check_tensor(name: str, tensor: object, expected: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} is no tensor")
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        found, own = (f"{tuple(each.shape)} {each.dtype}" for each in (tensor, expected))
        raise ValueError(f"{name} is {found}, not {own}")
