"""Renaming of a search: folder, storage, ledger and MLflow. A repeated command completes an interrupted one.

The mark is written first, under the lease, and moves with the folder: from then on no driver starts. The id of the
search stays, so its studies, seals, looks and MLflow runs stay valid.
"""

from collections.abc import Callable

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder, check_name
from lkca_search.paths import RemotePath, list_paths
from lkca_search.records.search.uid import read_uid
from lkca_search.search.housekeeping.files import check_is_storage, move_folder, remove_folder
from lkca_search.search.housekeeping.ledger import check_schema_is_free, rename_ledger
from lkca_search.search.state.driver_lock import MARK, Mark, read_mark, write_mark
from lkca_search.search.state.lease import hold_lease


def find_renamed(name: str, new_name: str, home: Home) -> Mark | None:
    """Return the mark of an interrupted renaming of these names; None if the search can be renamed.

    Raises:
        SearchError: There is no such search, the new name is not free, or another command was interrupted.
    """
    check_name(new_name)
    for present in (name, new_name):
        mark = read_mark(home.search(present))
        if mark is not None and (mark.action, mark.search, mark.new_name) == ("rename", name, new_name):
            return mark
    folder = home.started_search(name)
    if (mark := read_mark(folder)) is not None:
        raise SearchError(f"search {name!r} must be complete, and `{mark.command}` was interrupted; repeat it first")
    if name == new_name:
        raise SearchError(f"the new name must differ from the old one, got {new_name!r} for both")
    target = _at(home, new_name, str(folder.storage.parent) if folder.storage else None)
    for taken in (target.root, *([target.storage] if target.storage else [])):
        if taken.exists():
            raise SearchError(f"the new name must be free, got {taken}, which exists; choose another name")
    check_is_storage(folder.storage)
    check_schema_is_free(folder, new_name=new_name)
    return None


def rename_search(name: str, new_name: str, home: Home, *, command: str, notify: Callable[[str], None]) -> SearchFolder:
    """Rename a search without its runs in MLflow, and return its folder. The mark stays: see `complete_renaming`.

    Args:
        name: Present name of the search.
        new_name: Name that no search has.
        home: Home of the search.
        command: Command that the user repeats after an interruption.
        notify: Called with a line about a ledger that was damaged.

    Raises:
        SearchError: As in `find_renamed`, or a driver holds the search.
        OSError: A folder cannot be moved.
    """
    mark = find_renamed(name, new_name, home)
    if mark is None:
        folder = home.started_search(name)
        with hold_lease(folder, notify=notify):
            mark = Mark(
                action="rename",
                search=name,
                new_name=new_name,
                storage=str(folder.storage.parent) if folder.storage else None,
                uid=read_uid(folder),
                command=command,
            )
            write_mark(folder, mark)
    base = mark.storage
    old, new = _at(home, name, base), _at(home, new_name, base)
    if read_mark(old) is not None:
        _move_root(old, new)
    if old.storage is not None and new.storage is not None:
        move_folder(old.storage, new.storage)
        if isinstance(old.storage, RemotePath):
            remove_folder(old.storage)
    rename_ledger(new, old_name=name)
    return new


def _move_root(old: SearchFolder, new: SearchFolder) -> None:
    """Give the folder of a search its new name. From then on, the search has this name."""
    if isinstance(old.root, RemotePath):
        move_folder(old.root, new.root, last=(MARK, new.spec.name))
        old.spec.unlink(missing_ok=True)
        remove_folder(old.root, last=MARK)
        return
    try:
        move_folder(old.root, new.root)
    except OSError as error:
        if not new.root.exists():
            raise
        (old.root / MARK).unlink(missing_ok=True)  # nothing has changed yet
        raise SearchError(f"the new name must be free, got {new.root}, which exists; choose another name") from error


def complete_renaming(folder: SearchFolder) -> None:
    """Remove the mark of a renaming: drivers may start again."""
    for left in list_paths(folder.root, f".{MARK}.*"):  # of a process that was killed while it wrote the mark
        left.unlink(missing_ok=True)
    (folder.root / MARK).unlink(missing_ok=True)


def _at(home: Home, name: str, storage: str | None) -> SearchFolder:
    """Return the folder of a search with a name, whose trials are below `storage`."""
    return SearchFolder(root=home.root / "searches" / name).with_storage(storage)
