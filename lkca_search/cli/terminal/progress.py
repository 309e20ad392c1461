"""Progress display of a running search: a live table in a terminal, else one line per finished trial."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Column, Table

from lkca_search.cli.terminal.streams import console, echo
from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, RecordReader, Result, State
from lkca_search.records.stored_spec import find_spec
from lkca_search.search.state.status import read_status
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart


@contextmanager
def progress(spec: SearchSpec, folder: SearchFolder, reader: RecordReader, *, quiet: bool) -> Iterator[Tracker]:
    """Yield a tracker that displays progress, counted from the records on disk. With `quiet`, it displays nothing."""
    if quiet:
        yield Tracker()
    elif sys.stdout.isatty():
        with Live(console=console(), refresh_per_second=4, transient=True) as live:
            yield _LiveTable(_ProgressCounts(spec, folder, reader), live)
    else:
        yield _LinePerTrial(_ProgressCounts(spec, folder, reader))


class _ProgressCounts:
    """Number of finished trials and best value of each cell."""

    def __init__(self, spec: SearchSpec, folder: SearchFolder, reader: RecordReader) -> None:
        self.name = folder.name
        self.search = spec.search
        self.done = {cell.key: 0 for cell in cells(spec)}
        self.best: dict[str, float] = {}
        with reader.listed_once():
            self.num_replicates = len(reader.replicates())
            counted = read_status(folder, reader).cells if find_spec(folder) else ()
        for cell in counted:
            self.done[cell.cell] = cell.complete + cell.pruned + cell.failed
            if cell.best_value is not None:
                self.best[cell.cell] = cell.best_value

    def add(self, record: Record) -> None:
        if record.replicate is not None:
            self.num_replicates += 1
            return
        self.done[record.cell] = self.done.get(record.cell, 0) + 1
        if record.state is State.COMPLETE and record.value is not None:
            better = max if self.search.signs[0] > 0 else min
            self.best[record.cell] = better(record.value, self.best.get(record.cell, record.value))

    def label(self, record: Record) -> str:
        """Return the count that labels the line of a finished trial or replicate."""
        return self.finished_of_planned() if record.replicate is None else f"replicate {self.num_replicates}"

    def finished_of_planned(self) -> str:
        return f"{sum(self.done.values())}/{len(self.done) * self.search.trials_per_cell}"


class _LinePerTrial(Tracker):
    """Tracker that prints one line per finished trial."""

    def __init__(self, counts: _ProgressCounts) -> None:
        self._counts = counts

    def trial_finished(self, record: Record) -> None:
        self._counts.add(record)
        value = "" if record.value is None else f"{record.metric} {record.value:.4f}"
        seconds = f"{record.curve[-1].seconds:.1f} s" if record.curve else ""
        line = f"[{self._counts.label(record)}] {record.trial_id:<40} {record.state:<8} {value}  {seconds}"
        echo(line.rstrip())
        if record.error:
            echo(f"  {record.error.strip().splitlines()[-1]}")


class _LiveTable(Tracker):
    """Tracker that shows a table with one row per cell and one per running trial."""

    def __init__(self, counts: _ProgressCounts, live: Live) -> None:
        self._counts = counts
        self._live = live
        self._running: dict[str, Result | None] = {}
        self._refresh()

    def trial_started(self, start: TrialStart) -> None:
        self._running[start.trial_id] = None
        self._refresh()

    def trial_reported(self, trial_id: str, result: Result) -> None:
        self._running[trial_id] = result
        self._refresh()

    def trial_finished(self, record: Record) -> None:
        self._counts.add(record)
        self._running.pop(record.trial_id, None)
        self._refresh()

    def _refresh(self) -> None:
        counts, metric = self._counts, self._counts.search.metrics[0]
        title = f"{counts.name}: {counts.finished_of_planned()} trials finished"
        names = ("cell / running trial", "progress", metric)
        table = Table(*(Column(name, overflow="fold") for name in names), title=title, title_justify="left", box=None)
        for cell, done in counts.done.items():
            best = f"{counts.best[cell]:.4f} best" if cell in counts.best else ""
            table.add_row(cell, f"{done}/{counts.search.trials_per_cell}", best)
        if self._counts.num_replicates:
            table.add_row("replicates", str(self._counts.num_replicates), "")
        for trial_id, result in self._running.items():
            now = f"step {result.step}" if result else "starting"
            table.add_row(f"  {trial_id}", now, f"{result.value(metric):.4f}" if result else "", style="dim")
        self._live.update(table)
