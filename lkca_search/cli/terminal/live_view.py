"""Live view of a running search: its counts, steps and time left, its cells, and its running trials."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lkca_search.cli.terminal.cell_progress import CellProgress, RunningProgress
from lkca_search.cli.terminal.folding import fold
from lkca_search.cli.terminal.search_progress import SearchProgress
from lkca_search.cli.terminal.streams import visible
from lkca_search.cli.terminal.tables import FoldedTable, fold_table
from lkca_search.reporting.values.numbers import format_compact, format_duration, pluralize

_MESSAGE_LINES = 4
"""Lines that stay free above the view, so that a message such as the answer to Ctrl-C can be read."""
_MIN_HEIGHT = 8
"""Smallest height of a view that leaves these lines free."""
_BAR_WIDTH = 30


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Row of a cell, or of a running trial below its cell."""

    values: Sequence[str]
    priority: int
    """0 for a running trial and its cell, 1 for an unfinished cell, 2 for a finished one. Low numbers are shown first
    if not all rows fit."""
    is_trial: bool


class LiveView:
    """View of the progress of a search, at most as high as the terminal; Rich renders it."""

    def __init__(self, progress: SearchProgress, *, browse: str, lock: threading.Lock) -> None:
        """Create a view.

        Args:
            progress: Progress of the search.
            browse: Address of MLflow, or the command that opens it.
            lock: Held while the progress is read; Rich renders in another thread.
        """
        self._progress = progress
        self._browse = browse
        self._lock = lock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the view for the size of the terminal."""
        width, height = options.max_width, console.size.height
        # One line less than the terminal: Rich adds a line when it removes the view.
        room = max(min(height - 1, _MIN_HEIGHT), height - _MESSAGE_LINES)
        with self._lock:
            texts = [line for text in self._header() for line in fold(visible(text), width)][: max(1, room - 1)]
            steps, all_steps = self._progress.steps, self._progress.all_steps
            header, rows = self._table_header(), self._rows()
        yield Text("\n".join(texts))
        yield _steps_bar(steps, all_steps, width=width)
        room -= len(texts) + 2  # the bar, and an empty line
        folded = None
        for count in range(len(header), 0, -1):  # a narrow terminal shows the first columns
            folded = folded or fold_table(header[:count], [row.values[:count] for row in rows], width=width)
        if folded is None or room < folded.header_height + 1:
            return
        shown, hidden = _choose_rows(folded, rows, room - folded.header_height)
        yield Text()
        part = FoldedTable(
            header=folded.header, rows=[folded.rows[i] for i in shown], widths=folded.widths, gap=folded.gap
        )
        trials = frozenset(position for position, i in enumerate(shown) if rows[i].is_trial)
        yield part.render(numbers=frozenset(range(1, len(folded.widths))), dim=trials)
        if hidden:
            yield Text(_describe_hidden(hidden), style="dim", no_wrap=True, overflow="ellipsis")

    def _header(self) -> list[str]:
        progress = self._progress
        counts = f"{progress.name}: {progress.num_finished} of {progress.num_planned} trials"
        if progress.num_replicates:
            counts += f", {progress.num_replicated} of {progress.num_replicates} replicates"
        left = progress.seconds_left
        time_left = "" if left is None or not progress.running else f", about {format_duration(left)} left"
        lines = [f"{counts}; {timedelta(seconds=int(progress.seconds))} elapsed{time_left}", f"MLflow: {self._browse}"]
        if progress.halt_reason is not None:
            lines.append(f"no further trial starts ({progress.halt_reason}); the running ones finish")
        elif not progress.running:
            lines.append(
                "all trials are finished; writing tables and sending to MLflow"
                if all(cell.is_finished for cell in progress.cells.values())
                else "starting workers, checking data and space"
            )
        return lines

    def _table_header(self) -> list[str]:
        replicates = ["replicates"] if self._progress.num_replicates else []
        return ["cell", "trials", *replicates, self._progress.metric, "steps"]

    def _rows(self) -> list[_Row]:
        progress = self._progress
        rows: list[_Row] = []
        by_cell: dict[str, list[RunningProgress]] = {key: [] for key in progress.cells}
        for trial in progress.running.values():
            by_cell[trial.start.cell].append(trial)
        for key, cell in progress.cells.items():
            priority = 0 if by_cell[key] else 2 if cell.is_finished else 1
            rows.append(_Row(values=self._cell_row(key, cell), priority=priority, is_trial=False))
            rows += [_Row(values=self._trial_row(trial), priority=0, is_trial=True) for trial in by_cell[key]]
        return rows

    def _cell_row(self, key: str, cell: CellProgress) -> list[str]:
        count = f"{cell.num_replicated}/{cell.num_replicates}" if cell.num_replicates else ""
        replicates = [count] if self._progress.num_replicates else []
        best = "" if cell.best is None else f"best {cell.best:.4f}"
        steps = format_compact(cell.steps) if cell.steps else ""
        return [key, f"{cell.num_finished}/{cell.num_planned}", *replicates, best, steps]

    def _trial_row(self, trial: RunningProgress) -> list[str]:
        start, result = trial.start, trial.result
        name = f"  trial {start.number}"
        if start.replicate is not None:
            name = f"  replicate {start.number}/draw={start.replicate.draw},seed={start.replicate.seed}"
        planned = f"/{format_compact(trial.planned_steps)}" if trial.planned_steps else ""
        steps = f"{format_compact(result.step if result else 0)}{planned}" if result or planned else "starting"
        empty = ["", ""] if self._progress.num_replicates else [""]
        return [name, *empty, f"{result.value(self._progress.metric):.4f}" if result else "", steps]


class CroppedView:
    """View that is cut to the lines of the terminal; a last line counts the others."""

    def __init__(self, view: RenderableType) -> None:
        """Crop a view."""
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines that fit, except for one that Rich needs when it removes the view."""
        lines = console.render_lines(self._view, options, pad=False)
        room = max(2, console.size.height - 1)
        num_hidden = len(lines) - room + 1 if len(lines) > room else 0
        for line in lines[: len(lines) - num_hidden]:
            yield from line
            yield Segment.line()
        if num_hidden:
            yield Text(f"and {pluralize(num_hidden, 'more line')}", style="dim", no_wrap=True, overflow="ellipsis")


