"""How a search stands, read from its trial folders and its lease: any process may look, and no driver is disturbed."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.objectives import Plateau, pareto_front, trial_values
from lkca_search.records.record import Record, RecordReader, State, read_records
from lkca_search.records.rounds import RoundStatus, round_statuses
from lkca_search.search.state.lease_status import LeaseStatus, read_lease
from lkca_search.search.state.manifests import Size, subset_sizes
from lkca_search.search.state.resume import read_spec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import SUBSET_NAMES, Configuration
from lkca_search.spec.metrics import Direction, MetricName
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import SearchSection


class CellStatus(FrozenModel):
    """How one cell stands."""

    cell: str
    num_train_images: int | None
    """Images that the cell's trials train on; None where the size of the subset is searched."""
    budget: int
    """Trials planned."""
    complete: int
    pruned: int
    failed: int
    running: int
    """Trials that the driver has started, and that are not finished."""
    cut_off: int
    """Trials that an earlier driver has started, and that go on another time."""
    left: int
    """Trials that are due: those that run, those that were cut off, and those that have not started."""
    exhausted: bool
    """Whether the sampler has nothing new to suggest, so that no trial is due beyond those that were started."""
    at_plateau: bool
    """Whether trials have stopped getting better, as `limits.plateau` has it; none is then due either."""
    planned_steps: int
    """Optimiser steps that the finished trials had to spend: the cap, pruned or not."""
    steps: int
    """Optimiser steps that they spent."""
    samples: int
    """Training images that they saw."""
    seconds: float
    """Seconds that they trained and evaluated."""
    seconds_left: float | None
    """Roughly how long the cell's share of what is left takes; None while no trial runs or none has finished."""
    best_value: float | None
    best_trial: str | None

    @property
    def num_finished(self) -> int:
        """Trials with a record."""
        return self.complete + self.pruned + self.failed


class SearchStatus(FrozenModel):
    """How a search stands."""

    name: str
    is_driven: bool
    """Whether a driver is at work."""
    driver: str | None
    """The process and the machine of the driver that is at work."""
    metric: MetricName
    """The metric by which trials are compared; of several, the one that leads."""
    goal: Direction
    seconds_left: float | None
    """Roughly how long the driver needs; None where that cannot be said yet, or nothing runs."""
    cells: tuple[CellStatus, ...]
    is_to_be_confirmed: bool
    """Whether the space file asks for a confirmation."""
    rounds: tuple[RoundStatus, ...]
    """The rounds of confirmation so far."""

    @property
    def num_finished(self) -> int:
        """Trials with a record."""
        return sum(cell.num_finished for cell in self.cells)

    @property
    def num_planned(self) -> int:
        """Trials of all cells."""
        return sum(cell.budget for cell in self.cells)

    @property
    def num_left(self) -> int:
        """Trials that are due."""
        return sum(cell.left for cell in self.cells)

    @property
    def is_answered(self) -> bool:
        """Whether no trial is due, every cell has a complete one, and what was asked to be confirmed is."""
        is_confirmed = bool(self.rounds) and not self.rounds[-1].num_left
        return (
            not self.num_left and all(cell.complete for cell in self.cells) and self.is_to_be_confirmed <= is_confirmed
        )


class FrontTrial(FrozenModel):
    """A complete trial that no other beats in one metric and equals in the rest."""

    trial_id: str
    values: Mapping[str, float]
    """Its value of each metric."""


class SearchReader:
    """Reads how a search stands, again and again; a record is read once, since it never changes."""

    def __init__(self, folder: SearchFolder) -> None:
        self._folder = folder
        self._records = RecordReader(folder)

    def read(self) -> SearchStatus:
        """How the search stands now."""
        return search_status(self._folder, self._records)


