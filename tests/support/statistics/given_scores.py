"""Scores that several tests share."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lkca_search.analysis.stats.replicates import Floats

NAN = float("nan")
A = np.array([[71.2, 70.4], [68.9, 69.7], [72.5, 72.5], [70.1, 71.6], [69.3, 67.8]])
B = np.array([[70.3, 70.4], [69.5, 68.2], [71.0, 72.5], [70.8, 69.9], [66.1, 68.4]])


def scores(num_draws: int = 5, num_seeds: int = 2) -> st.SearchStrategy[Floats]:
    """Return percentages with two decimals, as in a report; some are missing."""
    values = st.one_of(st.integers(0, 10_000).map(lambda value: value / 100), st.just(NAN))
    return hnp.arrays(np.float64, (num_draws, num_seeds), elements=values)


def has_pair(a: Floats, b: Floats) -> bool:
    return bool((np.isfinite(a) & np.isfinite(b)).any())
