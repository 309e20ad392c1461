"""The numbers by which a search compares trials: read from records, and set against each other."""

import math
from collections.abc import Sequence

from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.spec.search_spec import Goal, Metric, SearchSection


def measured(metric: Metric, result: Result, facts: TrialMetadata) -> float:
    """The value of a metric after a result."""
    return float(getattr(result if metric in Result.model_fields else facts, metric))


def values(record: Record, search: SearchSection) -> tuple[float, ...]:
    """A complete trial's value of each metric; none of any other trial."""
    if record.state is not State.COMPLETE or record.facts is None:
        return ()
    return tuple(measured(metric, record.curve[-1], record.facts) for metric in search.metrics)


def pareto_front(records: Sequence[Record], search: SearchSection) -> list[Record]:
    """The complete trials that no other beats in one metric and equals in the rest, best of the first metric first."""
    signs = [1 if goal == "maximize" else -1 for goal in search.goals]
    scores = [
        (tuple(sign * value for sign, value in zip(signs, found, strict=True)), record)
        for record in records
        if (found := values(record, search))
    ]
    scores.sort(key=lambda pair: pair[0], reverse=True)
    front: list[tuple[tuple[float, ...], Record]] = []
    for score, record in scores:
        # Sorted so, what beats a trial stands before it.
        if not any(other != score and all(a >= b for a, b in zip(other, score, strict=True)) for other, _ in front):
            front.append((score, record))
    return [record for _, record in front]


class Plateau:
    """Whether a cell has stopped getting better."""

    def __init__(self, limit: int | None, goal: Goal) -> None:
        self._limit = limit
        self._sign = 1 if goal == "maximize" else -1
        self._best = -math.inf
        self._since = 0

    @property
    def is_reached(self) -> bool:
        """Whether as many trials as the limit, in a row, were no better than one before them."""
        return self._limit is not None and self._since >= self._limit

    def add(self, value: float) -> None:
        """Take the value of one more complete trial."""
        better = self._sign * value > self._best
        self._since = 0 if better else self._since + 1
        self._best = max(self._best, self._sign * value)
