"""How a search stands, read from its trial folders alone: any process may look, and no driver is disturbed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lkca_search.configuration import SUBSET_NAMES, Configuration
from lkca_search.errors import SearchError
from lkca_search.records import Record, State, read_record, read_records
from lkca_search.search.cells import Cell, cells
from lkca_search.search.continuation import read_spec
from lkca_search.search.manifests import Size, subset_sizes
from lkca_search.spec import SearchSection, SearchSpec
from lkca_search.storage import SearchFolder
from lkca_search.value import Value


class CellStanding(Value):
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
    """Trials started and not finished; `is_driven` of the search says whether anyone trains them."""
    best_value: float | None
    best_trial: str | None


class SearchStanding(Value):
    """How a search stands."""

    name: str
    is_driven: bool
    """Whether a driver is at work."""
    metric: str
    goal: str
    cells: tuple[CellStanding, ...]

    @property
    def num_finished(self) -> int:
        """Trials with a record."""
        return sum(cell.complete + cell.pruned + cell.failed for cell in self.cells)

    @property
    def is_answered(self) -> bool:
        """Whether every cell has had its budget, and a complete trial."""
        return self.num_finished == self.num_planned and all(cell.complete for cell in self.cells)

    @property
    def num_planned(self) -> int:
        """Trials of all cells."""
        return sum(cell.budget for cell in self.cells)


def search_standing(folder: SearchFolder) -> SearchStanding:
    """Read how a search stands."""
    spec = read_spec(folder)
    sizes = subset_sizes(folder)
    all_cells = cells(spec)
    by_cell: dict[str, list[Record]] = {cell.key: [] for cell in all_cells}
    for record in read_records(folder):
        by_cell[record.cell].append(record)
    started = Counter(trial.root.parent.name for trial in folder.trial_folders())
    return SearchStanding(
        name=folder.name,
        is_driven=folder.is_driven(),
        metric=spec.search.metrics[0],
        goal=spec.search.goals[0],
        cells=tuple(
            _cell_standing(
                cell.key,
                by_cell[cell.key],
                started[cell.key],
                spec.search,
                num_planned=_planned_images(spec, cell, sizes),
            )
            for cell in all_cells
        ),
    )


def best_record(records: Sequence[Record], search: SearchSection) -> Record | None:
    """The complete trial with the best value; of equals, the one that comes first."""
    complete = [
        (record.value, record) for record in records if record.state is State.COMPLETE and record.value is not None
    ]
    sign = 1 if search.goals[0] == "maximize" else -1
    return max(complete, key=lambda pair: sign * pair[0])[1] if complete else None


def _planned_images(spec: SearchSpec, cell: Cell, sizes: Mapping[Size, int]) -> int | None:
    """Training images of a cell whose levels alone decide them, as its manifest says."""
    if any(name in spec.parameters for name in SUBSET_NAMES):
        return None
    given = Configuration.model_validate(dict(cell.levels))
    return sizes.get((given.data_fraction, given.images_per_class, given.draw))


def _cell_standing(
    cell: str, records: Sequence[Record], started: int, search: SearchSection, *, num_planned: int | None
) -> CellStanding:
    states = Counter(record.state for record in records)
    recorded = {record.facts.num_train_images for record in records if record.facts}
    best = best_record(records, search)
    return CellStanding(
        cell=cell,
        num_train_images=recorded.pop() if len(recorded) == 1 else num_planned,
        budget=search.trials_per_cell,
        complete=states[State.COMPLETE],
        pruned=states[State.PRUNED],
        failed=states[State.FAIL],
        running=started - len(records),
        best_value=best.value if best else None,
        best_trial=best.trial_id if best else None,
    )


def find_record(folder: SearchFolder, *, trial_id: str | None = None, cell: str | None = None) -> Record:
    """The record of a trial, or of the best trial of a search or of one of its cells; SearchError if there is none."""
    if trial_id is not None:
        is_ours = any(trial.trial_id == trial_id for trial in folder.trial_folders())
        record = read_record(folder, trial_id) if is_ours else None
        if record is None:
            raise SearchError(f"search {folder.name!r} has no finished trial {trial_id!r}")
        return record
    spec = read_spec(folder)
    keys = [known.key for known in cells(spec)]
    if cell is not None and cell not in keys:
        raise SearchError(f"search {folder.name!r} has no cell {cell!r}; its cells: {' '.join(keys)}")
    records = [record for record in read_records(folder) if cell in (None, record.cell)]
    best = best_record(records, spec.search)
    if best is None:
        raise SearchError(f"search {folder.name!r} has no complete trial yet{f' in cell {cell}' if cell else ''}")
    return best
