"""Rules of a recipe, the defaults that depend on other names, and the normal form by which recipes are compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lkca_search.errors import Problem
from lkca_search.spec.configuration import OPTIMIZERS, Configuration, Scalar


class _Needs(NamedTuple):
    """Name that a recipe may have only with some values of another name, and its default for each of them."""

    name: str
    other: str
    defaults: Mapping[str, float]


_BETA2 = {"adamw": 0.999, "lamb": 0.999, "lion": 0.99}
_NEEDS = (_Needs("momentum", "optimizer", {"sgd": 0.9}), _Needs("beta2", "optimizer", _BETA2))
_DECAYING = ("cosine", "linear", "warmup_stable_decay")
"""Schedules that end at `final_lr_fraction`."""


def recipe_problems(configuration: Configuration) -> Iterator[Problem]:
    """Yield every rule that the recipe of a configuration breaks, located at the name to change.

    An optimizer by dotted path has the names that its constructor has.
    """
    for name, other, defaults in _NEEDS:
        chosen = getattr(configuration, other)
        if getattr(configuration, name) is not None and chosen in OPTIMIZERS and chosen not in defaults:
            yield Problem((name,), _needs_rule(name, other, chosen, list(defaults)))
    if configuration.final_lr_fraction is not None and configuration.schedule not in _DECAYING:
        rule = _needs_rule("final_lr_fraction", "schedule", configuration.schedule, _DECAYING)
        yield Problem(("final_lr_fraction",), rule)


def fill_recipe(configuration: Configuration) -> Configuration:
    """Return the configuration with the defaults of its optimizer in place of None.

    `final_lr_fraction` stays None: the absolute rate that it stands for is no exact fraction of most learning rates.
    """
    filled: dict[str, Scalar] = {}
    for name, other, defaults in _NEEDS:
        default = defaults.get(getattr(configuration, other))
        if default is not None and getattr(configuration, name) is None:
            filled[name] = default
    return configuration.model_copy(update=filled) if filled else configuration


def normal_recipe(configuration: Configuration, *, balanced_classes: bool = False) -> Configuration:
    """Return the configuration with one recipe in place of all that train the same way.

    `balanced_classes` is True if every class has as many training images as any other.
    """
    filled = fill_recipe(configuration)
    changes: dict[str, Scalar | None] = {}
    if filled.weight_decay == 0:
        changes["weight_decay_on"] = "all"
    if filled.final_lr_fraction == 1:
        changes |= {"schedule": "constant", "final_lr_fraction": None}
    if balanced_classes:
        changes["class_weights"] = "none"
    return filled.model_copy(update=changes)


def num_moments(configuration: Configuration) -> int:
    """Return the numbers that the optimizer keeps per parameter; two for an optimizer by dotted path, a guess."""
    if configuration.optimizer == "sgd":
        return int(fill_recipe(configuration).momentum != 0)
    return 1 if configuration.optimizer == "lion" else 2


def _needs_rule(name: str, other: str, chosen: str, allowed: Sequence[str]) -> str:
    condition = f"when: {{{other}: [{', '.join(allowed)}]}}"
    return f"{name} does not apply to {other} {chosen}; set another {other}, or give {name} {condition}"
