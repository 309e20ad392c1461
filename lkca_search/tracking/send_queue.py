"""Queue of updates that are not yet in MLflow, grouped by trial."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from lkca_search.records.record import Result
from lkca_search.tracking.tracker import TrialStart


@dataclass(frozen=True, kw_only=True)
class PendingUpdate:
    """Unsent data of one running trial."""

    start: TrialStart
    results: dict[int, Result] = field(default_factory=dict)
    """Result by step, in order of arrival. At most the curve of the trial."""


class SendQueue:
    """Thread-safe queue with one entry per trial; only the sender blocks.

    Updates of a trial are merged while the sender is busy, so that a slow sender sends more per call. Running and
    finished trials take turns: new runs appear and curves grow while finished trials are sent. Among the running
    trials, new ones go first, then the one that has waited longest.
    """

    def __init__(self) -> None:
        """Create an empty queue."""
        self._changed = threading.Condition()
        self._starts: dict[str, TrialStart] = {}
        """Start of every running trial."""
        self._new_trials: dict[str, PendingUpdate] = {}
        self._updated_trials: dict[str, PendingUpdate] = {}
        self._unsent: dict[str, None] = {}
        """Ids of the finished trials to send. A dict keeps their order."""
        self._sent: set[str] = set()
        self._is_turn_of_running = True
        self._is_closed = False

    def add_start(self, start: TrialStart) -> None:
        """Add the start of a trial."""
        with self._changed:
            if start.trial_id not in self._unsent:
                self._starts[start.trial_id] = start
                self._merge(PendingUpdate(start=start), self._new_trials)

    def add_result(self, trial_id: str, result: Result) -> None:
        """Add a result of a running trial. Otherwise ignore it: the trial's record contains the curve."""
        with self._changed:
            if trial_id in self._starts:
                update = PendingUpdate(start=self._starts[trial_id], results={result.step: result})
                self._merge(update, self._updated_trials)

    def add_finished(self, trial_ids: Iterable[str]) -> None:
        """Add finished trials. Their records replace all pending updates."""
        for trial_id in trial_ids:  # the iterable may read a slow disk, so the lock is not held between two ids
            with self._changed:
                self._starts.pop(trial_id, None)
                self._pop_update(trial_id)
                self._sent.discard(trial_id)
                self._unsent[trial_id] = None
                self._changed.notify_all()

    def take(self) -> PendingUpdate | str | None:
        """Wait for the next update, or the id of a finished trial, and return it. Return None once closed.

        If an update cannot be sent, return it with `requeue`. A finished trial stays in the queue until `mark_sent`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._new_trials or self._updated_trials or self._unsent)
            if self._is_closed:
                return None
            updates = self._new_trials or self._updated_trials
            if updates and (self._is_turn_of_running or not self._unsent):
                self._is_turn_of_running = False
                return updates.pop(next(iter(updates)))
            self._is_turn_of_running = True
            return next(iter(self._unsent))

    def requeue(self, item: PendingUpdate | str) -> None:
        """Put a taken item that could not be sent at the end of its queue."""
        with self._changed:
            if isinstance(item, str):
                if item in self._unsent:
                    del self._unsent[item]
                    self._unsent[item] = None
            elif item.start.trial_id in self._starts:
                newer = self._pop_update(item.start.trial_id)
                results = {**item.results, **newer.results} if newer else item.results
                update = PendingUpdate(start=newer.start if newer else item.start, results=results)
                self._merge(update, self._updated_trials)

    def mark_sent(self, trial_id: str) -> None:
        """Remove a finished trial that was sent."""
        with self._changed:
            self._unsent.pop(trial_id, None)
            self._sent.add(trial_id)

    def recheck_sent(self, is_sent: Callable[[str], bool]) -> None:
        """Queue every finished trial for which `is_sent` is False, for example in a newly opened store."""
        with self._changed:
            num_unsent, finished = len(self._unsent), [*self._unsent, *self._sent]
        unsent = {trial_id: None for trial_id in finished if not is_sent(trial_id)}
        sent = set(finished) - unsent.keys()
        with self._changed:
            finished_meanwhile = dict.fromkeys(islice(self._unsent, num_unsent, None))
            self._unsent, self._sent = unsent | finished_meanwhile, sent - finished_meanwhile.keys()
            self._changed.notify_all()

    def close(self) -> None:
        """Close the queue: `take` and `pause` return at once."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or until the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)

    @property
    def unsent_trials(self) -> tuple[str, ...]:
        """Ids of the finished trials to send, longest waiting first."""
        with self._changed:
            return tuple(self._unsent)

    @property
    def sent_trials(self) -> tuple[str, ...]:
        """Ids of the finished trials that were sent."""
        with self._changed:
            return tuple(self._sent)

    def take_results(self, trial_id: str) -> list[Result]:
        """Remove and return the pending results of a running trial."""
        with self._changed:
            update = self._pop_update(trial_id)
            return [*update.results.values()] if update else []

    def _merge(self, update: PendingUpdate, queue: dict[str, PendingUpdate]) -> None:
        trial_id = update.start.trial_id
        queue = next((other for other in (self._new_trials, self._updated_trials) if trial_id in other), queue)
        earlier = queue.get(trial_id)
        results = {**earlier.results, **update.results} if earlier else update.results
        queue[trial_id] = PendingUpdate(start=update.start, results=results)
        self._changed.notify_all()

    def _pop_update(self, trial_id: str) -> PendingUpdate | None:
        return self._new_trials.pop(trial_id, None) or self._updated_trials.pop(trial_id, None)
