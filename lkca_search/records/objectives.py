"""Metric values of trials, read from records; ranking, Pareto front and plateau by these values."""

import math
from collections.abc import Sequence

from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.spec.sections import SearchSection

TIE_BREAKS = "lower validation loss, then fewer FLOPs per image, then cell and number"
"""Rule of `tie_key` in words."""


def measure(metric: str, result: Result, metadata: TrialMetadata) -> float:
    """Return the value of a metric at a result; KeyError if it was not measured."""
    return float(getattr(metadata, metric)) if metric in TrialMetadata.model_fields else result.value(metric)


def trial_value(record: Record, metric: str) -> float | None:
    """Return a complete trial's value of a metric after its last result; None for any other trial."""
    if record.state is not State.COMPLETE or record.facts is None:
        return None
    return measure(metric, record.curve[-1], record.facts)


def trial_values(record: Record, search: SearchSection) -> tuple[float, ...]:
    """Return a complete trial's value of each metric; an empty tuple for any other trial."""
    values = [trial_value(record, metric) for metric in search.metrics]
    return tuple(value for value in values if value is not None)


def rank_trials(records: Sequence[Record], search: SearchSection) -> list[Record]:
    """Return the complete trials of a search or cell, best first. Every choice of a best trial uses this order.

    Trials are compared by the metrics in turn. Trials that are equal in all of them are ordered by the rule in
    TIE_BREAKS: with few validation images, many trials have one accuracy.
    """
    complete = [record for record in records if record.state is State.COMPLETE and record.facts is not None]
    return sorted(complete, key=lambda record: (*_losses(record, search), *tie_key(record)))


def tie_key(record: Record) -> tuple[float, int, str, int]:
    """Return the values by which equal complete trials are ordered, the lowest first; see TIE_BREAKS."""
    assert record.facts is not None
    return record.curve[-1].val_loss, record.facts.flops, record.cell, record.number


def find_ties(ranked: Sequence[Record], search: SearchSection) -> list[Record]:
    """Return the trials of a ranking that are equal to the first one in every metric, the first one included."""
    return [record for record in ranked if trial_values(record, search) == trial_values(ranked[0], search)]


def pareto_front(records: Sequence[Record], search: SearchSection) -> list[Record]:
    """Return the complete trials that no other trial dominates, in the order of `rank_trials`.

    A trial dominates another if it is better in one metric and at least equal in the others.
    """
    front: list[tuple[tuple[float, ...], Record]] = []
    for record in rank_trials(records, search):
        losses = _losses(record, search)
        # In this order, a trial comes after every trial that dominates it.
        if not any(other != losses and all(a <= b for a, b in zip(other, losses, strict=True)) for other, _ in front):
            front.append((losses, record))
    return [record for _, record in front]


def _losses(record: Record, search: SearchSection) -> tuple[float, ...]:
    """Return a complete trial's value of each metric, with the sign that makes a lower one better."""
    return tuple(-sign * value for sign, value in zip(search.signs, trial_values(record, search), strict=True))


class Plateau:
    """Detector of a cell that no longer improves."""

    def __init__(self, limit: int | None, *, sign: int) -> None:
        """Detect a plateau after `limit` trials without a better value; never if it is None.

        `sign` is 1 if a higher value is better, else -1.
        """
        self._limit = limit
        self._sign = sign
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
