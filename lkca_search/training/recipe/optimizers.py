"""Optimizers by name, and the groups of parameters that they decay.

AdamW and SGD are torch's, LAMB and Lion are timm's. timm is imported only where it is needed: the import takes seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from lkca_search.models.family import require
from lkca_search.recipe import ADAM_EPSILON, BETA1, LAMB_EPSILON
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.recipe.rules import fill_recipe
from lkca_search.training.recipe.own_optimizers import make_own_optimizer

Groups = list[dict[str, Any]]
"""Parameter groups of an optimizer, each with its weight decay."""
MakeOptimizer = Callable[[Groups, Configuration], Optimizer]
"""Function (parameter groups, configuration with its recipe filled in) -> optimizer."""

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
    return find_optimizer(filled.optimizer)(parameter_groups(model, filled), filled)


def find_optimizer(name: str) -> MakeOptimizer:
    """Return the function that makes an optimizer, given its short name or the dotted path of a class."""
    return OPTIMIZERS.get(name, make_own_optimizer)


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
    """Return the identity of the optimizer that a configuration makes; of one that cannot be made, its given names.

    Choices of an implementation, such as `fused`, are left out. AdamW without weight decay is Adam.
    """
    filled = fill_recipe(configuration)
    group = {"params": [nn.Parameter(torch.zeros(1))], "weight_decay": filled.weight_decay}
    try:
        optimizer = find_optimizer(filled.optimizer)([group], filled)
    except Exception:  # code of the user raises anything; the check of the recipes reports it
        given = {name: getattr(filled, name) for name in ("momentum", "beta2", "weight_decay")}
        return OptimizerIdentity(filled.optimizer, repr(given), filled.weight_decay != 0)
    made = type(optimizer)
    values = {name: value for name, value in optimizer.param_groups[0].items() if name not in _NO_EFFECT}
    decays = values.get("weight_decay", 0) != 0
    if not decays:
        made = torch.optim.Adam if made is torch.optim.AdamW else made
        values = {name: value for name, value in values.items() if name not in _EFFECT_OF_DECAY}
    return OptimizerIdentity(f"{made.__module__}.{made.__qualname__}", repr(sorted(values.items())), decays)


def _adamw(groups: Groups, configuration: Configuration) -> Optimizer:
    return torch.optim.AdamW(
        groups,
        lr=configuration.learning_rate,
        betas=(BETA1, require(configuration.beta2)),
        eps=ADAM_EPSILON,
        weight_decay=configuration.weight_decay,
        fused=True,
    )


def _sgd(groups: Groups, configuration: Configuration) -> Optimizer:
    momentum = require(configuration.momentum)
    return torch.optim.SGD(
        groups,
        lr=configuration.learning_rate,
        momentum=momentum,
        weight_decay=configuration.weight_decay,
        nesterov=momentum > 0,
        fused=True,
    )


def _lamb(groups: Groups, configuration: Configuration) -> Optimizer:
    from timm.optim import Lamb

    optimizer: Optimizer = Lamb(
        groups,
        lr=configuration.learning_rate,
        betas=(BETA1, require(configuration.beta2)),
        eps=LAMB_EPSILON,
        weight_decay=configuration.weight_decay,
        max_grad_norm=None,  # gradient_clip does it, for every optimizer
    )
    return optimizer


def _lion(groups: Groups, configuration: Configuration) -> Optimizer:
    from timm.optim import Lion

    optimizer: Optimizer = Lion(
        groups,
        lr=configuration.learning_rate,
        betas=(BETA1, require(configuration.beta2)),
        weight_decay=configuration.weight_decay,
    )
    return optimizer


OPTIMIZERS: Mapping[str, MakeOptimizer] = {"adamw": _adamw, "sgd": _sgd, "lamb": _lamb, "lion": _lion}
"""Optimizers by their name in a space file."""
