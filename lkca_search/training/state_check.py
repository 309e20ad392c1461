"""Checks of a checkpoint's state against the model and optimizer that it is loaded into.

torch checks the names and shapes of a model, after it has changed a part of it, and nothing of an optimizer: moments
of another shape fail at a later step.
"""

from collections.abc import Mapping
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
    """Raise ValueError unless a state has the groups of an optimizer, and moments of its parameters' shapes."""
    expected = optimizer.state_dict()["param_groups"]
    groups = state["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in expected]:
        raise ValueError("the optimizer has other parameters")
    for group, own in zip(groups, expected, strict=True):
        names = [name for name in own if name in group and name not in _SCHEDULED]
        if differing := [name for name in names if group[name] != own[name]]:
            raise ValueError(f"the optimizer has {differing[0]} {group[differing[0]]!r}, not {own[differing[0]]!r}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, moments in state["state"].items():
        if number not in range(len(parameters)):
            raise ValueError(f"the optimizer has moments of parameter {number!r}, of {len(parameters)}")
        for name in ("exp_avg", "exp_avg_sq"):
            _check_tensor(f"{name} of parameter {number}", moments[name], parameters[number])
        if not isinstance(moments["step"], Tensor) or moments["step"].numel() != 1:
            raise ValueError(f"the optimizer has no step of parameter {number}")


def _check_tensor(name: str, tensor: object, expected: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} is no tensor")
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        found, own = (f"{tuple(each.shape)} {each.dtype}" for each in (tensor, expected))
        raise ValueError(f"{name} is {found}, not {own}")
