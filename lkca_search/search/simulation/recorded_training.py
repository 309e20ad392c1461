"""Simulated worker that repeats the learning curves of recorded trials."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from lkca_search.records.record import Record, State
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, Message
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed
from lkca_search.spec.search_spec import SearchSpec

CUT_SHORT = "the recorded curve ends here: the recorded trial was pruned"
"""Error of a simulated trial that would run longer than the recorded one."""


class RecordedTraining:
    """Simulated worker that repeats the curve of the nearest recorded trial.

    The nearest trial has the same cell and the nearest sampled values; in a tie, the first one is used. A trial
    whose recorded curve was pruned fails at its end, so that no study uses its last value as a final value. Each
    cell gets as many trials as were recorded.
    """

    def __init__(
        self, spec: SearchSpec, records: Mapping[str, Sequence[Record]], exhaust: Callable[[str], None]
    ) -> None:
        """Take the records of each cell; `exhaust` is called with a cell when it needs no more trials."""
        self._spec = spec
        self._records = records
        self._exhaust = exhaust
        self._num_left = {cell: len(own_records) for cell, own_records in records.items()}
        self.used: dict[str, Record] = {}
        """Trial id -> the record whose curve it repeats."""

    def __call__(self, assignment: Assignment) -> Iterator[Message]:
        """Yield one message per recorded result, and the error of a trial without a complete curve."""
        cell = assignment.trial_id.rpartition("/")[0]
        self._num_left[cell] -= 1
        if not self._num_left[cell]:
            self._exhaust(cell)
        record = min(self._records[cell], key=lambda record: self._distance(assignment.spec.configuration, record))
        self.used[assignment.trial_id] = record
        return _messages(record)

    def _distance(self, configuration: Configuration, record: Record) -> float:
        return sum(
            distance(domain, getattr(configuration, name), getattr(record.spec.configuration, name))
            for name, domain in self._spec.parameters.items()
        )


def sampled_values(configuration: Configuration, spec: SearchSpec) -> dict[str, Scalar]:
    """Return the values that a sampler chose: those of all parameters that are present and not fixed."""
    values = {
        name: getattr(configuration, name) for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)
    }
    return {name: value for name, value in values.items() if value is not None}


def _messages(record: Record) -> Iterator[Message]:
    is_complete = record.state is State.COMPLETE
    last = len(record.curve) - 1
    for i, result in enumerate(record.curve):
        yield Message(metadata=record.facts if i == 0 else None, result=result, done=is_complete and i == last)
    if not is_complete:
        failure = Failure(kind=FailureKind.TRIAL, message=record.error or CUT_SHORT)
        yield Message(metadata=record.facts, failure=failure, done=True)


def distance(domain: Domain, one: Scalar | None, other: Scalar | None) -> float:
    """Return the distance of two values, from 0 (equal) to 1.

    The distance is 1 for opposite ends of a range, for two different choices, and if only one value is present.
    """
    if one == other or isinstance(domain, Fixed):
        return 0.0
    if one is None or other is None or isinstance(domain, Choice):
        return 1.0
    scale = math.log if domain.log else float
    low, high = domain.bounds
    return abs(scale(float(one)) - scale(float(other))) / (scale(high) - scale(low))
