"""Status of a search, read from its trial folders and its lease without any effect on its driver."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.faults import first_line
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.objectives import Plateau
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.rounds import RoundStatus, replicates_per_cell, round_statuses
from lkca_search.records.search.time_left import RunningTraining, TrainingTimes, count_slots, estimate_left
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.best_trials import best_record
from lkca_search.search.state.damage import list_set_aside, scan_files
from lkca_search.search.state.lease_status import LeaseStatus, count_unfinished, read_lease, running_trainings
from lkca_search.search.state.manifests import Size, scan_manifests, subset_size, subset_sizes
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import SUBSET_NAMES, without_own_names
from lkca_search.spec.metrics import Direction
from lkca_search.spec.search_spec import SearchSpec


class CellStatus(FrozenModel):
    """Status of one cell."""

    cell: str
    num_train_images: int | None
    """Training images of each trial; None if the subset size is searched."""
    budget: int
    """Planned trials."""
    complete: int
    pruned: int
    failed: int
    running: int
    """Unfinished trials of the running driver."""
    cut_off: int
    """Unfinished trials of earlier drivers, and those that have lost their worker. They are resumed."""
    left: int
    """Trials to be finished: running, cut off, or not started."""
    exhausted: bool
    """True if the sampler has no new suggestion, so that no further trial will start."""
    at_plateau: bool
    """True if trials no longer improve, as defined by `limits.plateau`, so that no further trial will start."""
    planned_steps: int
    """Optimizer steps planned for the finished trials, including the steps that pruning saved."""
    steps: int
    """Optimizer steps that the finished trials made."""
    samples: int
    """Training images that the finished trials saw."""
    seconds: float
    """Seconds that the finished trials spent on training and evaluation."""
    seconds_left: float | None
    """Estimated time to finish the cell; None if nothing is running or too little is known."""
    best_value: float | None
    best_trial: str | None

    @property
    def num_finished(self) -> int:
        """Number of trials with a record."""
        return self.complete + self.pruned + self.failed


class SearchStatus(FrozenModel):
    """Status of a search."""

    name: str
    is_driven: bool
    """True if a driver is running."""
    driver: str | None
    """Process and machine of the running driver."""
    metric: str
    """Metric by which trials are compared; the first of several."""
    goal: Direction
    seconds_left: float | None
    """Estimated time until the driver ends, with the replicates; None if nothing is running or too little is known."""
    cells: tuple[CellStatus, ...]
    is_to_be_confirmed: bool
    """True if the space file has a section `confirm`."""
    rounds: tuple[RoundStatus, ...]
    """Rounds of confirmation so far."""
    num_replicates: int = 0
    """Replicates of the latest round, or those that the section `confirm` plans; 0 if no confirmation follows."""
    num_replicating: int = 0
    """Unfinished replicates of the running driver."""
    common_error: str | None = None
    """Last line of an error of the most frequent kind among failed trials; None if no trial has failed."""
    max_failures: int | None = None
    """`limits.max_failures` of the space file; None if failed trials do not end the search."""
    num_damaged: int = 0
    """Number of damaged files. Their trials count as unfinished."""
    damaged: tuple[Finding, ...] = ()
    """Damaged files, each with its remedy."""
    num_set_aside: int = 0
    """Number of damaged files that were renamed to NAME.damaged-N."""

    @property
    def num_finished(self) -> int:
        """Number of trials with a record."""
        return sum(cell.num_finished for cell in self.cells)

    @property
    def num_planned(self) -> int:
        """Number of planned trials of all cells."""
        return sum(cell.budget for cell in self.cells)

    @property
    def num_failed(self) -> int:
        """Number of failed trials. Each one spends a trial of its cell's budget."""
        return sum(cell.failed for cell in self.cells)

    @property
    def num_left(self) -> int:
        """Number of trials to be finished."""
        return sum(cell.left for cell in self.cells)

    @property
    def num_replicates_left(self) -> int:
        """Number of replicates to be finished, of the latest round or of a confirmation that follows."""
        return self.num_replicates - (self.rounds[-1].num_replicates - self.rounds[-1].num_left if self.rounds else 0)

    @property
    def has_complete_trial(self) -> bool:
        """True if a trial is complete, so that there is a best one."""
        return any(cell.complete for cell in self.cells)

    @property
    def is_answered(self) -> bool:
        """True if no trial is left, every cell has a complete one, and a required confirmation is finished."""
        is_confirmed = bool(self.rounds) and not self.rounds[-1].num_left
        has_complete_cells = all(cell.complete for cell in self.cells)
        return not self.num_left and has_complete_cells and (is_confirmed or not self.is_to_be_confirmed)


class StatusReader:
    """Reader of a search's status. Repeated calls read each record once, because records never change."""

    def __init__(self, folder: SearchFolder) -> None:
        """Create a reader without reading anything yet."""
        self._folder = folder
        self._records = RecordReader(folder)

    def read(self) -> SearchStatus:
        """Return the current status."""
        return read_status(self._folder, self._records)


class UnreadableSearch(FrozenModel):
    """Search whose status cannot be read."""

    name: str
    num_damaged: int
    damaged: tuple[Finding, ...]
    """Damage that hides the status."""


def list_statuses(home: Home) -> tuple[list[SearchStatus], list[UnreadableSearch]]:
    """Return the status of each search of a home, and the searches whose status cannot be read."""
    statuses, unreadable = [], []
    for name in home.search_names():
        try:
            statuses.append(read_status(home.search(name)))
        except DamagedError as error:
            unreadable.append(UnreadableSearch(name=name, num_damaged=1, damaged=(error.finding,)))
        except (OSError, ValueError) as error:  # storage without access, for example
            finding = Finding(place=name, damage=first_line(error), remedy=f"lkca-search status {name}")
            unreadable.append(UnreadableSearch(name=name, num_damaged=1, damaged=(finding,)))
    return statuses, unreadable


