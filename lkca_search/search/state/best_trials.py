"""Lookup of finished trials: one by its id, the best one, or the Pareto front."""

from collections.abc import Iterable, Mapping, Sequence

from lkca_search.errors import SearchError, did_you_mean
from lkca_search.layout import MODEL, SearchFolder
from lkca_search.records.model_description import model_folder
from lkca_search.records.objectives import pareto_front, rank_trials, trial_values
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.search.champions import find_champion
from lkca_search.records.stored_spec import read_spec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import cells, dataset_levels
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import SearchSection


class BestTrial(FrozenModel):
    """Complete trial that no other trial dominates."""

    trial_id: str
    values: Mapping[str, float]
    """Value per metric."""


def best_record(records: Sequence[Record], search: SearchSection) -> Record | None:
    """Return the first trial of `rank_trials`, the best by the first metric; None if no trial is complete."""
    return next(iter(rank_trials(records, search)), None)


def best_of_search(records: Sequence[Record], spec: SearchSpec) -> Record | None:
    """Return the best trial of a search; None if no trial is complete, or its datasets cannot be compared."""
    return best_record(records, spec.search) if len(dataset_levels(spec)) == 1 else None


def find_record(folder: SearchFolder, trial_id: str | None) -> Record:
    """Read the record of a trial or replicate; if `trial_id` is None, that of the champion of the search.

    Before a round of confirmation is complete, it is that of the best trial.

    Raises:
        SearchError: The trial has no record, or no trial is complete.
    """
    if trial_id is not None:
        reader = RecordReader(folder)
        record = reader.find(trial_id)
        if record is None:
            reason = f"; {reader.findings[0]}" if reader.findings else ""
            known = [each.trial_id for each in (*reader.trials(), *reader.replicates())]
            hint = _id_hint(trial_id, known) + _cells_hint(trial_id, [cell.key for cell in cells(read_spec(folder))])
            raise SearchError(f"search {folder.name!r} has no finished trial {trial_id!r}{reason or hint}")
        return record
    return read_champion(folder, RecordReader(folder)) or find_best_records(folder)[0]


def _id_hint(trial_id: str, known: Sequence[str]) -> str:
    """Return the id that may be meant; of a number alone, or without a close one, the form of an id with an example."""
    if hint := did_you_mean(trial_id, known):
        return hint
    same = [each for each in known if each.rpartition("/")[2] == trial_id] or known
    return f"; an id is CELL/NUMBER, such as {same[0]}" if same else ""


def _cells_hint(trial_id: str, keys: Sequence[str]) -> str:
    """Return the cells of a search, if that of an id is none of them."""
    is_known = any(trial_id.startswith(f"{key}/") for key in keys)
    return "" if "/" not in trial_id or is_known else f"; its cells: {' '.join(keys)}"


def read_champion(folder: SearchFolder, reader: RecordReader, *, cell: str | None = None) -> Record | None:
    """Return the champion of a search or cell among the replicates with kept models; if none is kept, among all.

    None if no round of confirmation is complete, or if no cell of a search with several datasets is given.
    """
    spec, replicates = read_spec(folder), reader.replicates()
    if cell is None and len(dataset_levels(spec)) > 1:
        return None

    def is_kept(record: Record) -> bool:
        return (model_folder(folder, record) / MODEL).exists()

    kept = find_champion(folder, spec, replicates, cell=cell, is_kept=is_kept)
    return kept or find_champion(folder, spec, replicates, cell=cell)


def find_best_records(
    folder: SearchFolder, *, cell: str | None = None, reader: RecordReader | None = None
) -> list[Record]:
    """Read the Pareto front of a search or of one of its cells, best value of the first metric first.

    Damaged records are left out; a `reader` lists them.

    Raises:
        SearchError: The cell does not exist, no trial is complete, or no cell is given in a search with several
            datasets, whose values cannot be compared.
    """
    spec = read_spec(folder)
    keys = [existing.key for existing in cells(spec)]
    check_cell(folder.name, cell, keys)
    if cell is None and len(dataset_levels(spec)) > 1:
        rule = f"search {folder.name!r} has several datasets, whose values cannot be compared"
        raise SearchError(f"{rule}: give a cell ({' '.join(keys)}) or the id of a trial")
    records = [record for record in (reader or RecordReader(folder)).trials() if cell in (None, record.cell)]
    front = pareto_front(records, spec.search)
    if not front:
        raise SearchError(without_complete_trial(folder.name, records, cell))
    return front


def without_complete_trial(name: str, records: Sequence[Record], cell: str | None = None) -> str:
    """Return the error of a search, or of one of its cells, whose finished trials have no complete one."""
    rule = f"search {name!r} has no complete trial yet{f' in cell {cell}' if cell else ''}"
    num_failed = sum(record.state is State.FAIL for record in records)
    reason = f"{num_failed} failed, and `lkca-search status {name}` gives the reason" if num_failed else "run it first"
    return f"{rule}: {reason}"


def best_of_cells(records: Sequence[Record], spec: SearchSpec) -> dict[str, Record]:
    """Return the best trial of each cell that has a complete one, by the key of the cell."""
    found = {
        cell.key: best_record([each for each in records if each.cell == cell.key], spec.search) for cell in cells(spec)
    }
    return {key: record for key, record in found.items() if record is not None}


def validation_sizes(records: Iterable[Record]) -> tuple[int, int] | None:
    """Return the smallest and the largest number of validation images, if trials have different ones.

    Their values cannot be ranked: of few validation images, a model may classify all by chance.
    """
    counts = {record.facts.num_validation_images for record in records if record.facts is not None}
    return (min(counts), max(counts)) if len(counts) > 1 else None


def check_cell(search: str, cell: str | None, keys: Sequence[str]) -> None:
    """Raise SearchError if a search with cells of these keys has no such cell. None is no cell."""
    if cell is not None and cell not in keys:
        hint = did_you_mean(cell, keys)
        raise SearchError(f"search {search!r} has no cell {cell!r}{hint}; its cells: {' '.join(keys)}")


def list_best_trials(front: Sequence[Record], search: SearchSection) -> list[BestTrial]:
    """Return the trials of a Pareto front with the value of each metric."""
    return [
        BestTrial(trial_id=record.trial_id, values=dict(zip(search.metrics, trial_values(record, search), strict=True)))
        for record in front
    ]
