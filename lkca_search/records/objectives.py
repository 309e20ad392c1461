"""Metric values of trials, read from records; best trials, Pareto front and plateau by these values."""

import math
from collections.abc import Sequence

from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.spec.metrics import METRICS, MetricName
from lkca_search.spec.sections import SearchSection


def measure(metric: MetricName, result: Result, metadata: TrialMetadata) -> float:
    """Return the value of a metric at a result."""
    return float(getattr(result if METRICS[metric].source == "result" else metadata, metric))


def trial_value(record: Record, metric: MetricName) -> float | None:
    """Return a complete trial's value of a metric after its last result; None for any other trial."""
    if record.state is not State.COMPLETE or record.facts is None:
        return None
    return measure(metric, record.curve[-1], record.facts)


def trial_values(record: Record, search: SearchSection) -> tuple[float, ...]:
    """Return a complete trial's value of each metric; an empty tuple for any other trial."""
    values = [trial_value(record, metric) for metric in search.metrics]
    return tuple(value for value in values if value is not None)


def pareto_front(records: Sequence[Record], search: SearchSection) -> list[Record]:
    """Return the complete trials that no other trial dominates, best of the leading metric first.

    A trial dominates another if it is better in one metric and at least equal in the others.
    """
    scores = [
        (tuple(sign * value for sign, value in zip(search.signs, values, strict=True)), record)
        for record in records
        if (values := trial_values(record, search))
    ]
    scores.sort(key=lambda pair: pair[0], reverse=True)
    front: list[tuple[tuple[float, ...], Record]] = []
    for score, record in scores:
        # In this order, a trial comes after every trial that dominates it.
        if not any(other != score and all(a >= b for a, b in zip(other, score, strict=True)) for other, _ in front):
            front.append((score, record))
    return [record for _, record in front]


class Plateau:
    """Detector of a cell that no longer improves."""

    def __init__(self, limit: int | None, metric: MetricName) -> None:
        """Detect a plateau after `limit` trials without a better value; never if it is None."""
        self._limit = limit
        self._sign = METRICS[metric].sign
        self._best = -math.inf
        self._num_since_best = 0

    @property
    def is_reached(self) -> bool:
        """True if the last `limit` complete trials were all no better than an earlier one."""
        return self._limit is not None and self._num_since_best >= self._limit

    def add(self, value: float) -> None:
        """Count one more complete trial with this value of the metric."""
        better = self._sign * value > self._best
        self._num_since_best = 0 if better else self._num_since_best + 1
        self._best = max(self._best, self._sign * value)