def _steps_bar(steps: int, all_steps: int | None, *, width: int) -> Table:
    """Return a bar of the steps so far, and their number."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    if not all_steps:
        grid.add_row(Text("steps: not known yet", no_wrap=True, overflow="crop"))
        return grid
    text = Text(f"{format_compact(steps)} of about {format_compact(all_steps)} steps", no_wrap=True, overflow="crop")
    bar_width = min(_BAR_WIDTH, width - len(text) - 1)
    if bar_width < 1:
        grid.add_row(text)
    else:
        grid.add_row(ProgressBar(total=all_steps, completed=min(steps, all_steps), width=bar_width), text)
    return grid


def _choose_rows(folded: FoldedTable, rows: Sequence[_Row], room: int) -> tuple[list[int], list[_Row]]:
    """Return the positions of the rows that fit, in order, and the rows that do not."""
    heights = folded.heights
    if sum(heights) <= room:
        return list(range(len(rows))), []
    room -= 1  # the line that counts the hidden rows
    shown: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: rows[i].priority):  # stable: a trial follows its cell
        if heights[i] > room:
            break
        room -= heights[i]
        shown.append(i)
    return sorted(shown), [row for i, row in enumerate(rows) if i not in shown]


def _describe_hidden(rows: Sequence[_Row]) -> str:
    cells = [row for row in rows if not row.is_trial]
    parts = []
    if cells:
        finished = sum(row.priority == 2 for row in cells)
        parts.append(f"{pluralize(len(cells), 'more cell')}{f' ({finished} finished)' if finished else ''}")
    if trials := len(rows) - len(cells):
        parts.append(pluralize(trials, "more running trial"))
    return f"and {', '.join(parts)}"
