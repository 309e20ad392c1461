"""What each cell may still start: its share of the trials, unless it is exhausted or at a plateau before."""

from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.objectives import Plateau
from lkca_search.records.record import State
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec


class Budget:
    """Counts what was started and how it ended, cell by cell."""

    def __init__(self, folder: SearchFolder, spec: SearchSpec) -> None:
        self._folder = folder
        self._spec = spec
        keys = [cell.key for cell in cells(spec)]
        known = {path.name for path in folder.exhausted.glob("*")}
        self._exhausted = {cell for cell in keys if cell in known}
        self._plateaus = {cell: Plateau(spec.limits.plateau, spec.search.goals[0]) for cell in keys}
        self._num_started = dict.fromkeys(keys, 0)

    @property
    def num_unstarted(self) -> int:
        """Trials that are due and have not started."""
        return sum(self._num_unstarted(cell) for cell in self._num_started)

    @property
    def neediest_cell(self) -> str | None:
        """Of the cells with trials that have not started, the one that has started fewest; None if there is none."""
        cells = [cell for cell in self._num_started if self._num_unstarted(cell)]
        return min(cells, key=lambda cell: self._num_started[cell], default=None)

    def start(self, cell: str) -> None:
        """Count a trial that starts, or that an earlier driver has started."""
        self._num_started[cell] += 1

    def finish(self, cell: str, state: State, value: float | None) -> None:
        """Take a finished trial into account where plateaus are looked for."""
        if state is State.COMPLETE and value is not None:
            self._plateaus[cell].add(value)

    def exhaust(self, cell: str) -> None:
        """Give a cell no new trial from now on, whoever drives it."""
        write_atomically(self._folder.exhausted / cell, b"")
        self._exhausted.add(cell)

    def _num_unstarted(self, cell: str) -> int:
        if cell in self._exhausted or self._plateaus[cell].is_reached:
            return 0
        return max(0, self._spec.search.trials_per_cell - self._num_started[cell])
