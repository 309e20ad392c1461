"""Tracker that sends to MLflow from its own thread, so that a slow store blocks no trial.

Unsent trials are sent later from their records: when the store responds again, at the end of the search, or at its next
start.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, RecordReader, Result
from lkca_search.tracking.connection import has_store
from lkca_search.tracking.faults import Fault, StoreError, describe_fault
from lkca_search.tracking.search_run.describer import Describe, Describer
from lkca_search.tracking.send_queue import PendingUpdate, SendQueue
from lkca_search.tracking.tracker import Tracker, TrialStart

if TYPE_CHECKING:
    from lkca_search.tracking.mlflow_store import MLflowStore  # the thread imports MLflow when it opens the store

_SLOW = "see the load of its server or disk"
_UNOPENED_SECONDS = 10.0
"""Time to wait at the end of a search for a store that could not be opened since its start."""
_MAX_BACKOFF = 12
"""Longest pause after repeated failures, as a multiple of `pause_seconds`."""


Register = Callable[["MLflowStore"], Iterator[str]]
"""Function that registers models in steps, once all runs are sent; it yields a line for the user, or an empty text."""


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """Outcome of sending the missing trials to MLflow."""

    num_sent: int
    """Finished trials that were sent."""
    num_missing: int
    """Finished trials that MLflow may lack."""
    fault: Fault | None
    """Last fault. None if everything was sent and the search's run was ended."""


def send_missing(
    open_store: "Callable[[], MLflowStore]",
    folder: SearchFolder,
    reader: RecordReader | None = None,
    *,
    complete: bool,
    best: Record | None,
    patience_seconds: float,
    pause_seconds: float = 5.0,
    notify: Callable[[str], None] = lambda _: None,
    register: Register | None = None,
    describe: Describe | None = None,
) -> SyncResult:
    """Send the trials that MLflow lacks of a search that is not running, and end its runs.

    Runs of an earlier version get the present names of the metrics. Errors of the store are returned, not raised: at
    once if it cannot be opened, else after `patience_seconds`. The caller must hold the search's lease: otherwise, the
    runs of a running search would end as KILLED.
    """
    tracker = MLflowTracker(open_store, folder, reader, pause_seconds=pause_seconds, notify=notify, is_sync=True)
    num_missing = tracker.close(
        complete=complete, best=best, patience_seconds=patience_seconds, register=register, describe=describe
    )
    return SyncResult(num_sent=tracker.num_sent, num_missing=num_missing, fault=tracker.last_fault)


