"""Checks of all files of a search. They change nothing, so they may run beside a driver."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, is_set_aside, list_paths
from lkca_search.records.finding import DamagedError, Finding, read_stored, repair_command
from lkca_search.records.inspection.inspection_file import scan_inspections
from lkca_search.records.model_description import scan_models
from lkca_search.records.predictions import scan_correct
from lkca_search.records.record import RecordReader
from lkca_search.records.search.looks import Look
from lkca_search.records.search.uid import read_uid
from lkca_search.search.health.edited_results import find_edited_results
from lkca_search.search.state.damage import scan_files
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease_status import read_lease
from lkca_search.search.state.ledger_file import find_damage, ledger_finding
from lkca_search.search.state.manifests import scan_manifests

TABLES = (
    "trials.parquet",
    "curves.parquet",
    "replicates.parquet",
    "predictions.parquet",
    "kernels.parquet",
    *("class_accuracies.parquet", "confusions.parquet", "agreements.parquet"),
    *("disputed_images.parquet", "calibration.parquet", "reliability.parquet"),
    "space.yaml",
)
"""Files that are written again by each driver or export; only a folder in their place is damage."""


def scan_search(folder: SearchFolder, home: Home) -> list[Finding]:
    """Return a finding per damaged file of a search; empty if every file is intact."""
    reader = RecordReader(folder)
    with reader.listed_once():
        trials, replicates = reader.trials(), reader.replicates()
    correct, predictions = scan_correct(folder, replicates)
    accuracies = {replicate_id: float(each.mean()) for replicate_id, each in correct.items()}
    found = [
        *reader.findings,
        *find_edited_results(folder, [*trials, *replicates], accuracies),
        *predictions,
        *scan_inspections(folder, replicates)[1],
        *scan_models(folder),
        *scan_manifests(folder)[1],
        *scan_files(folder),
        *(blocked_finding(folder, path) for path in blocked_files(folder)),
        *(finding for _, finding in damaged_looks(folder, home)),
        *_check_ledger(folder),
    ]
    return list({finding.place: finding for finding in found}.values())


def blocked_files(folder: SearchFolder) -> list[AnyPath]:
    """Return the folders that stand in the place of files which drivers write without reading them."""
    paths = [*(folder.root / name for name in TABLES), *list_paths(folder.exhausted, "*")]
    return [path for path in paths if isinstance(path, Path) and path.is_dir() and not is_set_aside(path)]


def blocked_finding(folder: SearchFolder, path: AnyPath) -> Finding:
    """Return the finding of a folder that stands in the place of a file."""
    return Finding(place=str(path), damage="must be a file, got a folder", remedy=repair_command(folder.name))


def damaged_looks(folder: SearchFolder, home: Home) -> Iterator[tuple[AnyPath, Finding]]:
    """Yield each damaged look of a search in the register of test images, with its finding."""
    uid = read_uid(folder)
    for path in list_paths(home.root, f"test_looks/*/{uid}-*.json") if uid else ():
        try:
            read_stored(path, Look, remedy=repair_command(folder.name))
        except DamagedError as error:
            yield path, error.finding


def _check_ledger(folder: SearchFolder) -> Iterator[Finding]:
    try:
        database = find_database(folder)
        damage = find_damage(database)
        database.check_connection()
    except (SearchError, SQLAlchemyError):
        return  # a damaged address is a finding of `scan_files`; a database that does not respond is no damage
    place = str(database.file or database.url)
    if damage is not None:
        yield ledger_finding(folder, place, damage)
        return
    latest, known = folder.latest_driver(), read_lease(folder).driver
    if known < latest:
        older = f"must have the latest driver, {latest}, got {known}: it was lost or is an older copy"
        yield ledger_finding(folder, place, older)
