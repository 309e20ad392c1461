"""Probability that a level of a hyperparameter is best, at each number of training images.

Levels of a confirmed factor are compared by the replicates of their cells, with the draw as the unit. Levels of any
other hyperparameter are compared by the trials, with the effects of all other hyperparameters estimated at the same
time. Both use the model of `surrogate.py`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from lkca_search.analysis.ablation.levels import ParameterLevel, format_level
from lkca_search.analysis.ablation.observations import BlockKey, DataSize, Observation, distinct_levels, distinct_sizes
from lkca_search.analysis.ablation.surrogate import indicator_term, sample_coefficients
from lkca_search.analysis.ablation.trial_surrogates import TrialSurrogates
from lkca_search.analysis.scores import CellScores
from lkca_search.analysis.stats.estimate import NotEstimable
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.spec.base import FrozenModel

MIN_DRAWS = 2
"""Draws that a comparison of confirmed levels needs."""

Source = Literal["replicates", "trials"]
"""Replicates on test images, or trials on validation images."""


class BestLevel(FrozenModel):
    """Probability that each level is best at one number of training images, or the reason why there is none."""

    size: DataSize
    source: Source
    num_units: int = 0
    """Draws of the replicates, or number of trials."""
    probabilities: tuple[float | None, ...] = ()
    """Probability per level index; None for a level that was not tried at this size. Empty if there is a reason."""
    reason: str | None = None


def best_of_trials(
    surrogates: TrialSurrogates, name: str, observations: Sequence[Observation], *, sign: int
) -> Iterator[BestLevel]:
    """Yield the probabilities at each number of training images, from the trials of one family."""
    levels = distinct_levels(observations)
    for size in distinct_sizes(observations):
        trials = [observation for observation in observations if observation.size == size]
        tried = distinct_levels(trials)
        try:
            effects = sign * surrogates.level_effects(name, trials)
        except NotEstimable as error:
            yield BestLevel(size=size, source="trials", reason=str(error))
            continue
        yield BestLevel(
            size=size,
            source="trials",
            num_units=len(trials),
            probabilities=_by_index(levels, tried, probability_best(effects)),
        )


def best_of_replicates(
    cells: Sequence[CellScores],
    name: str,
    levels: Sequence[ParameterLevel],
    *,
    sign: int,
    generator: np.random.Generator,
) -> Iterator[BestLevel]:
    """Yield the probabilities at each number of training images, from the confirmed cells of one family.

    The value of a level on a draw is its mean over seeds, and over all combinations of other factors that have every
    level. A draw counts if no level lacks a value.
    """
    for number in sorted({cell.num_train_images for cell in cells}):
        size = DataSize(smallest=number, largest=number)
        try:
            labels, values = _confirmed_values([cell for cell in cells if cell.num_train_images == number], name)
            effects = replicate_effects(sign * values, generator)
        except NotEstimable as error:
            yield BestLevel(size=size, source="replicates", reason=str(error))
            continue
        confirmed = [level for label in labels for level in levels if level.label == label]
        yield BestLevel(
            size=size,
            source="replicates",
            num_units=values.shape[1],
            probabilities=_by_index(levels, confirmed, probability_best(effects)),
        )


def replicate_effects(values: Floats, generator: np.random.Generator) -> Floats:
    """Return posterior samples of the mean of each level, (samples, levels), up to a constant per sample.

    `values` are (levels, draws). Levels are paired by draw: the mean of a draw over levels has no influence.

    Raises:
        NotEstimable: There are fewer than two draws, or no spread.
    """
    num_draws = values.shape[1]
    if num_draws < MIN_DRAWS:
        raise NotEstimable(f"draws with a replicate of every level: {num_draws}, {MIN_DRAWS} are needed")
    levels, draws = (index.ravel() for index in np.indices(values.shape))
    (effects,) = sample_coefficients(values.ravel(), draws, [indicator_term(levels)], generator)
    return effects


def probability_best(effects: Floats) -> list[float]:
    """Return the share of samples, (samples, levels), in which each level is the highest; ties are shared equally."""
    is_best = effects == effects.max(axis=1, keepdims=True)
    shares: list[float] = (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
    return shares


def _by_index(
    levels: Sequence[ParameterLevel], tried: Sequence[ParameterLevel], probabilities: Sequence[float]
) -> tuple[float | None, ...]:
    found = {level.index: probability for level, probability in zip(tried, probabilities, strict=True)}
    return tuple(found.get(level.index) for level in levels)


def _confirmed_values(cells: Sequence[CellScores], name: str) -> tuple[list[str], Floats]:
    """Return the labels of the confirmed levels, and their values, (levels, draws), on draws that have them all.

    Raises:
        NotEstimable: A single level was confirmed, or no combination of other factors was confirmed at every level.
    """
    blocks: dict[BlockKey, dict[str, Floats]] = defaultdict(dict)
    for cell in cells:
        level = getattr(cell.picks[0].configuration, name)
        if level is None:
            continue
        counts = np.isfinite(cell.test_values).sum(axis=1)
        means = np.where(counts > 0, np.nansum(cell.test_values, axis=1) / np.maximum(counts, 1), np.nan)
        blocks[tuple(pair for pair in cell.variant.levels if pair[0] != name)][format_level(level)] = means
    labels = list(dict.fromkeys(label for block in blocks.values() if len(block) > 1 for label in block))
    if len(labels) < 2:
        raise NotEstimable("a single level was confirmed")
    complete = [np.stack([block[label] for label in labels]) for block in blocks.values() if set(block) == set(labels)]
    if not complete:
        raise NotEstimable("no combination of the other factors was confirmed at every level")
    values = np.mean(complete, axis=0)
    return labels, values[:, np.isfinite(values).all(axis=0)]
