"""Rules of a recipe, the defaults that depend on other names, and the normal form by which recipes are compared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lkca_search.errors import Problem
from lkca_search.spec.configuration import LENGTH_NAMES, OPTIMIZERS, Configuration, Scalar


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


def length_rule(training: Mapping[str, object]) -> str | None:
    """Return the rule that the keys of a section `training` break by two units of the length; None if they do not."""
    units = [unit for unit in LENGTH_NAMES if training[unit] is not None]
    if len(units) < 2:
        return None
    bounds = {name for name in ("min_steps", "max_steps") if training[name] is not None}
    choices = []
    for unit in units:
        removed = sorted({*units, *(bounds if unit != "epochs" else ())} - {unit})
        choices.append(f"{' '.join(repr(f'~training.{name}') for name in removed)} to keep {unit}")
    rule = f"training must have exactly one of {', '.join(LENGTH_NAMES)}, got {' and '.join(units)}"
    return f"{rule}; remove the others in the file, or by overrides: {', or '.join(choices)}"
