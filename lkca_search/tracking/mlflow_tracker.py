"""A tracker that sends to MLflow from a thread of its own: a store that is slow or gone stops no trial.

The spool is the ledger: whatever was not sent is read again from the trials' records, at the next success, when the
search ends, and when it is opened again.
"""

import queue
import threading
import time
from collections.abc import Callable

from lkca_search.records import Record, Result, read_record
from lkca_search.storage import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.tracker import Tracker, TrialStart

_PAUSE_SECONDS = 5.0


class MLflowTracker(Tracker):
    """Sends what it hears; while the store fails, it forgets live results and remembers which trials to send."""

    def __init__(self, open_store: Callable[[], MLflowStore], folder: SearchFolder) -> None:
        self._open_store = open_store
        self._folder = folder
        self._store: MLflowStore | None = None
        self._unsent: set[str] = set()
        self._queue: queue.SimpleQueue[Callable[[MLflowStore], None] | None] = queue.SimpleQueue()
        self.last_error: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="mlflow-tracker", daemon=True)
        self._thread.start()

    def trial_started(self, start: TrialStart) -> None:
        self._queue.put(lambda store: store.start(start))

    def trial_reported(self, trial_id: str, result: Result) -> None:
        self._queue.put(lambda store: store.log(trial_id, result))

    def trial_finished(self, record: Record) -> None:
        self._unsent.add(record.trial_id)
        self._queue.put(self._send_unsent)

    def close(self, *, complete: bool, best: Record | None, patience_seconds: float = 60.0) -> int:
        """Send what is missing and end the parent run; return how many finished trials MLflow still lacks."""
        deadline = time.monotonic() + patience_seconds
        self._queue.put(None)
        self._thread.join(timeout=patience_seconds)

        def finish(store: MLflowStore) -> None:
            self._send_unsent(store)
            store.end(complete=complete, best=best)

        while not self._thread.is_alive() and not self._try(finish) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        return len(self._unsent)

    def _serve(self) -> None:
        resume_time = 0.0 if self._try(lambda store: None) else time.monotonic() + _PAUSE_SECONDS
        while (event := self._queue.get()) is not None:
            if time.monotonic() >= resume_time and not self._try(event):
                resume_time = time.monotonic() + _PAUSE_SECONDS

    def _try(self, action: Callable[[MLflowStore], None]) -> bool:
        try:
            if self._store is None:
                store = self._open_store()
                finished = (trial.trial_id for trial in self._folder.trial_folders() if trial.record)
                self._unsent.update(trial_id for trial_id in finished if not store.is_sent(trial_id))
                self._store = store
            action(self._store)
        except Exception as error:  # whatever a store raises, a search goes on
            self.last_error = error
            return False
        self.last_error = None
        return True

    def _send_unsent(self, store: MLflowStore) -> None:
        for trial_id in tuple(self._unsent):
            record = read_record(self._folder, trial_id)
            if record is not None:
                store.finish(record)
            self._unsent.discard(trial_id)
