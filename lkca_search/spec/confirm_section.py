"""The space file's section `confirm`."""

from typing import Annotated

from pydantic import Field

from lkca_search.spec.base import FrozenModel


class ConfirmSection(FrozenModel):
    """How the best configurations are confirmed once a search is done: retrained with fresh draws and seeds, tested."""

    draws: Annotated[int, Field(ge=1)] = 5
    """Subset draws, none of which the search has trained on; where the search is repeated, one for each repeat."""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Trainings on each draw."""
    top: Annotated[int, Field(ge=1)] = 1
    """Configurations of every cell, best first."""
