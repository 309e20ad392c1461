"""A tracker that sends to MLflow from a thread of its own: a store that is slow or gone stops no trial.

The spool is the ledger: whatever was not sent is read again from the trials' records, as soon as the store answers,
when the search ends, and when it is opened again.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, Result, read_record
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.redaction import redacted
from lkca_search.tracking.send_queue import PendingUpdate, SendQueue
from lkca_search.tracking.tracker import Tracker, TrialStart

_MOST_PAUSES = 12
"""How many times its pause a store that keeps failing is left alone at most."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came of sending MLflow what it lacked."""

    num_sent: int
    """Finished trials that were sent now."""
    num_missing: int
    """Finished trials that MLflow is not known to have."""
    error: Exception | None
    """What stood in the way last, without passwords; none where all was sent and the search's run ended."""


def send_missing(
    open_store: Callable[[], MLflowStore],
    folder: SearchFolder,
    *,
    complete: bool,
    best: Record | None,
    patience_seconds: float,
    pause_seconds: float = 5.0,
) -> Delivery:
    """Send what MLflow lacks of a search that nobody drives now, and end its runs; never raises what a store does.

    Under the search's lock: the run of a search that is driven elsewhere would be shown as killed.
    """
    tracker = MLflowTracker(open_store, folder, pause_seconds=pause_seconds)
    num_missing = tracker.close(complete=complete, best=best, patience_seconds=patience_seconds)
    return Delivery(num_sent=tracker.num_sent, num_missing=num_missing, error=tracker.last_error)


class MLflowTracker(Tracker):
    """Sends what it hears, and keeps what it could not send: of a trial that runs its results, else its id."""

    def __init__(
        self, open_store: Callable[[], MLflowStore], folder: SearchFolder, *, pause_seconds: float = 5.0
    ) -> None:
        """Start to open the store; one that fails is left alone for `pause_seconds`, or longer, then opened anew."""
        self._open_store = open_store
        self._folder = folder
        self._pause_seconds = pause_seconds
        self._store: MLflowStore | None = None
        self._outbox = SendQueue()
        self._is_folder_read = False
        self._complete = False
        self._best: Record | None = None
        self._deadline = math.inf
        self.num_sent = 0
        self.last_error: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="mlflow-tracker", daemon=True)
        self._thread.start()

    def trial_started(self, start: TrialStart) -> None:
        self._outbox.start(start)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        self._outbox.report(trial_id, result)

    def trial_finished(self, record: Record) -> None:
        self._outbox.finish([record.trial_id])

    def close(self, *, complete: bool, best: Record | None, patience_seconds: float = 60.0) -> int:
        """Send what is missing and end the runs; return how many finished trials MLflow is not known to have.

        The search's run ends as FINISHED where it is complete, and like the runs of trials without a record as KILLED
        where not. Returns after `patience_seconds` at the latest, whatever the store does; `last_error` says what.
        """
        self._complete, self._best = complete, best
        self._deadline = time.monotonic() + patience_seconds
        self._outbox.close()
        self._thread.join(patience_seconds)
        if self._thread.is_alive() and self.last_error is None:
            self.last_error = TimeoutError(f"MLflow took longer than {patience_seconds:g} s")
        return len(self._outbox.unsent)

    def _serve(self) -> None:
        pauses = 1
        is_open = self._try(lambda store: None)
        while True:
            if not is_open:
                self._outbox.pause(self._pause_seconds * pauses)
                pauses = min(2 * pauses, _MOST_PAUSES)
            taken = self._outbox.take()
            if taken is None:
                break
            is_open = self._try(lambda store, taken=taken: self._send(store, taken))  # type: ignore[misc]
            if is_open:
                pauses = 1
            else:
                self._outbox.put_back(taken)
        while not self._send_rest() and time.monotonic() + self._pause_seconds < self._deadline:
            time.sleep(self._pause_seconds)

    def _send_rest(self) -> bool:
        """Try everything that is due at the end once: the search's end first, which nothing else should delay."""
        if not self._try(lambda store: store.end(complete=self._complete, best=self._best)):
            return False
        if not self._try_each(self._outbox.unsent, self._send):
            return False
        unfinished = self._store.running if self._store else ()
        return self._try_each(unfinished, self._leave) and not self._outbox.unsent

    def _try_each(self, trial_ids: Sequence[str], action: Callable[[MLflowStore, str], None]) -> bool:
        """Whether the store was there for all; one that refuses one trial is asked to take the others."""
        for trial_id in trial_ids:
            tried = self._try(lambda store, trial_id=trial_id: action(store, trial_id))  # type: ignore[misc]
            if not tried and not self._try(lambda store: None):
                return False
        return True

    def _try(self, action: Callable[[MLflowStore], None]) -> bool:
        try:
            if time.monotonic() > self._deadline:
                lacking = f"{len(self._outbox.unsent)} finished trials"
                raise TimeoutError(f"MLflow was too slow for all that it lacked at the end, {lacking} of it")
            if self._store is None:
                self._store = self._open()
            action(self._store)
        except Exception as error:  # whatever a store raises, a search goes on
            self.last_error = redacted(error, os.environ.get("MLFLOW_TRACKING_URI", ""))
            self._store = None  # it may come back as another one, or without a run that was deleted
            return False
        if not self._outbox.unsent:
            self.last_error = None
        return True

    def _open(self) -> MLflowStore:
        if not self._is_folder_read:
            self._outbox.finish([*self._folder.records(), *self._folder.replicates()])
            self._is_folder_read = True
        store = self._open_store()
        self._outbox.check(store.is_sent)
        return store

    def _send(self, store: MLflowStore, taken: PendingUpdate | str) -> None:
        if isinstance(taken, PendingUpdate):
            store.start(taken.start, taken.results.values())
        else:
            record = read_record(self._folder, taken)
            if record is not None:
                store.finish(record)
                self.num_sent += 1
            self._outbox.mark_sent(taken)

    def _leave(self, store: MLflowStore, trial_id: str) -> None:
        store.leave(trial_id, self._outbox.results(trial_id))
