"""A trial as a value: all that one training needs to know, so that it can be repeated anywhere."""

from typing import Annotated

from pydantic import Field

from lkca_search.configuration import Configuration
from lkca_search.resources import TrialResources
from lkca_search.spec import DataSection, TrainingSection
from lkca_search.value import Value

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrialSpec(Value):
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
