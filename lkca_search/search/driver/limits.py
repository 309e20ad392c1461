"""Reasons for which a search starts no further trial: a cell's budget and a driver's limits."""

import time

from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.objectives import Plateau
from lkca_search.records.record import State
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import LimitsSection


class Budget:
    """Budget of trials per cell: spent when all have started, the sampler is exhausted, or a plateau is reached."""

    def __init__(self, folder: SearchFolder, spec: SearchSpec) -> None:
        """Read the exhausted cells from disk. The caller adds earlier trials by `start` and `finish`."""
        self._folder = folder
        self._spec = spec
        keys = [cell.key for cell in cells(spec)]
        marked = {path.name for path in folder.exhausted.glob("*")}
        self._exhausted = {cell for cell in keys if cell in marked}
        self._plateaus = {cell: Plateau(spec.limits.plateau, sign=spec.search.signs[0]) for cell in keys}
        self._num_started = dict.fromkeys(keys, 0)

    @property
    def num_unstarted(self) -> int:
        """Number of trials of all cells that are still to be started."""
        return sum(self._num_unstarted(cell) for cell in self._num_started)

    @property
    def next_cell(self) -> str | None:
        """Cell that has started the fewest trials, among cells with unstarted trials; None if there is none."""
        cells = [cell for cell in self._num_started if self._num_unstarted(cell)]
        return min(cells, key=lambda cell: self._num_started[cell], default=None)

    def has_unstarted(self, cell: str) -> bool:
        """Return True if trials of a cell are still to be started."""
        return self._num_unstarted(cell) > 0

    def start(self, cell: str) -> None:
        """Count a trial that this driver or an earlier one has started."""
        self._num_started[cell] += 1

    def finish(self, cell: str, state: State, value: float | None) -> None:
        """Add a finished trial to the plateau detection of its cell."""
        if state is State.COMPLETE and value is not None:
            self._plateaus[cell].add(value)

    def exhaust(self, cell: str) -> None:
        """Start no new trial in a cell, under this driver and all later ones."""
        write_atomically(self._folder.exhausted / cell, b"")
        self._exhausted.add(cell)

    def _num_unstarted(self, cell: str) -> int:
        if cell in self._exhausted or self._plateaus[cell].is_reached:
            return 0
        return max(0, self._spec.search.trials_per_cell - self._num_started[cell])


class Limits:
    """Limits of a driver (section `limits` of the space file): hours since it started, and failed trials."""

    def __init__(self, section: LimitsSection, *, opened: float | None = None) -> None:
        """Count hours from `opened`, a time of `time.monotonic`; from now by default."""
        self._section = section
        self._opened = time.monotonic() if opened is None else opened
        self._num_failed = 0

    def count(self, state: State) -> None:
        """Count a finished trial or replicate."""
        self._num_failed += state is State.FAIL

    @property
    def reached(self) -> str | None:
        """Reason for starting no further trial; None if no limit is reached."""
        hours, max_failures = self._section.hours, self._section.max_failures
        if hours is not None and time.monotonic() - self._opened >= hours * 3600:
            return f"limits.hours: {hours:g} have passed"
        if max_failures is not None and self._num_failed > max_failures:
            return f"limits.max_failures: {self._num_failed} failed, at most {max_failures} allowed"
        return None
