"""How a search is shown while it runs: a live table in a terminal, else a line a finished trial."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.live import Live
from rich.table import Column, Table

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record, Result, State
from lkca_search.search.state.status import search_status
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker, TrialStart


@contextmanager
def progress(spec: SearchSpec, folder: SearchFolder, *, quiet: bool) -> Iterator[Tracker]:
    """A tracker that shows a search from where it stands now; one that shows nothing if `quiet`."""
    if quiet:
        yield Tracker()
    elif sys.stdout.isatty():
        with Live(refresh_per_second=4, transient=True) as live:
            yield _LiveTable(_Tally(spec, folder), live)
    else:
        yield _Lines(_Tally(spec, folder))


class _Tally:
    """Counts what is finished, and remembers the best of each cell."""

    def __init__(self, spec: SearchSpec, folder: SearchFolder) -> None:
        self.name = folder.name
        self.search = spec.search
        self.done = {cell.key: 0 for cell in cells(spec)}
        self.best: dict[str, float] = {}
        self.num_replicates = len(folder.replicates())
        for cell in search_status(folder).cells if folder.spec.exists() else ():
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

    def num_finished(self, record: Record) -> str:
        """How many of its kind are finished."""
        return self.finished_of_planned() if record.replicate is None else f"replicate {self.num_replicates}"

    def finished_of_planned(self) -> str:
        return f"{sum(self.done.values())}/{len(self.done) * self.search.trials_per_cell}"


class _Lines(Tracker):
    """A line a finished trial."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally

    def trial_finished(self, record: Record) -> None:
        self._tally.add(record)
        value = "" if record.value is None else f"{record.metric} {record.value:.4f}"
        seconds = f"{record.curve[-1].seconds:.1f} s" if record.curve else ""
        line = f"[{self._tally.num_finished(record)}] {record.trial_id:<40} {record.state:<8} {value}  {seconds}"
        typer.echo(line.rstrip())
        if record.error:
            typer.echo(f"  {record.error.strip().splitlines()[-1]}")


class _LiveTable(Tracker):
    """A row a cell, and a row a running trial."""

    def __init__(self, tally: _Tally, live: Live) -> None:
        self._tally = tally
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
        self._tally.add(record)
        self._running.pop(record.trial_id, None)
        self._refresh()

    def _refresh(self) -> None:
        tally, metric = self._tally, self._tally.search.metrics[0]
        title = f"{tally.name}: {tally.finished_of_planned()} trials finished"
        names = ("cell, and trials that run", "now", metric)
        table = Table(*(Column(name, overflow="fold") for name in names), title=title, title_justify="left", box=None)
        for cell, done in tally.done.items():
            best = f"{tally.best[cell]:.4f} best" if cell in tally.best else ""
            table.add_row(cell, f"{done}/{tally.search.trials_per_cell}", best)
        if self._tally.num_replicates:
            table.add_row("replicates", str(self._tally.num_replicates), "")
        for trial_id, result in self._running.items():
            now = f"step {result.step}" if result else "starting"
            table.add_row(f"  {trial_id}", now, f"{getattr(result, metric):.4f}" if result else "", style="dim")
        self._live.update(table)
