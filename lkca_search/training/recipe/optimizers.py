"""Optimizers by name, and the groups of parameters that they decay.

AdamW and SGD are torch's, LAMB and Lion are timm's. timm is imported only where it is needed: the import takes seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from lkca_search.errors import UserError
from lkca_search.models.family import require
from lkca_search.recipe import ADAM_EPSILON, BETA1, LAMB_EPSILON
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.recipe.rules import fill_recipe
from lkca_search.training.recipe.own_optimizers import Groups, OptimizerCall, own_optimizer

_UNDECAYED = (
    *("*pos_embed*", "*positions", "*position_embedding*", "*position_bias*", "*rel_pos*"),
    *("*cls_token*", "*class_token*", "*dist_token*", "*reg_token*"),
    *("*layer_scale*", "*.gamma*", "*.ls?.*"),
)
"""Names of positions, class tokens and layer scales with several dimensions, in this project and in timm."""
_NO_EFFECT = frozenset({"params", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable"})
"""Values of a parameter group that choose an implementation, and the learning rate, which the schedule sets."""
_EFFECT_OF_DECAY = frozenset({"weight_decay", "decoupled_weight_decay"})


def make_optimizer(model: nn.Module, configuration: Configuration) -> Optimizer:
    """Return the optimizer of a configuration for a model's parameters."""
    filled = fill_recipe(configuration)
    return find_optimizer(filled).make(parameter_groups(model, filled))


def find_optimizer(filled: Configuration) -> OptimizerCall:
    """Return the optimizer of a configuration whose recipe is filled in, given its short name or the dotted path."""
    return OPTIMIZERS.get(filled.optimizer, own_optimizer)(filled)


def parameter_groups(model: nn.Module, configuration: Configuration) -> Groups:
    """Return the model's parameters: all in one group, or those without weight decay in a group of their own.

    With `weight_decay_on: weights`, vectors (biases, norms, layer scales), positions, class tokens and the parameters
    in the model's own `no_weight_decay()` are not decayed.
    """
    if configuration.weight_decay_on == "all":
        return [{"params": list(model.parameters()), "weight_decay": configuration.weight_decay}]
    from timm.optim import param_groups_weight_decay

    own: Callable[[], Iterable[str]] = getattr(model, "no_weight_decay", lambda: ())
    groups: Groups = param_groups_weight_decay(
        model, configuration.weight_decay, no_weight_decay_list=(*_UNDECAYED, *own())
    )
    return groups


class OptimizerIdentity(NamedTuple):
    """Optimizer as its steps depend on it: two configurations with equal values take the same steps."""

    path: str
    """Dotted path of the class, where it is defined."""
    values: str
    """Hyperparameters other than the learning rate."""
    decays: bool
    """True if it decays parameters."""


def identify_optimizer(configuration: Configuration) -> OptimizerIdentity:
    """Return the identity of a configuration's optimizer; of one that cannot be loaded, its given names.

    Nothing is made: torch imports its compiler with the first optimizer of a process, which takes a second. Choices of
    an implementation, such as `fused`, are left out. AdamW without weight decay is Adam.
    """
    filled = fill_recipe(configuration)
    try:
        made, values = find_optimizer(filled).signature()
    except (UserError, TypeError, ValueError):  # the check of the recipes reports it
        given = {name: getattr(filled, name) for name in ("momentum", "beta2", "weight_decay")}
        return OptimizerIdentity(filled.optimizer, repr(given), filled.weight_decay != 0)
    values = {name: value for name, value in values.items() if name not in _NO_EFFECT}
    decays = values.get("weight_decay", 0) != 0
    if not decays:
        made = torch.optim.Adam if made is torch.optim.AdamW else made
        values = {name: value for name, value in values.items() if name not in _EFFECT_OF_DECAY}
    return OptimizerIdentity(f"{made.__module__}.{made.__qualname__}", repr(sorted(values.items())), decays)


def _adamw(filled: Configuration) -> OptimizerCall:
    arguments = {"betas": (BETA1, require(filled.beta2)), "eps": ADAM_EPSILON, "fused": True}
    return OptimizerCall(torch.optim.AdamW, {**_rates(filled), **arguments})


def _sgd(filled: Configuration) -> OptimizerCall:
    momentum = require(filled.momentum)
    arguments = {"momentum": momentum, "nesterov": momentum > 0, "fused": True}
    return OptimizerCall(torch.optim.SGD, {**_rates(filled), **arguments})


def _lamb(filled: Configuration) -> OptimizerCall:
    from timm.optim import Lamb

    # The gradients are clipped by gradient_clip, for every optimizer.
    arguments = {"betas": (BETA1, require(filled.beta2)), "eps": LAMB_EPSILON, "max_grad_norm": None}
    return OptimizerCall(Lamb, {**_rates(filled), **arguments})


def _lion(filled: Configuration) -> OptimizerCall:
    from timm.optim import Lion

    return OptimizerCall(Lion, {**_rates(filled), "betas": (BETA1, require(filled.beta2))})


def _rates(filled: Configuration) -> dict[str, Any]:
    return {"lr": filled.learning_rate, "weight_decay": filled.weight_decay}


OPTIMIZERS: Mapping[str, Callable[[Configuration], OptimizerCall]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "lamb": _lamb,
    "lion": _lion,
}
"""Optimizers by their name in a space file."""
