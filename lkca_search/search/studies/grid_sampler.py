"""Grid sampler for conditional spaces.

This sampler is ours because Optuna's `GridSampler` has no conditions: it takes every combination of all values, also
of parameters that do not exist together.
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
    """Sampler that suggests every point once, in an order drawn from the seed. A trial's number selects its point."""

    def __init__(self, *, points: Sequence[dict[str, Scalar]], seed: int) -> None:
        """Shuffle the points."""
        self.points = list(points)
        """Points in the order in which trials take them."""
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
        """Return the parameter's value at the trial's point. After the last point the first one follows."""
        return self.points[trial.number % len(self.points)][param_name]
