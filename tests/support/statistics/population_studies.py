"""Seeded simulation studies of what intervals are about: a pool of training images, test images, skewed scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from lkca_search.analysis.contrasts import compute_contrasts, decided_each_way
from lkca_search.analysis.curves.crossover import crossover
from lkca_search.analysis.curves.data_efficiency import data_efficiency
from lkca_search.analysis.curves.learning_curve import learning_curve
from lkca_search.analysis.scores import CellScores, by_unit, round_scores, score_difference_variance
from lkca_search.analysis.search_results import Variant
from lkca_search.analysis.selection import mean_score
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.paired import paired_difference
from lkca_search.analysis.stats.percentage_mean import mean_percentage
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.analysis.stats.student import student_mean
from lkca_search.spec.metrics import METRICS
from tests.support.search_results import law, make_search_results
from tests.support.statistics.coverage import NUM_RESAMPLES, Coverage, Tally
from tests.support.statistics.simulated import NUM_DRAWS, NUM_SEEDS

SKEWED: Mapping[str, tuple[Callable[[np.random.Generator, int], Floats], float]] = {
    "normal": (lambda generator, size: 80 + 2 * generator.standard_normal(size), 80.0),
    "skewed": (lambda generator, size: 60 - 8 * generator.exponential(size=size), 52.0),
    "near 100%": (lambda generator, size: 100 * generator.beta(60, 1, size=size), 100 * 60 / 61),
    "log-normal errors": (
        lambda generator, size: 100 - np.minimum(np.exp(generator.standard_normal(size)), 100),
        100 - float(np.exp(0.5)),
    ),
    "few test images": (lambda generator, size: generator.binomial(100, 0.97, size=(size, 2)).mean(axis=1), 97.0),
    "unequal variances": (
        lambda generator, size: (
            60 + 2 * generator.standard_normal(size) * np.exp(0.8 * generator.standard_normal(size))
        ),
        60.0,
    ),
}
"""Distributions of the mean accuracy of a draw, in percent, each with its mean."""


def mean_study(*, name: str, num_draws: int, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of the mean of percentages: by its own interval and by Student's t."""
    generator, tally = np.random.default_rng(seed), Tally()
    sample, truth = SKEWED[name]
    for _ in range(repetitions):
        values = np.clip(sample(generator, num_draws), 0, 100)
        tally.add("percentage", mean_percentage(values), truth)
        tally.add("t", student_mean(values), truth)
    return tally.coverages()


@dataclass(frozen=True, kw_only=True)
class Population:
    """Two families whose models classify an image correctly if a sum of normal effects is above 0."""

    fraction: float
    """Share of the pool that each draw trains on."""
    draw_deviation: float = 0.06
    """Deviation of the effect of a training set from new images; the pool's share of its variance is `fraction`."""
    seed_deviation: float = 0.02
    """Deviation of the effect of a seed."""
    difficulty: float = 1.0
    """Deviation of the difficulty of test images, which both families share."""
    own_difficulty: float = 0.3
    """Deviation of the difficulty of test images for one family alone."""
    num_images: int = 1000
    """Test images."""
    mean: float = 0.5
    """Mean of the sum, equal for both families: without the effect of a pool, there is no difference."""

    def simulate(self, generator: np.random.Generator) -> tuple[CellScores, CellScores, Floats]:
        """Return the scores of both families, and their accuracies in percent for this pool and new test images."""
        pools = self.draw_deviation * np.sqrt(self.fraction) * generator.standard_normal(2)
        within = self.draw_deviation * np.sqrt(1 - self.fraction)
        draws = within * generator.standard_normal((2, NUM_DRAWS, 1, 1))
        seeds = self.seed_deviation * generator.standard_normal((2, NUM_DRAWS, NUM_SEEDS, 1))
        shared = self.difficulty * generator.standard_normal(self.num_images)
        own = self.own_difficulty * generator.standard_normal((2, 1, 1, self.num_images))
        noise = generator.standard_normal((2, NUM_DRAWS, NUM_SEEDS, self.num_images))
        correct = self.mean + pools[:, None, None, None] + draws + seeds + shared + own + noise > 0
        deviation = np.sqrt(within**2 + self.seed_deviation**2 + self.difficulty**2 + self.own_difficulty**2 + 1.0)
        a, b = (self._cell(name, correct[index]) for index, name in enumerate("ab"))
        truth: Floats = 100 * special.ndtr((self.mean + pools) / deviation)
        return a, b, truth

    def _cell(self, name: str, correct: np.ndarray) -> CellScores:
        accuracies = 100 * correct.mean(axis=2)
        return CellScores(
            cell=name,
            variant=Variant(levels=(("family", name),), label=name),
            metric=METRICS["val_accuracy"],
            num_train_images=1000,
            num_replicates=accuracies.size,
            picks=(),
            val_values=accuracies,
            test_values=accuracies,
            num_failed=0,
            unit="seed" if self.fraction == 1 else "draw",
            overlap=self.fraction,
            image_scores=correct,
        )


