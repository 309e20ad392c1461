"""Recorded curves as a training: simulated trials say what recorded ones said."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from lkca_search.records.record import Record, State
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed
from lkca_search.spec.search_spec import SearchSpec

CUT_SHORT = "the recorded curve ends here: the trial was pruned, and what came next is not known"
"""The fault of a simulated trial that goes on for longer than the recorded one did."""


class RecordedCurves:
    """A worker of simulated searches that says what recorded trials said.

    A trial is answered by the record of its cell whose sampled values are nearest, the first of equals: its own where
    recorded suggestions are asked for again. A trial that was pruned when recorded fails where its curve ends, so that
    no study takes its last value for that of a whole training. A cell gets as many trials as it was recorded to have.
    """

    def __init__(
        self, spec: SearchSpec, records: Mapping[str, Sequence[Record]], exhaust: Callable[[str], None]
    ) -> None:
        """`exhaust` gives a cell of the simulated search no new trial."""
        self._spec = spec
        self._records = records
        self._exhaust = exhaust
        self._num_left = {cell: len(found) for cell, found in records.items()}
        self.answers: dict[str, Record] = {}
        """Trial id to the record that answered it."""

    def __call__(self, assignment: Assignment) -> Iterator[Message]:
        """Yield a message a recorded result, and the fault, if there was one."""
        cell = assignment.trial_id.rpartition("/")[0]
        self._num_left[cell] -= 1
        if not self._num_left[cell]:
            self._exhaust(cell)
        record = min(self._records[cell], key=lambda record: self._distance(assignment.spec.configuration, record))
        self.answers[assignment.trial_id] = record
        return _messages(record)

    def _distance(self, configuration: Configuration, record: Record) -> float:
        return sum(
            _distance(domain, getattr(configuration, name), getattr(record.spec.configuration, name))
            for name, domain in self._spec.parameters.items()
        )


def _messages(record: Record) -> Iterator[Message]:
    is_whole = record.state is State.COMPLETE
    last = len(record.curve) - 1
    for i, result in enumerate(record.curve):
        yield Message(facts=record.facts if i == 0 else None, result=result, done=is_whole and i == last)
    if not is_whole:
        yield Message(facts=record.facts, error=record.error or CUT_SHORT, done=True)


def _distance(domain: Domain, one: Scalar | None, other: Scalar | None) -> float:
    """0 for equal values, 1 for opposite ends of a range, for two choices, and where only one has a value."""
    if one == other or isinstance(domain, Fixed):
        return 0.0
    if one is None or other is None or isinstance(domain, Choice):
        return 1.0
    scale = math.log if domain.log else float
    low, high = domain.bounds
    return abs(scale(float(one)) - scale(float(other))) / (scale(high) - scale(low))


def sampled(configuration: Configuration, spec: SearchSpec) -> dict[str, Scalar]:
    """What a sampler chose of a configuration: values of the parameters that are not fixed and that it has."""
    values = {
        name: getattr(configuration, name) for name, domain in spec.parameters.items() if not isinstance(domain, Fixed)
    }
    return {name: value for name, value in values.items() if value is not None}
