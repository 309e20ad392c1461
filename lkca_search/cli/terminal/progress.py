"""Progress display of a running search: a live view in a terminal, else one line per finished trial."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.live import Live

from lkca_search.cli.terminal.live_view import LiveView
from lkca_search.cli.terminal.output import describe_mlflow
from lkca_search.cli.terminal.search_progress import SearchProgress
from lkca_search.cli.terminal.streams import can_refresh, echo, errors_are_shown, ordered_console
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, RecordReader, Result, TrialMetadata
from lkca_search.records.rounds import Round
from lkca_search.reporting.values.numbers import format_duration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart

_REFRESH_SECONDS = 0.5
"""Seconds between two refreshes: training uses every core."""


@contextmanager
def progress(spec: SearchSpec, folder: SearchFolder, reader: RecordReader, *, quiet: bool) -> Iterator[Tracker]:
    """Yield a tracker that displays progress, counted from the records on disk. With `quiet`, it displays nothing.

    In a terminal, all that is printed in the block appears above the live view and stays; the view is removed at the
    end.
    """
    if quiet:
        yield Tracker()
        return
    counted = SearchProgress(spec, folder, reader)
    if not can_refresh():
        yield _LinePerTrial(counted)
        return
    lock = threading.Lock()
    with _Display(LiveView(counted, browse=describe_mlflow(folder.name), lock=lock)) as display:
        yield _LiveTracker(counted, display, lock)


class _Display:
    """Live view that is refreshed until the end of its block, and then removed."""

    def __init__(self, view: LiveView) -> None:
        self._console = ordered_console()
        self._live = Live(
            view,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=errors_are_shown(),  # an error log in a file stays complete
        )
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        with self._console:
            self._live.start(refresh=True)
        threading.Thread(target=self._refresh, name="live-view", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """Remove the view. Any thread may call this."""
        self._ended.set()
        with self._console:  # first, as for every print: Rich takes its own locks inside
            self._live.stop()

    def _refresh(self) -> None:
        while not self._ended.wait(_REFRESH_SECONDS):
            with self._console:
                if not self._ended.is_set():
                    self._live.refresh()


class _ProgressTracker(Tracker):
    """Tracker that counts the events of a search."""

    def __init__(self, counted: SearchProgress, lock: threading.Lock) -> None:
        self._counted = counted
        self._lock = lock

    def trial_started(self, start: TrialStart) -> None:
        with self._lock:
            self._counted.on_started(start)

    def trial_described(self, trial_id: str, metadata: TrialMetadata) -> None:
        with self._lock:
            self._counted.on_described(trial_id, metadata)

    def trial_reported(self, trial_id: str, result: Result) -> None:
        with self._lock:
            self._counted.on_reported(trial_id, result)

    def trial_requeued(self, trial_id: str) -> None:
        with self._lock:
            self._counted.on_requeued(trial_id)

    def trial_finished(self, record: Record) -> None:
        with self._lock:
            self._counted.on_finished(record)
        self._show(record)

    def round_started(self, round_: Round) -> None:
        with self._lock:
            self._counted.on_round(round_)

    def halted(self, reason: str) -> None:
        with self._lock:
            self._counted.halt_reason = reason

    def _show(self, record: Record) -> None:
        """Show a finished trial or replicate."""


class _LinePerTrial(_ProgressTracker):
    """Tracker that prints one line per finished trial."""

    def __init__(self, counted: SearchProgress) -> None:
        super().__init__(counted, threading.Lock())

    def _show(self, record: Record) -> None:
        counted = self._counted
        label = f"{counted.num_finished}/{counted.num_planned}"
        if record.replicate is not None:
            label = f"replicate {counted.num_replicated}/{counted.num_replicates}"
        value = "" if record.value is None else f"{record.metric} {record.value:.4f}"
        seconds = f"{record.curve[-1].seconds:.1f} s" if record.curve else ""
        left = counted.seconds_left
        time_left = f"about {format_duration(left)} left" if left else ""
        fields = (f"[{label}] {record.trial_id:<40} {record.state:<8} {value}", seconds, time_left)
        echo("  ".join(field for field in fields if field).rstrip())
        if record.error:
            echo(f"  {_last_line(record.error)}")


class _LiveTracker(_ProgressTracker):
    """Tracker of the live view. Failed trials are printed above it."""

    def __init__(self, counted: SearchProgress, display: _Display, lock: threading.Lock) -> None:
        super().__init__(counted, lock)
        self._display = display

    def abandoned(self) -> None:
        self._display.end()

    def _show(self, record: Record) -> None:
        if record.error:
            echo(f"{record.trial_id} failed: {_last_line(record.error)}")


def _last_line(error: str) -> str:
    return (error.strip().splitlines() or [""])[-1]
