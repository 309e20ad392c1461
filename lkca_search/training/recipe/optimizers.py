"""Optimizers by name, and the groups of parameters that they decay.

AdamW and SGD are torch's, LAMB and Lion are timm's. timm is imported only where it is needed: the import takes seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
