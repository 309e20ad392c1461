"""Simulated search: the real ledger, sampler and pruner in simulated time, with workers that train nothing."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from lkca_search.records.record import Record
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message

SimulatedWorker = Callable[[Assignment], Iterator[Message]]
"""Function that yields the messages of a trial. The last one is `done`; results carry their `seconds`."""


@dataclass(frozen=True, kw_only=True)
class SimulatedSearch:
    """Result of a simulated search."""

    records: tuple[Record, ...]
    """Records in the order in which the trials ended."""
    seconds: float
    """Simulated duration of the search."""


@dataclass(kw_only=True)
class _SimulatedTrial:
    """Trial that occupies a slot."""

    trial_id: str
    messages: Iterator[Message]
    start_seconds: float
    next_message: Message


def simulate(ledger: Ledger, worker: SimulatedWorker, *, num_slots: int = 1) -> SimulatedSearch:
    """Run a search with `num_slots` parallel trials until the ledger assigns no more.

    A result arrives `seconds` after the start of its trial; any other message arrives together with the one before.
    A free slot is filled at once. Only training takes simulated time.
    """
    if num_slots < 1:
        raise ValueError(f"num_slots must be at least 1, got {num_slots}")
    now = 0.0
    order = count()  # in a tie, the message that was scheduled first arrives first
    events: list[tuple[float, int, _SimulatedTrial]] = []
    records: list[Record] = []
    while True:
        while len(events) < num_slots and (assignment := ledger.assign()) is not None:
            messages = worker(assignment)
            trial = _SimulatedTrial(
                trial_id=assignment.trial_id, messages=messages, start_seconds=now, next_message=next(messages)
            )
            heapq.heappush(events, (_arrival_seconds(trial, now), next(order), trial))
        if not events:
            return SimulatedSearch(records=tuple(records), seconds=now)
        now, _, trial = heapq.heappop(events)
        stop = ledger.on_message(trial.trial_id, trial.next_message)
        if stop or trial.next_message.done:
            records.append(ledger.finish(trial.trial_id))
        else:
            trial.next_message = next(trial.messages)
            heapq.heappush(events, (_arrival_seconds(trial, now), next(order), trial))


def _arrival_seconds(trial: _SimulatedTrial, now: float) -> float:
    result = trial.next_message.result
    return now if result is None else max(now, trial.start_seconds + result.seconds)
