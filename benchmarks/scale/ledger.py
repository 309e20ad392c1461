"""Cost of the driver's own part per suggestion, message and commit, as a function of finished and running trials."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from lkca_search.layout import Home
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.studies.study import open_in_memory_storage
from lkca_search.spec.configuration import ImageShape
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.tracker import Tracker
from tests.support.search.large import write_space

TIMED = 40
"""Trials whose steps are timed, after the finished ones."""
T = TypeVar("T")


class Stopwatch:
    """Total time and number of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0

    def call(self, action: Callable[[], T]) -> T:
        """Time a call."""
        begun = time.perf_counter()
        value = action()
        self.seconds += time.perf_counter() - begun
        self.count += 1
        return value

    @property
    def ms(self) -> float:
        """Milliseconds per call."""
        return 1000 * self.seconds / max(self.count, 1)


def time_ledger(
    root: Path, num_trials: int, *, cells: int, reports: int, running: int, pruner: str, in_memory: bool
) -> dict[str, float]:
    """Finish `num_trials` in simulated time, start `running` more, and time the steps of the next ones in ms."""
    planned = num_trials + cells * (-(-(running + TIMED + 1) // cells))
    space = write_space(root / "ledger.yaml", planned, num_cells=cells, reports=reports, sampler="tpe", pruner=pruner)
    spec, folder = read_space_file(space, []).spec, Home(root=root).search("ledger")
    (root / "searches" / "ledger").mkdir(parents=True, exist_ok=True)
    storage = open_in_memory_storage() if in_memory else None
    ledger = Ledger(folder, spec, ImageShape(8, 8, 1), 10, Tracker(), storage=storage)
    started, worker = itertools.count(1), ToyTraining()

    def stopping(assignment: Assignment) -> Iterator[Message]:
        if next(started) == num_trials:
            ledger.halt("timed next")
        return worker(assignment)

    begun = time.perf_counter()
    simulate(ledger, stopping, num_slots=1)
    making = time.perf_counter() - begun
    opening = Stopwatch()
    ledger = opening.call(lambda: Ledger(folder, spec, ImageShape(8, 8, 1), 10, Tracker(), storage=storage, driver=2))
    for _ in range(running):
        assignment = ledger.assign()
        assert assignment is not None
        ledger.on_message(assignment.trial_id, next(worker(assignment)))
    assigning, reporting, finishing = Stopwatch(), Stopwatch(), Stopwatch()
    for _ in range(TIMED):
        assignment = assigning.call(ledger.assign)
        assert assignment is not None
        for message in worker(assignment):
            if reporting.call(partial(ledger.on_message, assignment.trial_id, message)):
                break
        finishing.call(partial(ledger.finish, assignment.trial_id))
    per_trial = assigning.ms + finishing.ms + reports * reporting.ms
    return {
        "all, s": making,
        "open, s": opening.seconds,
        "assign, ms": assigning.ms,
        "message, ms": reporting.ms,
        "finish, ms": finishing.ms,
        "trials per s": 1000 / per_trial,
        "messages per s": 1000 / reporting.ms,
    }


def ledger_table(rows: dict[str, dict[str, float]]) -> Table:
    """Return one row per measured search."""
    names = next(iter(rows.values()))
    table = Table("finished / cells / running / pruner", *names, title=f"ledger alone, mean of {TIMED} trials")
    for label, found in rows.items():
        table.add_row(label, *(f"{value:.2f}" if value < 10 else f"{value:,.0f}" for value in found.values()))
    return table