class MLflowTracker(Tracker):
    """Tracker that queues all updates and sends them to MLflow in a thread. Unsent updates stay in the queue."""

    def __init__(
        self,
        open_store: "Callable[[], MLflowStore]",
        folder: SearchFolder,
        reader: RecordReader | None = None,
        *,
        pause_seconds: float = 5.0,
        notify: Callable[[str], None] = lambda _: None,
        is_sync: bool = False,
        describe: Describe | None = None,
    ) -> None:
        """Start the thread, which opens the store. After an error, it pauses for `pause_seconds` or longer.

        The thread calls `notify` with one line per fault that it meets and per notice of the store. With `is_sync`,
        finished trials with metrics of an earlier version are sent again, and a store that cannot be opened is not
        opened again. `describe` returns the description of the running search, which is written at times.
        """
        self._is_sync = is_sync
        self._notify = notify
        self._notified: set[str] = set()
        self._was_opened = False
        self._needs_user = False
        """True if the store cannot be used until the user runs a command."""
        self._open_store = open_store
        self._folder = folder
        self._reader = reader or RecordReader(folder)
        self._pause_seconds = pause_seconds
        self._store: MLflowStore | None = None
        self._queue = SendQueue()
        self._is_folder_read = False
        self._complete = False
        self._best: Record | None = None
        self._register: Register | None = None
        self._describer = Describer(describe, self._say)
        self._describe: Describe | None = None
        self._patience_seconds = self._last_step = math.inf
        """Time of the last new step of the registration, or of the call of `close`."""
        self._num_steps = 0
        """Steps of the registration that some call has reached."""
        self._deadline = math.inf
        self.num_sent = 0
        self.last_fault: Fault | None = None
        self._told: Fault | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-tracker", daemon=True)
        self._thread.start()

    @property
    def is_told(self) -> bool:
        """True if the last fault was printed when it was met."""
        return self.last_fault is not None and self._told == self.last_fault

    def trial_started(self, start: TrialStart) -> None:
        """Queue the start of an attempt."""
        self._queue.add_start(start)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        """Queue an evaluation."""
        self._queue.add_result(trial_id, result)

    def trial_finished(self, record: Record) -> None:
        """Queue a finished trial. Its record is read when it is sent."""
        self._queue.add_finished([record.trial_id])

    def close(
        self,
        *,
        complete: bool,
        best: Record | None,
        patience_seconds: float = 60.0,
        register: Register | None = None,
        describe: Describe | None = None,
    ) -> int:
        """Send the missing updates, end the runs and return the number of finished trials that MLflow may lack.

        The search's run ends as FINISHED if `complete`, else as KILLED. Runs of unfinished trials end as KILLED. If
        nothing is missing, the search is described by `describe`, and `register` is called.

        Returns after at most `patience_seconds`, and as long again for each step of `register`; `last_fault` is then
        the reason. A store that could never be opened is tried for some seconds, and one that needs a command of the
        user once.
        """
        self._complete, self._best, self._register, self._describe = complete, best, register, describe
        self._patience_seconds, self._last_step = patience_seconds, time.monotonic()
        self._deadline = self._last_step + patience_seconds
        self._queue.close()
        while self._thread.is_alive() and (left := self._last_step + patience_seconds - time.monotonic()) > 0:
            self._thread.join(left)
        if self._thread.is_alive() and self.last_fault is None:
            self.last_fault = Fault(f"MLflow took longer than {patience_seconds:g} s", _SLOW)
        return len(self._queue.unsent_trials)

    def _run(self) -> None:
        backoff = 1
        is_reachable = self._try(lambda store: None)
        if self._is_sync and not is_reachable:
            return
        while True:
            is_reachable = is_reachable and self._try(lambda store: self._describer.refresh(store.search_run))
            if not is_reachable:
                self._queue.pause(self._pause_seconds * backoff)
                backoff = min(2 * backoff, _MAX_BACKOFF)
            item = self._queue.take()
            if item is None:
                break
            is_reachable = self._try(lambda store, item=item: self._send(store, item))  # type: ignore[misc]
            if is_reachable:
                backoff = 1
            else:
                self._queue.requeue(item)
        if not self._was_opened:
            self._deadline = min(self._deadline, time.monotonic() + _UNOPENED_SECONDS)
        while not self._send_remaining() and time.monotonic() + self._pause_seconds < self._deadline:
            if self._needs_user:
                return
            cause = self.last_fault.cause if self.last_fault else "some runs were not sent"
            again = f"tried again for up to {self._deadline - time.monotonic():.0f} s"
            self._say(again if self.is_told else f"{cause}; {again}", once="retry")
            time.sleep(self._pause_seconds)

    def _send_remaining(self) -> bool:
        """Send everything once at the end. Return True if nothing is left to send.

        The end of the search's run goes first, so that nothing else delays it.
        """
        if not self._try(lambda store: store.end_search(complete=self._complete, best=self._best)):
            return False
        if not self._try_each(self._queue.unsent_trials, self._send):
            return False
        unfinished = self._store.running_trials if self._store else ()
        if not self._try_each(unfinished, self._mark_killed) or self._queue.unsent_trials:
            return False
        if not self._try(lambda store: store.mark_sent(self._queue.sent_trials)):
            return False
        if not self._try(lambda store: self._describer.write(store.search_run, self._describe)):
            return False
        return self._register is None or self._try(self._register_models)

    def _register_models(self, store: "MLflowStore") -> None:
        """Register models in steps. A step that no earlier call has reached moves the deadline."""
        assert self._register is not None
        for number, line in enumerate(self._register(store)):
            if line:
                self._say(line)
            if time.monotonic() > self._deadline:
                raise StoreError("MLflow was too slow to register all models", _SLOW)
            if number >= self._num_steps:
                self._num_steps = number + 1
                self._last_step = time.monotonic()
                self._deadline = self._last_step + self._patience_seconds

    def _try_each(self, trial_ids: Sequence[str], action: "Callable[[MLflowStore, str], None]") -> bool:
        """Apply an action to each trial, skipping trials that fail. Return False if the store becomes unreachable."""
        for trial_id in trial_ids:
            succeeded = self._try(lambda store, trial_id=trial_id: action(store, trial_id))  # type: ignore[misc]
            if not succeeded and not self._try(lambda store: None):
                return False
        return True

    def _try(self, action: "Callable[[MLflowStore], None]") -> bool:
        """Apply an action to the store, opening it first if needed. Return False after an error."""
        try:
            if time.monotonic() > self._deadline:
                raise StoreError("MLflow was too slow at the end of the search", _SLOW)
            if self._store is None:
                self._store = self._open()
            action(self._store)
            self._say_all(self._store.notices)
        except Exception as error:  # any error of a store: the search continues
            self.last_fault = describe_fault(error, self._folder.home)
            self._needs_user = isinstance(error, StoreError) or not has_store(self._folder.home)
            if self._store is None and not self._is_sync and math.isinf(self._deadline):
                later = f"send the rest later: lkca-search sync {self._folder.name}"
                self._say(f"{self.last_fault}. The search continues; {later}")
                self._told = self.last_fault
            self._store = None  # reopened next time: the database may be another one, or runs may have been deleted
            return False
        if not self._queue.unsent_trials:
            self.last_fault = None
        return True

    def _open(self) -> "MLflowStore":
        if not self._is_folder_read:
            listing = self._folder.list_trials()
            self._queue.add_finished([*listing.trials.records, *listing.replicates.records])
            self._is_folder_read = True
        store = self._open_store()
        self._was_opened = True
        self._say_all(store.notices)
        self._queue.recheck_sent(store.is_current if self._is_sync else store.is_sent)
        return store

    def _say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(line)

    def _say(self, line: str, *, once: str | None = None) -> None:
        """Print a line that was not printed before; with `once`, one line of this kind."""
        if (once or line) not in self._notified:
            self._notified.add(once or line)
            with suppress(OSError, ValueError):  # the terminal is closed
                self._notify(f"MLflow: {line}")

    def _send(self, store: "MLflowStore", item: PendingUpdate | str) -> None:
        if isinstance(item, PendingUpdate):
            store.update_running(item.start, item.results.values())
        else:
            record = self._reader.find(item)
            if record is not None:
                store.finish(record)
                self.num_sent += 1
            self._queue.mark_sent(item)

    def _mark_killed(self, store: "MLflowStore", trial_id: str) -> None:
        store.mark_killed(trial_id, self._queue.take_results(trial_id))
