"""Simulated replicates with a known truth: scores of two families in a cell, and learning curves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lkca_search.analysis.curves.learning_curve import LearningCurve, learning_curve
from lkca_search.analysis.stats.replicates import Floats

FRACTIONS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
SIZES = tuple(round(18_000 * fraction) for fraction in FRACTIONS)
"""Training images per fraction, as in the shipped search over data fractions."""
NUM_DRAWS, NUM_SEEDS = 5, 2
"""Design of the shipped confirmation."""


class Law(NamedTuple):
    """Expected error of a family for n training images: alpha + eta n^gamma."""

    alpha: float = 0.05
    eta: float = 3.6
    gamma: float = -0.3

    def errors(self, images: Sequence[int] | Floats) -> Floats:
        return self.alpha + self.eta * np.asarray(images, dtype=np.float64) ** self.gamma

    def shifted(self, times: float) -> "Law":
        """Return the law of a family that needs `times` the images for the same error."""
        return self._replace(eta=self.eta * times**-self.gamma)


CROSSING_LAWS = Law(), Law(0.0, 2.0, -0.21)
"""Two laws; the second is better below 3,673 images, the first above."""
CROSSING_IMAGES = 3672.7


def simulate_scores(
    *,
    difference: float,
    ratio: float,
    generator: np.random.Generator,
    num_draws: int = NUM_DRAWS,
    num_seeds: int = NUM_SEEDS,
    draw_effects: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return scores of two families in points, each of shape (draws, seeds).

    The difference of a pair has variance 1 between seeds and `ratio` between draws. In addition, each draw shifts both
    families equally. `draw_effects` of shape (draws,) replace the random effects of draws on the difference.
    """
    shared = 2 * generator.standard_normal((num_draws, 1))
    own = np.sqrt(ratio / 2) * generator.standard_normal((2, num_draws, 1))
    if draw_effects is not None:
        own[0] = np.sqrt(ratio) * draw_effects[:, None]
        own[1] = 0
    noise = np.sqrt(0.5) * generator.standard_normal((2, num_draws, num_seeds))
    scores = 70 + shared + own + noise
    return scores[0] + difference, scores[1]


def simulate_curves(
    *laws: Law,
    ratio: float,
    generator: np.random.Generator,
    noise: float = 0.012,
    sizes: Sequence[int] = SIZES,
    num_draws: int = NUM_DRAWS,
    num_seeds: int = NUM_SEEDS,
) -> list[LearningCurve]:
    """Return one learning curve per law.

    The standard deviation between seeds is `noise` at the smallest size and falls with the fourth root of the images.
    Between draws it is sqrt(ratio) times as large. Families share half of the variance of a draw, and sizes share half
    of the rest, because subsets of one draw are nested.
    """
    spread = noise * (sizes[0] / np.asarray(sizes, dtype=np.float64)) ** 0.25
    by_draw = np.sqrt(ratio) * spread[:, None]
    shared = generator.standard_normal((len(sizes), num_draws))
    curves = []
    for law in laws:
        own = generator.standard_normal(num_draws) + generator.standard_normal((len(sizes), num_draws))
        draws = by_draw * (np.sqrt(0.5) * shared + 0.5 * own)
        seeds = spread[:, None, None] * generator.standard_normal((len(sizes), num_draws, num_seeds))
        errors = law.errors(sizes)[:, None, None] + draws[..., None] + seeds
        curves.append(learning_curve(sizes, list(np.maximum(errors, 0.0))))
    return curves
