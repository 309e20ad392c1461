"""Estimate of the time that a driver needs for its trials and replicates, from the trainings that have ended.

`status` and the display of `run` use the same estimate. There is none until a driver has ended as many trainings as run
at the same time: those that end first are the shortest ones.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lkca_search.records.record import Record, State


@dataclass(kw_only=True)
class Mean:
    """Mean of the numbers added so far."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Add a number."""
        self.total += value
        self.count += 1

    @property
    def value(self) -> float | None:
        """The mean; None without a number."""
        return self.total / self.count if self.count else None


@dataclass(kw_only=True)
class _Times:
    """Seconds of the trainings that one or all drivers have ended."""

    trials: defaultdict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    """Seconds of the trials, by cell."""
    complete: defaultdict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    """Seconds of the complete trials and replicates, by cell: a replicate is never pruned."""


class TrainingTimes:
    """Seconds per training, from records in the order of their end."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        """Add records."""
        self._all = _Times()
        self._by_driver: defaultdict[int, _Times] = defaultdict(_Times)
        self._overall = Mean()
        self._num_ended: Counter[int] = Counter()
        self._num_known: Counter[str] = Counter()
        self._first_end: dict[int, float] = {}
        self._starts: defaultdict[int, Mean] = defaultdict(Mean)
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add a training that has ended; do nothing if it ended before its first evaluation."""
        if not record.curve:
            return
        seconds = self._seconds(record)
        self._num_ended[record.driver] += 1
        self._num_known[record.cell] += 1
        self._overall.add(seconds)
        for times in (self._all, self._by_driver[record.driver]):
            if record.replicate is None:
                times.trials[record.cell].add(seconds)
            if record.state is State.COMPLETE:
                times.complete[record.cell].add(seconds)

    def num_ended(self, driver: int) -> int:
        """Return the number of trainings that a driver has ended."""
        return self._num_ended[driver]

    def num_known(self, cell: str) -> int:
        """Return the number of trainings of a cell that have ended, under any driver."""
        return self._num_known[cell]

    def start(self, driver: int) -> float:
        """Return the mean seconds in which the first workers of a driver started; 0 without any."""
        return self._starts[driver].value or 0.0

    def expected(self, cell: str, *, is_replicate: bool, driver: int) -> float | None:
        """Return the expected seconds of a training: the mean of its cell, or that of all cells; None without any.

        Trainings of this driver count first: earlier ones may have run on another cluster.
        """
        for times in (self._by_driver[driver], self._all):
            means = (times.complete, times.trials) if is_replicate else (times.trials, times.complete)
            for mean in means:
                if cell in mean:
                    return mean[cell].value
        return self._overall.value

    def _seconds(self, record: Record) -> float:
        """Return the seconds of training, and of all that a driver does between two trainings.

        They are those of the training alone if it was among the first ones, whose workers started, or was resumed.
        """
        first_end = self._first_end.setdefault(record.driver, record.finished)
        seconds = record.curve[-1].seconds
        follows = record.attempt == 1 and record.started >= first_end
        if record.attempt == 1 and not follows:
            self._starts[record.driver].add(max(0.0, record.finished - record.started - seconds))
        return max(seconds, record.finished - record.started) if follows else seconds


@dataclass(frozen=True, kw_only=True)
class RunningTraining:
    """Training that runs now."""

    cell: str
    is_replicate: bool
    seconds: float | None
    """Seconds since the start of the attempt; None if unknown, for a training that is assumed to be half done."""


def estimate_left(
    times: TrainingTimes,
    waiting: Mapping[str, tuple[float, float]],
    running: Sequence[RunningTraining],
    *,
    driver: int,
    num_slots: int,
) -> "TimeLeft | None":
    """Return the time until all trainings have ended; None while too little is known.

    Args:
        times: Seconds of the trainings that have ended.
        waiting: Number of trials and of replicates that have not started, by cell.
        running: Trainings that run.
        driver: Number of the driver.
        num_slots: Trainings that run at the same time; 0 if none runs.
    """
    if not num_slots or times.num_ended(driver) < num_slots:
        return None
    shares = _shares_to_come(times, running)

    def expected(cell: str, *, is_replicate: bool) -> float:
        seconds = times.expected(cell, is_replicate=is_replicate, driver=driver) or 0.0
        if times.num_known(cell):
            return seconds
        least = [(each.seconds or 0.0) * (1 + shares[cell]) for each in running if each.cell == cell]
        return max([seconds, *least])

    left = [
        _running_left(each, expected(each.cell, is_replicate=each.is_replicate), shares[each.cell]) for each in running
    ]
    trials = {cell: num_trials * expected(cell, is_replicate=False) for cell, (num_trials, _) in waiting.items()}
    for each, seconds in zip(running, left, strict=True):
        if not each.is_replicate and each.cell in trials:
            trials[each.cell] += seconds
    replicates = sum(
        num_replicates * expected(cell, is_replicate=True) for cell, (_, num_replicates) in waiting.items()
    ) + sum(seconds for each, seconds in zip(running, left, strict=True) if each.is_replicate)
    has_new_workers = replicates > 0 and any(trials.values())  # those of a confirmation start when the trials are over
    return TimeLeft(
        seconds=max((sum(trials.values()) + replicates) / num_slots, *left, 0.0)
        + (times.start(driver) if has_new_workers else 0.0),
        cells={cell: seconds / num_slots for cell, seconds in trials.items()},
    )


def count_slots(records: Iterable[Record], running: Sequence[RunningTraining], *, driver: int) -> int:
    """Return the number of trainings that ran when a driver started the latest one; later, fewer may be left to run.

    They are those that run now, and those that ended since then.
    """
    seconds = [each.seconds for each in running if each.seconds is not None]
    if len(seconds) < len(running) or not running:
        return len(running)
    own = [record for record in records if record.driver == driver]
    latest = max(time.time() - min(seconds), *(record.started for record in own if record.attempt == 1), 0.0)
    return len(running) + sum(record.finished > latest for record in own)


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """Estimated time that a driver needs."""

    seconds: float
    """Seconds until the last trial and replicate end."""
    cells: Mapping[str, float]
    """Share of each cell's trials in these seconds."""


def _shares_to_come(times: TrainingTimes, running: Sequence[RunningTraining]) -> dict[str, float]:
    """Return the least time that a running training needs, by cell, as a share of its time so far.

    Of k trainings that are interrupted at random times, the longest one has done k / (k + 1) of its length on average,
    so that a share of 1 / k is to come. Those that have ended count, and the expected seconds as one more.
    """
    num_running = Counter(each.cell for each in running)
    return {cell: 1 / (times.num_known(cell) + number + 1) for cell, number in num_running.items()}


def _running_left(running: RunningTraining, expected: float, share: float) -> float:
    """Return the seconds until a training ends. One that takes longer than expected is not about to end."""
    return expected / 2 if running.seconds is None else max(expected - running.seconds, running.seconds * share)
