"""Search from an archive: unpacked beside its place, checked, and then renamed at once.

Anyone may have written the archive. Its files lie in the home, or in a storage that the user has named, and no file in
it leads a later command elsewhere.
"""

import shlex
import shutil
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, cast

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder, check_name
from lkca_search.paths import AnyPath, RemotePath, nearest_existing, parse_path, write_atomically
from lkca_search.records.finding import read_stored
from lkca_search.records.provenance import SearchCode
from lkca_search.records.search.uid import read_uid
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.housekeeping.archive import is_archived
from lkca_search.search.housekeeping.archive_format import (
    SEARCH,
    ArchivedFile,
    ArchiveManifest,
    broken_archive,
    open_archive,
)
from lkca_search.search.housekeeping.files import remove_folder
from lkca_search.search.housekeeping.ledger import clear_schema, rename_ledger
from lkca_search.search.state.database import LEDGER_FILE, choose_database, store_url

_STAGING = "restoring"
"""Folder of searches that are being unpacked, beside `searches`."""
_MARK = ".restoring"
"""File in a folder that is being restored where it will be."""


def restore_search(
    archive: AnyPath, home: Home, *, name: str | None = None, ledger: str | None = None, storage: str | None = None
) -> SearchFolder:
    """Restore a search from its archive, and return its folder. If the process is killed, repeat the command.

    Args:
        archive: File of `archive`, on disk or in an object store.
        home: Home of the restored search.
        name: Name of the restored search; by default the one that it had.
        ledger: URL of a PostgreSQL database for the ledger; its studies are restored from the records by the next run.
        storage: Storage of the trials, which must be the one that the archive states; None if they are in the home.

    Raises:
        SearchError: The archive is damaged, the name is taken, the search is in the home under another name, the
            disk is too small, or the archive leads out of the home and `storage`.
    """
    with open_archive(archive) as reader:
        manifest = reader.manifest
        found = manifest.search if name is None else name
        check_name(found)
        _check_storage(manifest, storage)
        _check_names(manifest, archive)
        target = SearchFolder(root=home.root / "searches" / found).with_storage(manifest.storage)
        _check_target(target, manifest, home)
        database = choose_database(target, ledger)
        clear_schema(database, found)
        _check_space(home, manifest)
        staged = SearchFolder(root=_stage(target.root, home.root / _STAGING / found), storage=_stage_storage(target))
        reader.copy_files(lambda file: _open_output(staged, file))
    try:
        _check_references(staged, manifest, home, archive)
    except SearchError:
        for folder in (staged.root, staged.storage):
            if folder is not None:
                remove_folder(folder)
        raise
    if database.file is not None:
        rename_ledger(staged, old_name=manifest.search)
    else:
        (staged.root / LEDGER_FILE).unlink(missing_ok=True)
        store_url(staged, ledger)
    if staged.storage is not None and target.storage is not None:
        _place(staged.storage, target.storage)
    _place(staged.root, target.root)
    for folder in (target.root, *([target.storage] if target.storage else [])):
        (folder / _MARK).unlink(missing_ok=True)
    if isinstance(home.root, Path):
        with suppress(OSError):  # another search is being restored
            (home.root / _STAGING).rmdir()
    return target


def _check_storage(manifest: ArchiveManifest, storage: str | None) -> None:
    """Raise SearchError unless the user has named the place outside the home in which files are written."""
    if storage == manifest.storage:
        return
    if manifest.storage is None:
        raise SearchError(f"--storage must be that of the archive, which has none, got {storage}; omit it")
    rule = f"the archive has trials that belong below the storage {manifest.storage}"
    if storage is not None:
        raise SearchError(f"{rule}, got --storage {storage}; they can only go back to their place")
    option = f"--storage {shlex.quote(manifest.storage)}"
    raise SearchError(f"{rule}, outside the home; if they should be written there: {option}")


def _check_names(manifest: ArchiveManifest, archive: AnyPath) -> None:
    """Raise SearchError if the archive has a file that no archive has, such as a mark or the URL of a ledger."""
    for file in manifest.files:
        kind, _, name = file.path.partition("/")
        if not is_archived(name) and (kind, name) != (SEARCH, LEDGER_FILE):
            raise broken_archive(archive, f"the file {file.path}")


def _check_references(staged: SearchFolder, manifest: ArchiveManifest, home: Home, archive: AnyPath) -> None:
    """Raise SearchError if a file leads later commands to another storage, or to own code in the archive."""
    stored = read_spec(staged).storage
    if stored != manifest.storage:
        raise broken_archive(archive, f"{stored} as the storage in its spec, and {manifest.storage} in its list")
    own = [parse_path(str(place)) for place in (home.root, manifest.storage) if place is not None]
    for path in staged.code_files:
        with suppress(FileNotFoundError):
            for folder in map(Path, read_stored(path, SearchCode, remedy="omit it").folders):
                if not folder.is_absolute() or any(
                    isinstance(place, Path) and folder.resolve().is_relative_to(place.resolve()) for place in own
                ):
                    raise broken_archive(archive, f"own code in the folder {folder}, where the archive may have put it")


def _check_target(target: SearchFolder, manifest: ArchiveManifest, home: Home) -> None:
    for folder in (target.root, *([target.storage] if target.storage else [])):
        if folder.exists() and not (folder / _MARK).exists():
            raise SearchError(f"the name of a restored search must be free, got {folder}, which exists; give --name")
    for other in home.search_names():
        if manifest.uid is not None and read_uid(home.search(other)) == manifest.uid:
            rule = "a search must be in a home once, and the search of the archive is in it"
            raise SearchError(f"{rule} as {other!r}; delete that one first, or restore into another LKCA_SEARCH_HOME")


def _check_space(home: Home, manifest: ArchiveManifest) -> None:
    if not isinstance(home.root, Path):
        return
    free = shutil.disk_usage(nearest_existing(home.root)).free
    if free < manifest.num_bytes:
        rule = f"the disk of {home.root} must have {manifest.num_bytes:,} free bytes for the files of the archive"
        raise SearchError(f"{rule}, got {free:,}; free space on it (df -h)")


def _stage(place: AnyPath, staging: AnyPath) -> AnyPath:
    """Return the empty folder in which files are unpacked: `staging` on a disk, `place` in an object store."""
    folder = staging if isinstance(place, Path) else place
    remove_folder(folder)
    write_atomically(folder / _MARK, b"")
    return folder


def _stage_storage(target: SearchFolder) -> AnyPath | None:
    if target.storage is None:
        return None
    return _stage(target.storage, target.storage.parent / f"{_MARK}-{target.name}")


def _open_output(staged: SearchFolder, file: ArchivedFile) -> AbstractContextManager[Any]:
    kind, _, path = file.path.partition("/")
    folder = staged.root if kind == SEARCH else staged.storage
    if isinstance(folder, RemotePath):
        below = folder / path
        return cast(AbstractContextManager[Any], below.filesystem.open_output_stream(below.path))
    assert folder is not None  # the list of files was checked
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    return (folder / path).open("xb")


def _place(staged: AnyPath, place: AnyPath) -> None:
    """Rename a folder on a disk to its place, in which an interrupted command may have left one."""
    if isinstance(staged, Path) and isinstance(place, Path):
        remove_folder(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(place)
