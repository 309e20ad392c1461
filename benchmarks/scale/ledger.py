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
from lkca_search.spec.search_spec import SearchSpec
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
        self.cpu_seconds = 0.0
        self.count = 0

    def call(self, action: Callable[[], T]) -> T:
        """Time a call."""
        begun, cpu_begun = time.perf_counter(), time.process_time()
        value = action()
        self.seconds += time.perf_counter() - begun
        self.cpu_seconds += time.process_time() - cpu_begun
        self.count += 1
        return value

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU per call."""
        return 1000 * self.cpu_seconds / max(self.count, 1)

    @property
    def wall_ms(self) -> float:
        """Milliseconds per call, with the wait for the disk and for other processes."""
        return 1000 * self.seconds / max(self.count, 1)


def time_ledger(
    root: Path, num_trials: int, *, cells: int, reports: int, running: int, pruner: str, in_memory: bool
) -> dict[str, float]:
    """Finish `num_trials` in simulated time with random values, start `running` more, and time the next ones with TPE.

    Times are per call: CPU milliseconds, and wall milliseconds of a trial.
    """
    planned = num_trials + cells * (-(-(running + TIMED + 1) // cells))
    folder, shape = Home(root=root).search("ledger"), ImageShape(8, 8, 1)
    (root / "searches" / "ledger").mkdir(parents=True, exist_ok=True)
    storage = open_in_memory_storage() if in_memory else None

    def spec_of(sampler: str) -> SearchSpec:
        options = {"num_cells": cells, "reports": reports, "sampler": sampler, "pruner": pruner}
        return read_space_file(write_space(root / "ledger.yaml", planned, **options), []).spec

    ledger = Ledger(folder, spec_of("random"), shape, 10, Tracker(), storage=storage)
    started, worker = itertools.count(1), ToyTraining()

    def stopping(assignment: Assignment) -> Iterator[Message]:
        if next(started) == num_trials:
            ledger.halt("timed next")
        return worker(assignment)

    making, opening, spec = Stopwatch(), Stopwatch(), spec_of("tpe")
    making.call(partial(simulate, ledger, stopping, num_slots=1))
    ledger = opening.call(lambda: Ledger(folder, spec, shape, 10, Tracker(), storage=storage, driver=2))
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
    per_trial = assigning.cpu_ms + finishing.cpu_ms + reports * reporting.cpu_ms
    return {
        "random: ms per trial": making.cpu_ms / num_trials,
        "open, s": opening.cpu_seconds,
        "assign, ms": assigning.cpu_ms,
        "message, ms": reporting.cpu_ms,
        "finish, ms": finishing.cpu_ms,
        "trial, wall ms": assigning.wall_ms + finishing.wall_ms + reports * reporting.wall_ms,
        "trials per CPU s": 1000 / per_trial,
        "messages per CPU s": 1000 / reporting.cpu_ms,
    }


def ledger_table(rows: dict[str, dict[str, float]]) -> Table:
    """Return one row per measured search."""
    names = next(iter(rows.values()))
    table = Table("finished / cells / running / pruner", *names, title=f"ledger alone, CPU, means of {TIMED} trials")
    for label, found in rows.items():
        table.add_row(label, *(f"{value:.2f}" if value < 100 else f"{value:,.0f}" for value in found.values()))
    return table
