"""A tracker that sends to MLflow from a thread of its own: a store that is slow or gone stops no trial.

The spool is the ledger: whatever was not sent is read again from the trials' records, at the next success, when the
search ends, and when it is opened again.
"""

import math
import queue
import threading
import time
from collections.abc import Callable

from lkca_search.records import Record, Result, read_record
from lkca_search.storage import SearchFolder
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.tracker import Tracker, TrialStart

_Action = Callable[[MLflowStore], None]


class MLflowTracker(Tracker):
    """Sends what it hears; while the store fails, it forgets live results and remembers which trials to send."""

    def __init__(
        self, open_store: Callable[[], MLflowStore], folder: SearchFolder, *, pause_seconds: float = 5.0
    ) -> None:
        """Start to open the store; one that fails is left alone for `pause_seconds`, then opened anew."""
        self._open_store = open_store
        self._folder = folder
        self._pause_seconds = pause_seconds
        self._store: MLflowStore | None = None
        self._unsent: set[str] = set()
        self._queue: queue.SimpleQueue[_Action | None] = queue.SimpleQueue()
        self._last_action: _Action | None = None
        self._deadline = math.inf
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
        """Send what is missing and end the parent run; return how many finished trials MLflow still lacks.

        Returns after `patience_seconds` at the latest, whatever the store does; `last_error` says what it did.
        """

        def finish(store: MLflowStore) -> None:
            self._send_unsent(store)
            store.end(complete=complete, best=best)

        self._deadline = time.monotonic() + patience_seconds
        self._last_action = finish
        self._queue.put(None)
        self._thread.join(patience_seconds)
        if self._thread.is_alive() and self.last_error is None:
            self.last_error = TimeoutError(f"MLflow took longer than {patience_seconds:g} s")
        return len(self._unsent)

    def _serve(self) -> None:
        resume_time = 0.0 if self._try(lambda store: None) else time.monotonic() + self._pause_seconds
        # At the end what still waits is left out: a finished trial's record holds all of it, and any other goes on.
        while (event := self._queue.get()) is not None and self._last_action is None:
            if time.monotonic() >= resume_time and not self._try(event):
                resume_time = time.monotonic() + self._pause_seconds
        assert self._last_action is not None
        while not self._try(self._last_action) and time.monotonic() + self._pause_seconds < self._deadline:
            time.sleep(self._pause_seconds)

    def _try(self, action: _Action) -> bool:
        try:
            if self._store is None:
                store = self._open_store()
                finished = (trial.trial_id for trial in self._folder.trial_folders() if trial.record)
                self._unsent.update(trial_id for trial_id in finished if not store.is_sent(trial_id))
                self._store = store
            action(self._store)
        except Exception as error:  # whatever a store raises, a search goes on
            self.last_error = error
            self._store = None  # it may come back as another one, or without a run that was deleted
            return False
        self.last_error = None
        return True

    def _send_unsent(self, store: MLflowStore) -> None:
        for trial_id in tuple(self._unsent):
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"MLflow was too slow for {len(self._unsent)} trials that it lacked at the end")
            record = read_record(self._folder, trial_id)
            if record is not None:
                store.finish(record)
            self._unsent.discard(trial_id)
