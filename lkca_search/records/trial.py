"""Specifications of trials and replicates: everything needed to repeat one training."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lkca_search.augmentations import join_augment
from lkca_search.own_code import is_dotted
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import LENGTH_NAMES, Configuration
from lkca_search.spec.metrics import MetricChoice, name_of
from lkca_search.spec.recipe.rules import fill_recipe
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrialSpec(FrozenModel):
    """Specification of one training. On one machine, equal specs give bit-identical results."""

    data: DataSection
    training: TrainingSection
    resources: TrialResources
    """CPU threads, which decide the order of floating-point sums, and the GPU share of the latest attempt."""
    configuration: Configuration
    seed: Seed
    """Seed of initial weights, order of images, augmentation and drop-path."""
    split_seed: Seed
    """Seed of the validation split and of the subsets of each draw."""
    metrics: tuple[MetricChoice, ...] = ("val_accuracy",)
    """Metrics that the training measures, the leading one first: `patience` follows it. Validation accuracy in records
    of earlier versions, whose patience followed it for every metric."""

    @property
    def complete_configuration(self) -> Configuration:
        """Configuration with the values of the sections and the optimizer in place of None, and at most one length."""
        lengths = {name: getattr(self.training, name) for name in LENGTH_NAMES}
        augment = self.configuration.augment or join_augment(self.data.augment)
        update = {"dataset": self.dataset, "augment": augment, "batch_size": self.training.batch_size, **lengths}
        return fill_recipe(self.configuration.model_copy(update=update))

    @property
    def dataset(self) -> str:
        """Level of the factor `dataset`, or `data.dataset`."""
        return self.configuration.dataset or self.data.place_of(None)

    def own_code(self) -> list[str]:
        """Return the dotted paths of your own code that the training uses."""
        values = self.configuration.model_dump(include={"family", "optimizer"}).values()
        named = [*values, self.data.dataset, *self.data.augment, *map(name_of, self.metrics)]
        return [name for name in named if isinstance(name, str) and is_dotted(name)]

    @model_validator(mode="after")
    def _complete_sections(self) -> Self:
        """Take the configuration's dataset, augmentations, batch size and length over those of the sections."""
        object.__setattr__(self, "data", self.data.of(self.configuration))
        object.__setattr__(self, "training", self.training.of(self.configuration))
        if self.training.unit is None:
            raise ValueError(f"training must have exactly one of {', '.join(LENGTH_NAMES)}, got none")
        return self


class Replication(FrozenModel):
    """Replicate of a frozen configuration on a fresh draw with a fresh seed."""

    of: str
    """Id of the trial whose configuration was frozen: CELL/NUMBER."""
    draw: int
    """Number of the subset draw; no trial of the search trains on it."""
    seed: int
    """Number of the seed within the draw, from 0. Replicates with the same draw and seed are paired across cells."""

    @property
    def replicate_id(self) -> str:
        """CELL/NUMBER/draw=D,seed=S: the id in Ray Tune, MLflow and the tables."""
        return f"{self.of}/draw={self.draw},seed={self.seed}"
