"""Progress of a running search as numbers: finished and running trials and replicates, steps, and the time left."""

import time
from collections.abc import Callable, Iterable

from lkca_search.cli.terminal.cell_progress import CellProgress, RunningProgress
from lkca_search.layout import SearchFolder
from lkca_search.paths import list_paths
from lkca_search.records.objectives import Plateau
from lkca_search.records.record import Record, RecordReader, Result, State, TrialMetadata
from lkca_search.records.rounds import Round, replicates_per_cell, scan_rounds
from lkca_search.records.search.time_left import Mean, RunningTraining, TrainingTimes, estimate_left
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import TrialStart


class SearchProgress:
    """Progress of a search, counted from the records on disk and from the events of its driver."""

    def __init__(
        self,
        spec: SearchSpec,
        folder: SearchFolder,
        reader: RecordReader,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count the records of the search so far. `clock` returns seconds."""
        self.name = folder.name
        self.metric = spec.search.metrics[0]
        self.round: Round | None = None
        """Round that is trained; None before the confirmation."""
        self.halt_reason: str | None = None
        """Reason for starting no further trial; None while trials may start."""
        self.running: dict[str, RunningProgress] = {}
        """Running trials and replicates by id, in the order of their start."""
        self._sign, self._clock = spec.search.signs[0], clock
        self._began = clock()
        self._num_slots = 1
        self._driver: int | None = None
        """Number of the running driver; None until it has ended a training."""
        self._times = TrainingTimes()
        self.cells = {
            cell.key: CellProgress(
                num_planned=spec.search.trials_per_cell,
                num_replicates=replicates_per_cell(spec),
                plateau=Plateau(spec.limits.plateau, sign=self._sign),
            )
            for cell in cells(spec)
        }
        self._replicates: dict[str, Record] = {}
        with reader.listed_once():
            records = [*reader.trials(), *reader.replicates()]
        for record in sorted(records, key=lambda record: record.finished):
            self.on_finished(record)
        for path in list_paths(folder.exhausted, "*"):
            if path.name in self.cells:
                self.cells[path.name].is_exhausted = True
        rounds, _ = scan_rounds(folder)
        if rounds:
            self.on_round(rounds[-1])

    @property
    def num_finished(self) -> int:
        """Finished trials."""
        return sum(cell.num_finished for cell in self.cells.values())

    @property
    def num_planned(self) -> int:
        """Trials of the budget of all cells."""
        return sum(cell.num_planned for cell in self.cells.values())

    @property
    def num_replicated(self) -> int:
        """Finished replicates of the round."""
        return sum(cell.num_replicated for cell in self.cells.values())

    @property
    def num_replicates(self) -> int:
        """Replicates of the round, or those expected of the first one; 0 if none follow."""
        return sum(cell.num_replicates for cell in self.cells.values())

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return self._clock() - self._began

    @property
    def steps(self) -> int:
        """Optimizer steps made so far, by finished and running trials and replicates."""
        running = (trial.result.step for trial in self.running.values() if trial.result)
        return sum(cell.steps for cell in self.cells.values()) + sum(running)

    @property
    def all_steps(self) -> int | None:
        """Estimated optimizer steps of the search; None while no training has reported its steps."""
        overall = _mean_of(cell.planned_steps for cell in self.cells.values())
        if overall is None:
            return None
        total = float(sum(cell.steps for cell in self.cells.values()))
        for trial in self.running.values():
            total += trial.planned_steps or self.cells[trial.start.cell].planned_steps.value or overall
        for cell in self.cells.values():
            total += (cell.num_waiting + cell.num_replicates_waiting) * (cell.planned_steps.value or overall)
        return round(total)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the last trial and replicate end; None while too little is known.

        After a halt, only running trials count.
        """
        if self._driver is None:
            return None
        now, halted = self._clock(), self.halt_reason is not None
        running = [
            RunningTraining(
                cell=trial.start.cell, is_replicate=trial.start.replicate is not None, seconds=now - trial.started
            )
            for trial in self.running.values()
        ]
        waiting = {
            key: (0, 0) if halted else (cell.num_waiting, cell.num_replicates_waiting)
            for key, cell in self.cells.items()
        }
        left = estimate_left(self._times, waiting, running, driver=self._driver, num_slots=self._num_slots)
        return left.seconds if left else None

    def on_started(self, start: TrialStart) -> None:
        """Add a running attempt."""
        if start.cell not in self.cells:
            return
        if start.trial_id not in self.running:
            self._count_running(start, 1)
        self.running[start.trial_id] = RunningProgress(start=start, started=self._clock())
        self._num_slots = len(self.running)

    def on_requeued(self, trial_id: str) -> None:
        """Remove an attempt that has lost its worker: it takes no worker until the next attempt starts."""
        trial = self.running.pop(trial_id, None)
        if trial is not None:
            self._count_running(trial.start, -1)
            self._num_slots = max(1, len(self.running))

    def on_described(self, trial_id: str, metadata: TrialMetadata) -> None:
        """Add the planned steps of a running attempt."""
        trial = self.running.get(trial_id)
        if trial is not None and trial.planned_steps is None:
            trial.planned_steps = metadata.planned_steps
            self.cells[trial.start.cell].planned_steps.add(metadata.planned_steps)

    def on_reported(self, trial_id: str, result: Result) -> None:
        """Add an evaluation of a running attempt."""
        trial = self.running.get(trial_id)
        if trial is not None:
            trial.result = result

    def on_round(self, round_: Round) -> None:
        """Count the replicates of a round in place of the expected ones."""
        self.round = round_
        for cell in self.cells.values():
            cell.num_replicates = cell.num_replicated = cell.replicate_steps = 0
        for pick, _ in round_.replications():
            if pick.cell in self.cells:
                self.cells[pick.cell].num_replicates += 1
        for record in self._replicates.values():
            if record.trial_id in round_.replicate_ids:
                self._count_replicate(record)

    def on_finished(self, record: Record) -> None:
        """Count a finished trial or replicate."""
        trial = self.running.pop(record.trial_id, None)
        if trial is not None:
            self._driver = record.driver
            self._count_running(trial.start, -1)
        cell = self.cells.get(record.cell)
        if cell is None:
            return
        self._times.add(record)
        if record.facts is not None and (trial is None or trial.planned_steps is None):
            cell.planned_steps.add(record.facts.planned_steps)
        if record.replicate is not None:
            self._replicates[record.trial_id] = record
            if self.round is not None and record.trial_id in self.round.replicate_ids:
                self._count_replicate(record)
            return
        cell.num_finished += 1
        cell.trial_steps += _steps(record)
        if record.state is State.COMPLETE and record.value is not None:
            cell.plateau.add(record.value)
            better = max if self._sign > 0 else min
            cell.best = record.value if cell.best is None else better(record.value, cell.best)

    def _count_replicate(self, record: Record) -> None:
        cell = self.cells[record.cell]
        cell.num_replicated += 1
        cell.replicate_steps += _steps(record)

    def _count_running(self, start: TrialStart, change: int) -> None:
        cell = self.cells[start.cell]
        if start.replicate is None:
            cell.num_running += change
        else:
            cell.num_replicating += change


def _mean_of(means: Iterable[Mean]) -> float | None:
    """Return the mean of all numbers of several means."""
    listed = list(means)
    count = sum(mean.count for mean in listed)
    return sum(mean.total for mean in listed) / count if count else None


def _steps(record: Record) -> int:
    return record.curve[-1].step if record.curve else 0
