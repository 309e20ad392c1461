"""Specifications of trials and replicates: everything needed to repeat one training."""

from typing import Annotated

from pydantic import Field

from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration
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
