"""Damaged files of a search, without its records and manifests, whose readers find them by themselves."""

from collections.abc import Iterator
from pathlib import Path

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, is_set_aside, list_paths
from lkca_search.records.dataset import scan_search_dataset
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.rounds import scan_rounds
from lkca_search.records.stored_spec import scan_specs
from lkca_search.records.uid import scan_uid
from lkca_search.search.state.database import find_database
from lkca_search.search.state.ledger_file import find_damage, ledger_finding


def scan_files(folder: SearchFolder) -> list[Finding]:
    """Return a finding per damaged file: spec, dataset, rounds, unique id, address and file of the ledger."""
    return list(_scan(folder))


def list_set_aside(folder: SearchFolder) -> list[AnyPath]:
    """Return all files and folders that were set aside, without records: their reader lists these."""
    kept = [path for path in list_paths(folder.root, "*") if is_set_aside(path)]
    for below in ("subsets", "rounds", "exhausted"):
        kept += [path for path in list_paths(folder.root / below, "*") if is_set_aside(path)]
    if folder.storage is not None:
        for pattern in ("*", "rounds/*", "exhausted/*"):
            kept += [path for path in list_paths(folder.storage, pattern) if is_set_aside(path)]
    return kept


def _scan(folder: SearchFolder) -> Iterator[Finding]:
    yield from scan_specs(folder)[1]
    yield from scan_search_dataset(folder)[1]
    yield from scan_rounds(folder)[1]
    if (damaged_uid := scan_uid(folder.uid, folder)[1]) is not None:
        yield damaged_uid
    try:
        database = find_database(folder)
    except DamagedError as error:
        yield error.finding
    except SearchError as error:
        yield Finding(place=str(folder.ledger_url), damage=str(error), remedy="give the ledger by --ledger")
    else:
        if isinstance(database.file, Path) and (damage := find_damage(database)):
            yield ledger_finding(folder, database.file, damage)
