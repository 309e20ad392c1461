"""Effective training of a configuration: a value that is equal for two configurations that train the same way."""

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

from lkca_search.augmentations import AUGMENTATIONS
from lkca_search.spec.configuration import RECIPE_NAMES, Configuration
from lkca_search.spec.recipe.rules import normal_recipe
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.training.recipe.optimizers import OptimizerIdentity, identify_optimizer
from lkca_search.training.recipe.schedule import Schedule

_COMPARED_STEPS = 256
"""Number of steps at which the learning rates of longer trainings are compared."""
SCHEDULE_NAMES = ("learning_rate", "warmup_fraction", "schedule", "final_lr_fraction")
_OPTIMIZER_NAMES = ("optimizer", "momentum", "beta2", "weight_decay")
_REPLACED = frozenset({*RECIPE_NAMES, *SCHEDULE_NAMES, *_OPTIMIZER_NAMES})
"""Names whose effect the rest of the value has."""


class Subset(NamedTuple):
    """Training images of a cell, as far as the training depends on their number."""

    num_images: int
    is_balanced: bool
    """True if every class has as many training images as any other."""


def effective_training(spec: SearchSpec, configuration: Configuration, subset: Subset | None) -> Hashable:
    """Return the effective training of a configuration.

    It has the class and the hyperparameters of the optimizer, the augmentations, and the other names of the recipe in
    their normal form. On a known subset, it has the batch, the steps, the reports and the learning rate of each step;
    else the values that they follow from.
    """
    recipe = normal_recipe(configuration, balanced_classes=subset is not None and subset.is_balanced)
    optimizer = _identify_optimizer(recipe)
    if not optimizer.decays:
        recipe = recipe.model_copy(update={"weight_decay_on": "all"})
    augment = spec.data.of(configuration).augment
    augmentations = frozenset(augment) & frozenset(AUGMENTATIONS)
    own = tuple(name for name in augment if name not in AUGMENTATIONS)
    rest = tuple((name, value) for name, value in recipe if name not in _REPLACED)
    return optimizer, augmentations, own, rest, _length(spec, recipe, subset)


def count_steps(spec: SearchSpec, configuration: Configuration, subset: Subset) -> int:
    """Return the optimizer steps of a configuration."""
    return Schedule.plan(spec.training.of(configuration), configuration, num_images=subset.num_images).steps


def _length(spec: SearchSpec, recipe: Configuration, subset: Subset | None) -> Hashable:
    training = spec.training.of(recipe)
    if subset is None:
        return training, tuple(getattr(recipe, name) for name in SCHEDULE_NAMES)
    schedule = Schedule.plan(training, recipe, num_images=subset.num_images)
    return min(training.batch_size, subset.num_images), schedule.steps, schedule.reports, _learning_rates(schedule)


@lru_cache(maxsize=10_000)
def _learning_rates(schedule: Schedule) -> tuple[float, ...]:
    """Return the learning rate of each step; of a long training at its start, at its end, and evenly in between."""
    steps = range(schedule.steps)
    if len(steps) > _COMPARED_STEPS:
        edge, last = _COMPARED_STEPS // 4, len(steps) - 1
        even = {i * last // (2 * edge - 1) for i in range(2 * edge)}
        compared = sorted({*steps[:edge], *steps[-edge:], *even})
    else:
        compared = list(steps)
    return tuple(schedule.learning_rate(step) for step in compared)


def _identify_optimizer(recipe: Configuration) -> OptimizerIdentity:
    names = {name: value for name in _OPTIMIZER_NAMES if (value := getattr(recipe, name)) is not None}
    return _identify(tuple(names.items()))


@lru_cache(maxsize=10_000)
def _identify(values: tuple[tuple[str, object], ...]) -> OptimizerIdentity:
    return identify_optimizer(Configuration.model_validate(dict(values)))
