"""Sections of a space file: data, training, search, confirm and limits."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.components import PRUNERS, SAMPLERS, ComponentConfig, name_rule
from lkca_search.spec.metrics import METRICS, Direction, MetricName

Augmentation = Literal[
    "crop", "crop_reflect", "flip", "trivial_augment", "rand_augment", "erase", "cutmix", "mixup"
]  # fmt: skip
"""What may be done to training images, in the order in which it is done; `data/augment.py` has the strengths.

`crop`: a random window after padding by an eighth of each side, in black; `crop_reflect`: the same, padded by the
image's own reflection; `flip`: left to right, every other image; `trivial_augment`, `rand_augment`: distortions drawn
by these policies; `erase`: a random box made grey in every other image; `cutmix`, `mixup`: images and labels mixed in
pairs, with both named by one of them at each step.
"""

_EXCLUSIVE = (("crop", "crop_reflect"), ("trivial_augment", "rand_augment"))


def augment_rule(names: Sequence[str]) -> str | None:
    """Return the rule that a list of augmentations breaks, or None."""
    known = get_args(Augmentation)
    if unknown := sorted(set(names) - set(known)):
        return f"augment must be among {', '.join(known)}, got {unknown}"
    if len(set(names)) < len(names):
        return f"augment must name each augmentation once, got {list(names)}"
    for pair in _EXCLUSIVE:
        if set(pair) <= set(names):
            return f"augment takes one of {' and '.join(pair)}, got both"
    return None


class DataSection(FrozenModel):
    """Which images, how many are held out, and how they are augmented."""

    dataset: Annotated[str, Field(min_length=1)]
    """A name of the catalogue (`data list`), `parquet:PATH` or `folder:PATH`."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Side in pixels to which every image is brought, middle kept; by default images keep their size, one for all."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the training images held out, class by class; never trained on."""
    scale_validation: bool = False
    """Whether a trial is validated on as small a share of those held out, nested too, as it trains on of the rest."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to training images; the order of the names does not matter."""

    @field_validator("augment")
    @classmethod
    def _sensible_augment(cls, names: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        if rule := augment_rule(names):
            raise ValueError(rule)
        return names


class TrainingSection(FrozenModel):
    """How long every trial trains, in exactly one unit."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training subset."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Training images seen, rounded up to whole batches."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Images in a step; a smaller subset trains in batches of its own size."""
    reports: Annotated[int, Field(ge=1)] | None = None
    """Evaluations in a trial, evenly spaced; by default one an epoch where epochs are the unit, else 20."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Evaluations in a row without a higher val_accuracy after which a trial ends, complete, before its length."""

    @property
    def num_reports(self) -> int:
        """Evaluations of every trial that has at least as many steps."""
        return self.reports or self.epochs or 20

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [unit for unit in ("epochs", "steps", "samples") if getattr(self, unit) is not None]
        if len(given) != 1:
            raise ValueError(f"training needs exactly one of epochs, steps, samples, got {given or 'none'}")
        return self


class SearchSection(FrozenModel):
    """How each cell is searched, and by which number trials are compared."""

    sampler: ComponentConfig = ComponentConfig(name="tpe")
    """Optuna sampler of every cell's study, with arguments of its constructor: {name: tpe, n_startup_trials: 20}."""
    pruner: ComponentConfig = ComponentConfig(name="none")
    """Optuna pruner of every cell's study; it compares trials of one cell only, and counts in reports."""
    trials_per_cell: Annotated[int, Field(ge=1)]
    """Trials of every cell: equal budgets."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often every cell is searched, each time on a subset draw of its own; short for the factor draw."""
    metric: MetricName | Annotated[tuple[MetricName, ...], Field(min_length=1)] = "val_accuracy"
    """Number by which trials are compared, as last reported. Several make a Pareto front; the first one leads."""
    goal: Direction | Annotated[tuple[Direction, ...], Field(min_length=1)] | None = None
    """Better direction of the metric, or of each. It follows from the metric and need not be given."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The number from which every seed of the search is derived."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """How often a trial that died of an outside cause (node, memory) goes on from its checkpoint."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds of training after which a report is followed by a checkpoint; 0 means after every report."""

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Every metric. The first one leads: it decides the best trial, and is the value shown for a trial."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Better direction of each metric."""
        return tuple(METRICS[metric].direction for metric in self.metrics)

    @property
    def signs(self) -> tuple[int, ...]:
        """1 per metric to be maximized, -1 per metric to be minimized."""
        return tuple(METRICS[metric].sign for metric in self.metrics)

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_name(cls, named: ComponentConfig, info: ValidationInfo) -> ComponentConfig:
        assert info.field_name is not None
        if rule := name_rule(info.field_name, named.name, SAMPLERS if info.field_name == "sampler" else PRUNERS):
            raise ValueError(rule)
        return named

    @model_validator(mode="after")
    def _goals_follow_from_metrics(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics must be distinct, got {list(self.metrics)}")
        if not METRICS[self.metrics[0]].can_lead:
            leads = " or ".join(name for name, metric in METRICS.items() if metric.can_lead)
            raise ValueError(f"the first metric leads and must be {leads}, got {self.metrics[0]}")
        if self.goal is None:
            # Filled in, so that a spec is equal with and without a written goal, and its JSON always has one.
            derived = self.directions
            object.__setattr__(self, "goal", derived[0] if len(derived) == 1 else derived)
            return self
        goals = (self.goal,) if isinstance(self.goal, str) else self.goal
        if len(goals) != len(self.metrics):
            raise ValueError(
                f"goal must have one direction per metric, got {len(self.metrics)} metrics and {list(goals)}"
            )
        for metric, goal in zip(self.metrics, goals, strict=True):
            if goal != METRICS[metric].direction:
                raise ValueError(f"goal of metric {metric} must be {METRICS[metric].direction}, got {goal}")
        return self


class ConfirmSection(FrozenModel):
    """How the best configurations are confirmed once a search is done: retrained with fresh draws and seeds, tested."""

    draws: Annotated[int, Field(ge=1)] = 5
    """Subset draws, none of which the search has trained on; where the search is repeated, one for each repeat."""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Trainings on each draw."""
    top: Annotated[int, Field(ge=1)] = 1
    """Configurations of every cell, best first."""


class LimitsSection(FrozenModel):
    """When a search ends before its budget is spent; what is finished stays, and the same command goes on."""

    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of a driver after which no trial or replicate is started; those that run are finished."""
    max_failures: Annotated[int, Field(ge=0)] | None = None
    """Failed trials of the search, or replicates of a round, beyond which none is started; 0 stops at the first."""
    plateau: Annotated[int, Field(ge=1)] | None = None
    """Complete trials in a row without a better value after which a cell is given no new one."""
