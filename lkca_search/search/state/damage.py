"""Damaged files of a search, without its records and manifests, whose readers find them by themselves."""

from collections.abc import Iterator
from pathlib import Path

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, is_set_aside, list_paths
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.rounds import scan_rounds
from lkca_search.records.search.dataset import scan_search_datasets
from lkca_search.records.search.uid import scan_uid
from lkca_search.records.stored_spec import scan_specs
from lkca_search.search.state.database import find_database
from lkca_search.search.state.ledger_file import find_header_damage, ledger_finding


def scan_files(folder: SearchFolder) -> list[Finding]:
    """Return a finding per damaged file: spec, dataset, rounds, unique id, address and file of the ledger."""
    return list(_scan(folder))


def list_set_aside(folder: SearchFolder, *, with_trials: bool) -> list[AnyPath]:
    """Return the files and folders that were set aside; those in the folders of trials only if requested."""
    patterns = ["*", "subsets/*", "rounds/*", "exhausted/*"]
    patterns += ["trials/*/*/*/*", "trials/*/*/*/*/*"] if with_trials else []
    roots = [folder.root, *([folder.storage] if folder.storage else [])]
    paths = (path for root in roots for pattern in patterns for path in list_paths(root, pattern))
    return [path for path in paths if is_set_aside(path)]


def _scan(folder: SearchFolder) -> Iterator[Finding]:
    yield from scan_specs(folder)[1]
    yield from scan_search_datasets(folder)[1]
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
        if isinstance(database.file, Path) and (damage := find_header_damage(database)):
            yield ledger_finding(folder, str(database.file), damage)
