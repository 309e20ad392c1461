"""Holm's correction over the cells compared."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the given order; None, a cell without a test, stays None and counts for nothing.

    Rejecting what is adjusted to at most 0.05 keeps the probability of any false rejection at most 0.05, whatever is
    true in the other cells and however they depend on each other (Holm 1979, A Simple Sequentially Rejective Multiple
    Test Procedure). ValueError for a p-value outside 0 to 1.
    """
    tested = [place for place, p in enumerate(p_values) if p is not None]
    given = np.array([p_values[place] for place in tested], dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"a p-value must be between 0 and 1, got {[p for p in given.tolist() if not 0 <= p <= 1]}")
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    # The smallest is multiplied by the number of tests, the next by one less; none may fall below the one before.
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)), 1.0)
    found: list[float | None] = [None] * len(p_values)
    for place, p in zip(tested, adjusted.tolist(), strict=True):
        found[place] = p
    return found