def read_status(folder: SearchFolder, reader: RecordReader | None = None) -> SearchStatus:
    """Return the status of a search from all of its records. A `reader` that was used before reads only new records."""
    reader = reader or RecordReader(folder)
    with reader.listed_once() as listing:  # one walk for trials and replicates, finished and unfinished
        records, replicates = reader.trials(), reader.replicates()
        rounds = tuple(round_statuses(folder, num_trials=len(records), reader=reader))
    spec = read_spec(folder)
    manifests, damaged_manifests = scan_manifests(folder)
    sizes = subset_sizes(manifests)
    exhausted = {path.name for path in folder.exhausted.glob("*")}
    lease = read_lease(folder)
    all_cells = cells(spec)
    by_cell: dict[str, list[Record]] = {cell.key: [] for cell in all_cells}
    for record in records:
        by_cell[record.cell].append(record)
    running, cut_off = count_unfinished(listing.trials, {record.trial_id for record in records}, lease)
    statuses = [
        _cell_status(
            cell.key,
            by_cell[cell.key],
            spec,
            running=running[cell.key],
            cut_off=cut_off[cell.key],
            exhausted=cell.key in exhausted,
            num_planned_images=_count_planned_images(spec, cell, sizes),
        )
        for cell in all_cells
    ]
    damaged = (*reader.findings, *damaged_manifests, *scan_files(folder))
    active = [
        *running_trainings(folder, listing.trials, lease),
        *running_trainings(folder, listing.replicates, lease),
    ]
    status = SearchStatus(
        name=folder.name,
        is_driven=lease.is_held,
        driver=lease.holder,
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        seconds_left=None,
        cells=tuple(statuses),
        is_to_be_confirmed=spec.confirm is not None,
        rounds=rounds,
        num_replicates=rounds[-1].num_replicates if rounds else replicates_per_cell(spec) * len(all_cells),
        num_replicating=sum(each.is_replicate for each in active),
        common_error=_find_common_error(records),
        max_failures=spec.limits.max_failures,
        damaged=damaged,
        num_damaged=len(damaged),
        num_set_aside=len(reader.set_aside) + len(list_set_aside(folder, with_trials=False)),
    )
    return _with_time_left(status, [*records, *replicates], active, lease)


def _with_time_left(
    status: SearchStatus, records: Sequence[Record], running: Sequence[RunningTraining], lease: LeaseStatus
) -> SearchStatus:
    """Return a status with the time that its driver needs."""
    times = TrainingTimes(sorted(records, key=lambda record: record.finished))
    replicates = (status.num_replicates_left - status.num_replicating) / len(status.cells)  # equal in all cells
    waiting = {cell.cell: (cell.left - cell.running, replicates) for cell in status.cells}
    num_slots = count_slots(records, running, driver=lease.driver)
    left = estimate_left(times, waiting, running, driver=lease.driver, num_slots=num_slots)
    if left is None:
        return status
    cells = tuple(cell.model_copy(update={"seconds_left": left.cells[cell.cell]}) for cell in status.cells)
    return status.model_copy(update={"seconds_left": left.seconds, "cells": cells})


def _find_common_error(records: Sequence[Record]) -> str | None:
    """Return the last line of the most frequent error. Errors that differ only in numbers are counted together."""
    lines = [record.error.strip().splitlines()[-1] for record in records if record.error and record.error.strip()]
    kinds = [re.sub(r"\d+(\.\d+)?", "#", line) for line in lines]
    return lines[kinds.index(Counter(kinds).most_common(1)[0][0])] if lines else None


def _count_planned_images(spec: SearchSpec, cell: Cell, sizes: Mapping[Size, int]) -> int | None:
    """Return the number of training images of a cell from its manifest; None if the subset is a parameter."""
    if any(name in spec.parameters for name in SUBSET_NAMES):
        return None
    return sizes.get(subset_size(without_own_names(cell.levels)))


def _cell_status(
    cell: str,
    records: Sequence[Record],
    spec: SearchSpec,
    *,
    running: int,
    cut_off: int,
    exhausted: bool,
    num_planned_images: int | None,
) -> CellStatus:
    states = Counter(record.state for record in records)
    recorded = {record.facts.num_train_images for record in records if record.facts}
    last = [record.curve[-1] for record in records if record.curve]
    best = best_record(records, spec.search)
    at_plateau = _is_at_plateau(records, spec)
    started = len(records) + running + cut_off
    unstarted = 0 if exhausted or at_plateau else max(0, spec.search.trials_per_cell - started)
    return CellStatus(
        cell=cell,
        num_train_images=recorded.pop() if len(recorded) == 1 else num_planned_images,
        budget=spec.search.trials_per_cell,
        complete=states[State.COMPLETE],
        pruned=states[State.PRUNED],
        failed=states[State.FAIL],
        running=running,
        cut_off=cut_off,
        left=running + cut_off + unstarted,
        exhausted=exhausted,
        at_plateau=at_plateau,
        planned_steps=sum(record.facts.planned_steps for record in records if record.facts),
        steps=sum(result.step for result in last),
        samples=sum(result.samples for result in last),
        seconds=sum(result.seconds for result in last),
        seconds_left=None,
        best_value=best.value if best else None,
        best_trial=best.trial_id if best else None,
    )


def _is_at_plateau(records: Sequence[Record], spec: SearchSpec) -> bool:
    plateau = Plateau(spec.limits.plateau, sign=spec.search.signs[0])
    for record in sorted(records, key=lambda record: record.finished):
        if record.state is State.COMPLETE and record.value is not None:
            plateau.add(record.value)
    return plateau.is_reached
