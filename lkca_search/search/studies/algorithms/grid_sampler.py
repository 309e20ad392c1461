"""Grid sampler for conditional spaces.

Optuna's `GridSampler` has no conditions: it suggests every combination of all values, including combinations of
parameters that never exist together.
"""

import random
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lkca_search.spec.configuration import Scalar


class GridSampler(BaseSampler):
    """Sampler that suggests every point once, shuffled by the seed. The number of a trial selects its point."""

    def __init__(self, *, points: Sequence[dict[str, Scalar]], seed: int) -> None:
        """Shuffle the points."""
        self.points = list(points)
        """Points in the order in which they are suggested."""
        random.Random(seed).shuffle(self.points)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return an empty search space: each parameter is sampled independently."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: each parameter is sampled independently."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the parameter's value at the trial's point. The first point follows the last."""
        return self.points[trial.number % len(self.points)][param_name]
