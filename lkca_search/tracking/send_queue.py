"""What was heard of a search and is yet to be sent, by trial."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from lkca_search.records.record import Result
from lkca_search.tracking.tracker import TrialStart


@dataclass(frozen=True, kw_only=True)
class PendingUpdate:
    """All there is to send of a trial that runs."""

    start: TrialStart
    results: dict[int, Result] = field(default_factory=dict)
    """By step, in the order they were heard: at most the trial's own curve."""


class SendQueue:
    """Gathers by trial while a sender is busy, so that a slower one takes more at once. Only the sender ever waits.

    Live news and finished trials take turns, one trial each, so that runs appear and curves grow while a backlog of
    finished ones is closed; of live news a trial that is new goes first, then whichever has waited longest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._starts: dict[str, TrialStart] = {}
        """Every trial that runs."""
        self._new: dict[str, PendingUpdate] = {}
        self._grown: dict[str, PendingUpdate] = {}
        self._unsent: dict[str, None] = {}
        """Finished trials, whose records are to be sent; a dict, for its order."""
        self._sent: set[str] = set()
        self._is_live_turn = True
        self._is_closed = False

    def start(self, start: TrialStart) -> None:
        """A trial runs."""
        with self._changed:
            if start.trial_id not in self._unsent:
                self._starts[start.trial_id] = start
                self._put(PendingUpdate(start=start), self._new)

    def report(self, trial_id: str, result: Result) -> None:
        """A trial that runs has a result; of one that does not, its record will tell."""
        with self._changed:
            if trial_id in self._starts:
                self._put(PendingUpdate(start=self._starts[trial_id], results={result.step: result}), self._grown)

    def finish(self, trial_ids: Iterable[str]) -> None:
        """Trials have records: nothing else is due of them."""
        for trial_id in trial_ids:  # each may be read from a slow disk, for which nobody else should wait
            with self._changed:
                self._starts.pop(trial_id, None)
                self._drop_news(trial_id)
                self._sent.discard(trial_id)
                self._unsent[trial_id] = None
                self._changed.notify_all()

    def take(self) -> PendingUpdate | str | None:
        """What to send next, once there is something: news, or the id of a finished trial; None once closed.

        News that could not be sent are given back by `put_back`; a finished trial is due until `mark_sent`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._new or self._grown or self._unsent)
            if self._is_closed:
                return None
            news = self._new or self._grown
            if news and (self._is_live_turn or not self._unsent):
                self._is_live_turn = False
                return news.pop(next(iter(news)))
            self._is_live_turn = True
            return next(iter(self._unsent))

    def put_back(self, taken: PendingUpdate | str) -> None:
        """What was taken could not be sent: it waits behind everything else."""
        with self._changed:
            if isinstance(taken, str):
                if taken in self._unsent:
                    del self._unsent[taken]
                    self._unsent[taken] = None
            elif taken.start.trial_id in self._starts:
                newer = self._drop_news(taken.start.trial_id)
                results = {**taken.results, **newer.results} if newer else taken.results
                self._put(PendingUpdate(start=newer.start if newer else taken.start, results=results), self._grown)

    def mark_sent(self, trial_id: str) -> None:
        """A finished trial was sent."""
        with self._changed:
            self._unsent.pop(trial_id, None)
            self._sent.add(trial_id)

    def check(self, is_sent: Callable[[str], bool]) -> None:
        """Sort finished trials by whether they were sent, as a store that was just opened has it."""
        with self._changed:
            num_unsent, finished = len(self._unsent), [*self._unsent, *self._sent]
        unsent = {trial_id: None for trial_id in finished if not is_sent(trial_id)}
        sent = set(finished) - unsent.keys()
        with self._changed:
            finished_meanwhile = dict.fromkeys(islice(self._unsent, num_unsent, None))
            self._unsent, self._sent = unsent | finished_meanwhile, sent - finished_meanwhile.keys()
            self._changed.notify_all()

    def close(self) -> None:
        """End every `take`, and every pause."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, unless closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)

    @property
    def unsent(self) -> tuple[str, ...]:
        """The finished trials that are due, the one that waits longest first."""
        with self._changed:
            return tuple(self._unsent)

    def results(self, trial_id: str) -> list[Result]:
        """What is still to be sent of a trial that runs; it is taken by this."""
        with self._changed:
            news = self._drop_news(trial_id)
            return [*news.results.values()] if news else []

    def _put(self, news: PendingUpdate, queue: dict[str, PendingUpdate]) -> None:
        trial_id = news.start.trial_id
        queue = next((other for other in (self._new, self._grown) if trial_id in other), queue)
        earlier = queue.get(trial_id)
        results = {**earlier.results, **news.results} if earlier else news.results
        queue[trial_id] = PendingUpdate(start=news.start, results=results)
        self._changed.notify_all()

    def _drop_news(self, trial_id: str) -> PendingUpdate | None:
        return self._new.pop(trial_id, None) or self._grown.pop(trial_id, None)