def search_status(folder: SearchFolder, reader: RecordReader | None = None) -> SearchStatus:
    """Return the status of a search by all of its records; a `reader` that has read some of them saves requests."""
    reader = reader or RecordReader(folder)
    records = reader.trials()
    spec = read_spec(folder)
    sizes = subset_sizes(folder)
    exhausted = {path.name for path in folder.exhausted.glob("*")}
    lease = read_lease(folder)
    all_cells = cells(spec)
    by_cell: dict[str, list[Record]] = {cell.key: [] for cell in all_cells}
    for record in sorted(records, key=lambda record: (record.cell, record.number)):
        by_cell[record.cell].append(record)
    running, cut_off = _unfinished(folder, {record.trial_id for record in records}, lease)
    statuses = [
        _cell_standing(
            cell.key,
            by_cell[cell.key],
            spec,
            running=running[cell.key],
            cut_off=cut_off[cell.key],
            exhausted=cell.key in exhausted,
            num_planned_images=_planned_images(spec, cell, sizes),
        )
        for cell in all_cells
    ]
    overall = _mean_seconds(records)
    timed = [
        cell.model_copy(update={"seconds_left": _seconds_left(cell, by_cell[cell.cell], overall, running.total())})
        for cell in statuses
    ]
    known = [cell.seconds_left for cell in timed if cell.seconds_left is not None]
    return SearchStatus(
        name=folder.name,
        is_driven=lease.is_held,
        driver=lease.holder,
        metric=spec.search.metrics[0],
        goal=spec.search.directions[0],
        seconds_left=sum(known) if len(known) == len(timed) else None,
        cells=tuple(timed),
        is_to_be_confirmed=spec.confirm is not None,
        rounds=tuple(round_statuses(folder, num_trials=len(records), reader=reader)),
    )


def best_record(records: Sequence[Record], search: SearchSection) -> Record | None:
    """The complete trial with the best value of the leading metric; of equals, the one that comes first."""
    front = pareto_front(records, search)
    return front[0] if front else None


def find_record(folder: SearchFolder, *, trial_id: str | None = None, cell: str | None = None) -> Record:
    """The record of a trial, or of the best trial of a search or of one of its cells; SearchError if there is none."""
    if trial_id is not None:
        path = (folder.replicates() if trial_id.count("/") > 1 else folder.records()).get(trial_id)
        if path is None:
            raise SearchError(f"search {folder.name!r} has no finished trial {trial_id!r}")
        return Record.model_validate_json(path.read_bytes())
    return find_front(folder, read_spec(folder).search, cell=cell)[0]


def find_front(folder: SearchFolder, search: SearchSection, *, cell: str | None = None) -> list[Record]:
    """The Pareto front of a search or of one of its cells, best of the leading metric first; SearchError if none."""
    keys = [known.key for known in cells(read_spec(folder))]
    if cell is not None and cell not in keys:
        raise SearchError(f"search {folder.name!r} has no cell {cell!r}; its cells: {' '.join(keys)}")
    front = pareto_front([record for record in read_records(folder) if cell in (None, record.cell)], search)
    if not front:
        raise SearchError(f"search {folder.name!r} has no complete trial yet{f' in cell {cell}' if cell else ''}")
    return front


def front_trials(front: Sequence[Record], search: SearchSection) -> list[FrontTrial]:
    """The trials of a front, with what they are compared by."""
    return [
        FrontTrial(
            trial_id=record.trial_id, values=dict(zip(search.metrics, trial_values(record, search), strict=True))
        )
        for record in front
    ]


def _unfinished(folder: SearchFolder, finished: set[str], lease: LeaseStatus) -> tuple[Counter[str], Counter[str]]:
    """How many trials of each cell run, and how many were cut off."""
    running: Counter[str] = Counter()
    cut_off: Counter[str] = Counter()
    for trial_id, driver in folder.drivers().items():
        if trial_id not in finished:
            runs = lease.is_held and driver == lease.driver
            (running if runs else cut_off)[trial_id.rpartition("/")[0]] += 1
    return running, cut_off


def _planned_images(spec: SearchSpec, cell: Cell, sizes: Mapping[Size, int]) -> int | None:
    """Training images of a cell whose levels alone decide them, as its manifest says."""
    if any(name in spec.parameters for name in SUBSET_NAMES):
        return None
    given = Configuration.model_validate(dict(cell.levels))
    return sizes.get((given.data_fraction, given.images_per_class, given.draw))


def _cell_standing(
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
    plateau = Plateau(spec.limits.plateau, spec.search.metrics[0])
    for record in sorted(records, key=lambda record: record.finished):
        if record.state is State.COMPLETE and record.value is not None:
            plateau.add(record.value)
    return plateau.is_reached


def _mean_seconds(records: Sequence[Record]) -> float | None:
    seconds = [record.curve[-1].seconds for record in records if record.curve]
    return statistics.fmean(seconds) if seconds else None


def _seconds_left(cell: CellStatus, records: Sequence[Record], overall: float | None, num_slots: int) -> float | None:
    """A cell's share of the time left if trials go on taking as long as they did; one that runs counts half."""
    mean = _mean_seconds(records)
    mean = overall if mean is None else mean
    return None if mean is None or not num_slots else mean * (cell.left - cell.running / 2) / num_slots
