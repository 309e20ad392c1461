"""A search in simulated time: the real ledger, studies, sampler and pruner, and workers that train nothing."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from lkca_search.records.record import Record
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message

Worker = Callable[[Assignment], Iterator[Message]]
"""Yields all that a worker says of a trial; the last message is `done`, and results carry their `seconds`."""


@dataclass(frozen=True, kw_only=True)
class SimulatedSearch:
    """What a simulated search gave."""

    records: tuple[Record, ...]
    """In the order in which trials ended."""
    seconds: float
    """How long it would have taken."""


@dataclass(kw_only=True)
class _Running:
    """A trial in its slot."""

    trial_id: str
    messages: Iterator[Message]
    begun: float
    message: Message
    """What is said next."""


def simulate(ledger: Ledger, worker: Worker, *, num_slots: int = 1) -> SimulatedSearch:
    """Drive a ledger until it assigns nothing more, as so many slots that train at once would.

    A message is heard when its result's `seconds` have passed since its trial began, one without a result together
    with the one before it; a slot that becomes free is filled at once. What takes time besides training takes none.
    """
    if num_slots < 1:
        raise ValueError(f"num_slots must be at least 1, got {num_slots}")
    now = 0.0
    order = count()  # of messages due at one time, the one that was foreseen first
    due: list[tuple[float, int, _Running]] = []
    records: list[Record] = []
    while True:
        while len(due) < num_slots and (assignment := ledger.assign()) is not None:
            messages = worker(assignment)
            running = _Running(trial_id=assignment.trial_id, messages=messages, begun=now, message=next(messages))
            heapq.heappush(due, (_time(running, now), next(order), running))
        if not due:
            return SimulatedSearch(records=tuple(records), seconds=now)
        now, _, running = heapq.heappop(due)
        stop = ledger.on_message(running.trial_id, running.message)
        if stop or running.message.done:
            records.append(ledger.finish(running.trial_id))
        else:
            running.message = next(running.messages)
            heapq.heappush(due, (_time(running, now), next(order), running))


def _time(running: _Running, now: float) -> float:
    result = running.message.result
    return now if result is None else max(now, running.begun + result.seconds)
