"""A trial as a value: all that one training needs to know, so that it can be repeated anywhere; and its replicates."""

from typing import Annotated

from pydantic import Field

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrialSpec(FrozenModel):
    """One training of one configuration. The same spec gives the same result, bit for bit, on the same machine."""

    data: DataSection
    training: TrainingSection
    resources: TrialResources
    """The number of threads decides the order of floating-point sums, so it is part of the result; and what the latest
    attempt held of a GPU. Which node it was, and what else was asked of it, decides nothing here."""
    configuration: Configuration
    seed: Seed
    """Decides initial weights, order of the images, augmentation and drop-path."""
    split_seed: Seed
    """Decides which images are held out for validation, and what each draw's subsets are."""


class Replication(FrozenModel):
    """What makes a training a replicate: whose configuration it repeats, on which fresh draw, with which fresh seed."""

    of: str
    """Id of the trial whose configuration was frozen: CELL/NUMBER."""
    draw: int
    """Number of the subset draw, which no trial of the search trains on."""
    seed: int
    """Number of the seed within the draw, from 0. Replicates of one draw and seed are paired across cells."""

    @property
    def replicate_id(self) -> str:
        """CELL/NUMBER/draw=D,seed=S: the id of the Tune trial, the MLflow run and the row."""
        return f"{self.of}/draw={self.draw},seed={self.seed}"
