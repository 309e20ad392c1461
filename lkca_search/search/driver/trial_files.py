"""Files in the folders of unfinished trials: the start of each attempt, from which a lost ledger is restored."""

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from lkca_search.layout import BACKENDS, INSPECTION, MODEL, PREDICTIONS, START, WEIGHTS, SearchFolder, TrialFolder
from lkca_search.paths import AnyPath, list_paths, set_aside
from lkca_search.records.finding import DamagedError, read_stored
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.search.studies.restore import CellFiles, restore_study
from lkca_search.search.studies.study import Storage, Study
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import TrialStart
from lkca_search.trial_listing import LOST

BESIDE_RECORD = (PREDICTIONS, INSPECTION, MODEL, WEIGHTS)
"""Files that a worker writes before the record of a complete training."""
_TEMPORARY = ("checkpoint-*.pt*", START, BACKENDS, LOST, ".*")
"""Patterns of the files that an attempt needs until its record is durable."""


def write_start(start: TrialStart, attempt_folder: AnyPath) -> None:
    """Make the folder of an attempt, and write its start into it.

    The file is not flushed to the disk: if a machine loses power, the ledger still has the values.
    """
    if isinstance(attempt_folder, Path):  # an object store makes it with the file; each folder would be a request
        attempt_folder.mkdir(parents=True)
    (attempt_folder / START).write_bytes(start.model_dump_json().encode())


def mark_lost(attempt_folder: AnyPath) -> None:
    """Mark an attempt that has lost its worker, so that `status` does not count it as running."""
    with suppress(OSError):
        (attempt_folder / LOST).write_bytes(b"")


def remove_unused_files(trial: TrialFolder, record: Record) -> None:
    """Remove the files of a recorded trial without further use, in the folders of its attempts.

    The files beside a record stay if the trial is complete. Those of earlier attempts do not: they died between the
    files and their record. Later attempts are another driver's, and their files may be in use.
    """
    own = trial.attempt(driver=record.driver, attempt=record.attempt).name
    for path in trial.files():
        attempt = path.parent.name
        is_unused = attempt < own or (attempt == own and record.state is not State.COMPLETE)
        patterns = (*_TEMPORARY, *(BESIDE_RECORD if is_unused else ()))
        if any(fnmatchcase(path.name, pattern) for pattern in patterns):
            path.unlink(missing_ok=True)


def read_configuration(trial: TrialFolder) -> Configuration | None:
    """Return the configuration of a trial from its latest attempt with an intact start; None if there is none."""
    for folder in reversed(trial.attempts()):
        try:
            return read_stored(folder / START, TrialStart, remedy="").spec.configuration
        except (DamagedError, FileNotFoundError, NotADirectoryError):
            continue
    return None


def restore_studies(
    folder: SearchFolder, spec: SearchSpec, storage: Storage, reader: RecordReader
) -> tuple[dict[str, Study], list[str]]:
    """Open the study of each cell, made to match the trial folders, and return a line per study that did not match."""
    all_cells = cells(spec)
    files = read_cell_files(folder, [cell.key for cell in all_cells], reader)
    studies, lines = {}, []
    for cell in all_cells:
        studies[cell.key], restoration = restore_study(storage, spec, cell, files[cell.key])
        if not restoration.is_empty:
            lines.append(restoration.describe(cell.key))
        for number in restoration.without_values:
            _set_aside_checkpoints(folder.trial(f"{cell.key}/{number}"))
    return studies, lines


def read_cell_files(folder: SearchFolder, keys: Sequence[str], reader: RecordReader) -> dict[str, CellFiles]:
    """Return the files of each cell's trials, by the key of the cell. Records and folders are listed once."""
    records: dict[str, dict[int, Record]] = {key: {} for key in keys}
    started: dict[str, set[int]] = {key: set() for key in keys}
    with reader.listed_once() as listing:
        found = reader.trials()
    for record in found:
        if record.cell in records:
            records[record.cell][record.number] = record
    for trial_id in listing.trials.drivers:
        cell, _, number = trial_id.rpartition("/")
        if cell in started and number.isdigit():
            started[cell].add(int(number))
    return {
        key: CellFiles(
            records=records[key],
            started=frozenset(started[key]),
            read_configuration=partial(_read_configuration, folder, key),
        )
        for key in keys
    }


def _set_aside_checkpoints(trial: TrialFolder) -> None:
    """Rename the checkpoints of a trial whose values are lost: the next attempt may have other values."""
    for folder in trial.attempts():
        for path in list_paths(folder, "checkpoint-*.pt"):
            set_aside(path)


def _read_configuration(folder: SearchFolder, cell: str, number: int) -> Configuration | None:
    return read_configuration(folder.trial(f"{cell}/{number}"))
