"""Coverage of intervals over many repetitions of a simulation with a known truth."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from lkca_search.analysis.stats.estimate import Estimate

RATIOS = (0.25, 1.0, 4.0)
"""Ratios of the variance between draws to the variance between seeds."""
NUM_RESAMPLES = 400


class Coverage(NamedTuple):
    """Coverage of 95% intervals."""

    rate: float
    """Share of the intervals that contain the truth."""
    width: float
    """Median width of the intervals without an open end."""
    missing: float = 0.0
    """Share of repetitions without an estimate or without an interval; they do not count in the rate."""


class Tally:
    """Counts of covering intervals, by name."""

    def __init__(self) -> None:
        self._covered: dict[str, list[bool]] = defaultdict(list)
        self._widths: dict[str, list[float]] = defaultdict(list)
        self._missing: dict[str, int] = defaultdict(int)

    def add(self, name: str, estimate: Estimate | None, truth: float) -> bool | None:
        """Count an interval; return True if it contains the truth, None if there is no interval."""
        if estimate is None or estimate.interval is None:
            self._missing[name] += 1
            return None
        interval = estimate.interval
        if interval.lower is not None and interval.upper is not None:
            self._widths[name].append(interval.upper - interval.lower)
        return self.count(name, interval.contains(truth))

    def count(self, name: str, covered: bool) -> bool:
        """Count one repetition and return `covered`."""
        self._covered[name].append(covered)
        return covered

    def coverages(self) -> dict[str, Coverage]:
        """Return the coverage per name."""
        return {
            name: Coverage(
                rate=float(np.mean(covered)),
                width=float(np.median(self._widths[name])) if self._widths[name] else float("nan"),
                missing=self._missing[name] / (len(covered) + self._missing[name]),
            )
            for name, covered in self._covered.items()
        }
