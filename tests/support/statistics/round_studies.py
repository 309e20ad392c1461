"""Seeded simulation studies of searches that add draws, round by round, until a difference is significant."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lkca_search.analysis.stats.p_values import holm, two_sided_p
from lkca_search.analysis.stats.replicates import Floats
from lkca_search.records.rounds import ERROR_RATE, correct_for_rounds
from tests.support.search_results import law, make_search_results
from tests.support.statistics.simulated import simulate_scores

DRAWS = (5, 8, 11, 14)
"""Draws of each round. A later round has the replicates of the earlier ones and three draws more."""
NUM_CONTRASTS = 6
ALPHAS = tuple(
    sealed.model_copy(update={"number": number}).alpha
    for sealed in make_search_results(law()).rounds
    for number in range(1, len(DRAWS) + 1)
)
"""Levels of the rounds."""


class Claims(NamedTuple):
    """Differences that searches claim in their first 1, 2, ... rounds."""

    any: tuple[float, ...]
    """Share of searches that claim any difference. If there is none, this is the family-wise error."""
    each: tuple[float, ...]
    """Share of contrasts that a search claims to differ. If all do, this is the power."""


class Stopping(NamedTuple):
    """Claims of searches by two rules."""

    naive: Claims
    """Every round tests at 5%."""
    levels: Claims
    """Every round tests at its level, as the report does."""


def stopping_study(*, difference: float, ratio: float, is_shared: bool, repetitions: int, seed: int = 0) -> Stopping:
    """Return the claims of searches whose contrasts all have this difference, in points.

    If `is_shared`, the effect of a draw is equal in all contrasts, as nested subsets may cause.
    """
    generator = np.random.default_rng(seed)
    claimed = np.zeros((2, repetitions, len(DRAWS), NUM_CONTRASTS), dtype=bool)
    for repetition in range(repetitions):
        effects = generator.standard_normal(DRAWS[-1]) if is_shared else None
        scores = [
            simulate_scores(
                difference=difference,
                ratio=ratio,
                generator=generator,
                num_draws=DRAWS[-1],
                draw_effects=effects,
            )
            for _ in range(NUM_CONTRASTS)
        ]
        for index, (num_draws, alpha) in enumerate(zip(DRAWS, ALPHAS, strict=True)):
            p_values = _corrected_by_holm(scores, num_draws)
            claimed[0, repetition, index] = np.array(p_values) <= ERROR_RATE
            claimed[1, repetition, index] = np.array(correct_for_rounds(p_values, alpha)) <= ERROR_RATE
    so_far = np.logical_or.accumulate(claimed, axis=2)
    naive, levels = (
        Claims(any=tuple(rule.any(axis=2).mean(axis=0).tolist()), each=tuple(rule.mean(axis=(0, 2)).tolist()))
        for rule in so_far
    )
    return Stopping(naive, levels)


def _corrected_by_holm(scores: Sequence[tuple[Floats, Floats]], num_draws: int) -> list[float | None]:
    return holm([two_sided_p((a - b)[:num_draws].mean(axis=1)) for a, b in scores])
