"""Deletion of a search: a plan of everything that it frees, and its removal, which a repeated command completes.

The mark is written first, under the lease: from then on no driver starts. The copies of the spec are removed next, so
that the search is no longer listed, and the mark last.
"""

from collections.abc import Callable
from pathlib import Path

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import list_paths, parse_path
from lkca_search.records.search.uid import read_uid
from lkca_search.search.housekeeping.cache_use import CachedSplit, used_only_by
from lkca_search.search.housekeeping.files import check_is_storage, remove_folder
from lkca_search.search.housekeeping.ledger import SchemaSize, drop_ledger, find_schema
from lkca_search.search.housekeeping.sizes import FolderSize, measure_search
from lkca_search.search.state.driver_lock import MARK, Mark, read_mark, write_mark
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.lease_status import read_lease
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.registry.search_entities import TrackedSearch, delete_tracked, find_tracked


class DeletionPlan(FrozenModel):
    """Everything that the deletion of a search removes, and what it keeps."""

    search: str
    uid: str | None
    """Unique id of the search; None if it is lost."""
    driver: str | None
    """Process that runs the search, which cannot be deleted now; None if there is none."""
    is_resumed: bool
    """True if an earlier deletion was interrupted."""
    folders: tuple[FolderSize, ...]
    ledger: SchemaSize | None
    """Schema on PostgreSQL; None if the ledger is a file in the search's folder."""
    tracked: TrackedSearch | None
    """Runs and models in MLflow that are deleted; None if they are kept."""
    cached: tuple[CachedSplit, ...]
    """Decoded datasets of this machine that no other search of the home uses."""
    deletes_cache: bool
    """True if `cached` is deleted too."""
    num_looks: int
    """Looks of the search at test images. They stay in the register, since a look remains a look."""

    @property
    def num_bytes(self) -> int:
        """Bytes that are freed on disks and in object stores, without MLflow."""
        sizes = [folder.num_bytes for folder in self.folders]
        sizes += [split.num_bytes for split in self.cached] if self.deletes_cache else []
        return sum(sizes) + (self.ledger.num_bytes if self.ledger else 0)


def plan_deletion(name: str, home: Home, *, with_mlflow: bool = False, with_cache: bool = False) -> DeletionPlan:
    """Return everything that the deletion of a search would remove. Nothing is changed.

    Args:
        name: Name of the search. Its spec may be lost, and an earlier deletion may have been interrupted.
        home: Home of the search.
        with_mlflow: True to delete its runs and registered model in MLflow too.
        with_cache: True to delete the decoded datasets that no other search of the home uses.

    Raises:
        SearchError: There is no such search, it is being renamed, its storage has other files, or the ledger or MLflow
            does not respond.
    """
    folder, mark = _find(name, home)
    check_is_storage(folder.storage)
    uid = mark.uid if mark else read_uid(folder)
    lease = read_lease(folder)
    return DeletionPlan(
        search=name,
        uid=uid,
        driver=lease.holder if lease.is_held else None,
        is_resumed=mark is not None,
        folders=measure_search(folder),
        ledger=find_schema(folder),
        tracked=find_tracked(home, uid) if with_mlflow and uid else None,
        cached=used_only_by(name, home),
        deletes_cache=with_cache,
        num_looks=len(list_paths(home.root, f"test_looks/*/{uid or name}-*.json")),
    )


def delete_search(
    plan: DeletionPlan, home: Home, *, command: str, ledger: str | None = None, notify: Callable[[str], None]
) -> None:
    """Delete a search as planned. If the process is killed, the same command completes the deletion.

    Args:
        plan: Plan of the deletion.
        home: Home of the search.
        command: Command that the user repeats after an interruption.
        ledger: URL of the ledger's database; by default that of the latest driver.
        notify: Called with a line about a ledger that was damaged.

    Raises:
        SearchError: A driver holds the search.
        OSError: A file cannot be removed.
    """
    folder, mark = _find(plan.search, home)
    if mark is None:
        with hold_lease(folder, ledger, notify=notify):
            base = str(folder.storage.parent) if folder.storage else None
            mark = Mark(action="delete", search=plan.search, storage=base, uid=plan.uid, command=command)
            write_mark(folder, mark)
    for split in plan.cached if plan.deletes_cache else ():
        Path(split.path).unlink(missing_ok=True)
    if plan.tracked is not None:
        delete_tracked(home, plan.tracked)
    for spec in folder.specs:
        spec.unlink(missing_ok=True)
    drop_ledger(folder)
    if folder.storage is not None:
        remove_folder(folder.storage)
    remove_folder(folder.root, last=MARK)


def _find(name: str, home: Home) -> tuple[SearchFolder, Mark | None]:
    """Return the folder of a search with its storage, and the mark of an interrupted deletion."""
    folder = home.existing_search(name)
    mark = read_mark(folder)
    if mark is None:
        return folder, None
    if mark.action != "delete":
        raise SearchError(f"search {name!r} must be complete, and `{mark.command}` was interrupted; repeat it first")
    return SearchFolder(root=folder.root, storage=parse_path(mark.storage) / name if mark.storage else None), mark