def population_study(*, fraction: float, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of means and differences for a pool and new test images, and of plain intervals.

    `plain` is the t interval over draws without the sampling of test images. `plain, new pool` is its coverage of the
    difference for new pools, which the report does not claim.
    """
    generator, tally = np.random.default_rng(seed), Tally()
    for _ in range(repetitions):
        a, b, truth = Population(fraction=fraction).simulate(generator)
        difference = float(truth[0] - truth[1])
        tally.add("mean", mean_score(a), float(truth[0]))
        scores = by_unit(a.test_values, a.unit), by_unit(b.test_values, b.unit)
        variance = score_difference_variance(a, b)
        tally.add("difference", paired_difference(*scores, sampling_variance=variance).difference, difference)
        plain = paired_difference(a.test_values, b.test_values).difference
        tally.add("plain", plain, difference)
        tally.add("plain, new pool", plain, 0.0)
    return tally.coverages()


def efficiency_population_study(*, num_images: int, repetitions: int, seed: int = 0) -> dict[str, Coverage]:
    """Return the coverage of the data-efficiency ratio of two families that are equal on new test images.

    `plain` is the interval without the sampling of test images.
    """
    generator, tally = np.random.default_rng(seed), Tally()
    sizes = (100, 400, 1600, 6400)
    for _ in range(repetitions):
        shared = generator.standard_normal(num_images)
        curves, plain = [], []
        for _ in range(2):
            own = 0.3 * generator.standard_normal(num_images)
            noise = generator.standard_normal((len(sizes), NUM_DRAWS, NUM_SEEDS, num_images))
            draws = 0.03 * generator.standard_normal((len(sizes), NUM_DRAWS, 1, 1))
            means = np.linspace(0.0, 1.2, len(sizes))[:, None, None, None]
            wrong = 100.0 * (means + draws + shared + own + noise < 0)
            errors = list(wrong.mean(axis=3))
            curves.append(learning_curve(sizes, errors, image_errors=wrong.mean(axis=(1, 2))))
            plain.append(learning_curve(sizes, errors))
        for name, pair in (("with test images", curves), ("plain", plain)):
            found = data_efficiency(*pair, generator=generator, num_resamples=NUM_RESAMPLES)
            tally.add(name, found.ratio, 1.0)
    return tally.coverages()


def null_crossover_study(*, repetitions: int, seed: int = 0) -> dict[str, float]:
    """Return how many searches of two equal families have a crossover: of their mean curves, and in the report."""
    found = {"mean curves": 0, "report": 0}
    for repetition in range(repetitions):
        results = make_search_results(law(draw_spread=0.005, noise=seed * repetitions + repetition))
        scores = round_scores(results, results.rounds[-1])
        contrasts = compute_contrasts(scores, results.reference)
        found["report"] += not isinstance(decided_each_way(contrasts, "vit"), NotEstimable)
        curves = [
            learning_curve([cell.num_train_images for cell in cells], [cell.errors for cell in cells])
            for cells in map(scores.cells_of_variant, scores.variants)
        ]
        try:
            crossover(*curves, generator=np.random.default_rng(0), num_resamples=10)
        except NotEstimable:
            continue
        found["mean curves"] += 1
    return {name: count / repetitions for name, count in found.items()}
