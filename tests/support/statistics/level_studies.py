"""Seeded simulation studies of the probability that a level is best, from trials and from replicates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lkca_search.analysis.ablation.best_level import probability_best, replicate_effects
from lkca_search.analysis.ablation.surrogate import indicator_term, sample_coefficients, smooth_term
from lkca_search.analysis.stats.replicates import Floats
from tests.support.statistics.simulated import NUM_DRAWS

NUM_LEVELS = 3
BINS = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Edges of the bins of stated probabilities."""
NUM_BOOTSTRAPS = 500


class Trials(NamedTuple):
    """Simulated trials of one cell; the noise has a standard deviation of 1."""

    values: Floats
    levels: NDArray[np.int64]
    learning_rates: Floats
    """Position in the range of the search, from 0 to 1; the best one is 0.6."""
    depths: NDArray[np.int64]


class Statements(NamedTuple):
    """Probabilities stated for the level with the highest one, over many repetitions."""

    stated: Floats
    """Probability of the top level, (repetitions,)."""
    is_right: NDArray[np.bool_]
    """True if the top level is best; of equal levels, a random one counts as the best."""

    @property
    def mean(self) -> float:
        return float(self.stated.mean())

    @property
    def rate(self) -> float:
        """Share of repetitions in which the top level is best."""
        return float(self.is_right.mean())

    def bins(self) -> list[tuple[int, float, float]]:
        """Return number, mean stated probability and share of right ones per bin of stated probabilities."""
        index = np.clip(np.searchsorted(BINS, self.stated, side="right") - 1, 0, len(BINS) - 2)
        return [
            (int(inside.sum()), float(self.stated[inside].mean()), float(self.is_right[inside].mean()))
            if (inside := index == place).any()
            else (0, float("nan"), float("nan"))
            for place in range(len(BINS) - 1)
        ]


def join(studies: list[Statements]) -> Statements:
    """Return the statements of several studies as those of one."""
    return Statements(*(np.concatenate(parts) for parts in zip(*studies, strict=True)))


def trial_study(
    *, effect: float, num_trials: int, is_adaptive: bool, repetitions: int, seed: int = 0
) -> dict[str, Statements]:
    """Return the statements of the surrogate, and of the bootstrap of trials that it replaced.

    One random level is ahead of two equal ones by `effect`, in standard deviations of the noise.
    """
    generator = np.random.default_rng(seed)

    def values() -> tuple[int, dict[str, list[float]]]:
        best = int(generator.integers(NUM_LEVELS))
        trials = simulate_trials(
            effect * (np.arange(NUM_LEVELS) == best), num_trials, is_adaptive=is_adaptive, generator=generator
        )
        return best, {
            "surrogate": surrogate_shares(trials, generator),
            "bootstrap": bootstrap_shares(trials, generator),
        }

    return _study(values, repetitions)


def replicate_study(
    *, effect: float, num_levels: int, repetitions: int, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Statements:
    """Return the statements from confirmed levels; one level is ahead by `effect`, in deviations of the noise.

    A draw shifts all levels by twice the noise.
    """
    generator = np.random.default_rng(seed)

    def values() -> tuple[int, dict[str, list[float]]]:
        best = int(generator.integers(num_levels))
        means = effect * (np.arange(num_levels) == best)
        noise = generator.standard_normal((num_levels, num_draws))
        scores = means[:, None] + 2 * generator.standard_normal(num_draws) + noise
        return best, {"replicates": probability_best(replicate_effects(scores, generator))}

    return _study(values, repetitions)["replicates"]


def simulate_trials(means: Floats, num_trials: int, *, is_adaptive: bool, generator: np.random.Generator) -> Trials:
    """Return trials at random hyperparameters; if `is_adaptive`, later ones are near the best quarter, as with TPE."""
    num_random = max(5, num_trials // 4) if is_adaptive else num_trials
    values, rates = np.empty(num_trials), generator.uniform(size=num_trials)
    levels, depths = generator.integers(len(means), size=num_trials), generator.integers(3, size=num_trials)
    for i in range(num_trials):
        if i >= num_random:
            top = np.argsort(-values[:i])[: max(2, i // 4)]
            for chosen, size in ((levels, len(means)), (depths, 3)):
                weights = np.bincount(chosen[top], minlength=size) + 0.5
                chosen[i] = generator.choice(size, p=weights / weights.sum())
            if generator.uniform() < 0.85:
                rates[i] = np.clip(rates[generator.choice(top)] + generator.normal(0, 0.15), 0, 1)
        values[i] = (
            means[levels[i]] - 3 * ((rates[i] - 0.6) / 0.35) ** 2 + 0.5 * depths[i] + generator.standard_normal()
        )
    return Trials(values, levels, rates, depths)


def surrogate_shares(trials: Trials, generator: np.random.Generator) -> list[float]:
    """Return the probability that each level is best; 0 for a level without trials."""
    tried, indices = np.unique(trials.levels, return_inverse=True)
    terms = [indicator_term(indices), smooth_term(trials.learning_rates), indicator_term(trials.depths)]
    block = np.zeros(len(trials.values), dtype=np.int64)
    found = probability_best(sample_coefficients(trials.values, block, terms, generator)[0])
    shares = np.zeros(NUM_LEVELS)
    shares[tried] = found
    return shares.tolist()


def bootstrap_shares(trials: Trials, generator: np.random.Generator) -> list[float]:
    """Return the share of bootstrap samples of trials whose best trial has each level."""
    samples = generator.integers(len(trials.values), size=(NUM_BOOTSTRAPS, len(trials.values)))
    best = trials.levels[samples[np.arange(NUM_BOOTSTRAPS), trials.values[samples].argmax(axis=1)]]
    shares: list[float] = (np.bincount(best, minlength=NUM_LEVELS) / NUM_BOOTSTRAPS).tolist()
    return shares


def _study(values: Callable[[], tuple[int, dict[str, list[float]]]], repetitions: int) -> dict[str, Statements]:
    stated: dict[str, list[float]] = {}
    is_right: dict[str, list[bool]] = {}
    for _ in range(repetitions):
        best, found = values()
        for method, shares in found.items():
            stated.setdefault(method, []).append(max(shares))
            is_right.setdefault(method, []).append(int(np.argmax(shares)) == best)
    return {method: Statements(np.array(stated[method]), np.array(is_right[method])) for method in stated}
