"""Archive of a search: written, and read back before anything may be deleted."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, atomic_output, open_input
from lkca_search.records.search.uid import read_uid
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.housekeeping.archive_format import (
    SEARCH,
    STORAGE,
    ArchivedFile,
    ArchiveManifest,
    check_archive,
    write_members,
)
from lkca_search.search.housekeeping.files import StoredFile, list_files
from lkca_search.search.housekeeping.ledger import copy_ledger
from lkca_search.search.housekeeping.sizes import kind_of
from lkca_search.search.state.database import LEDGER_FILE
from lkca_search.search.state.driver_lock import LOCK_FILE, MARK
from lkca_search.search.state.lease import hold_lease
from lkca_search.spec.base import FrozenModel

ENDING = ".tar.zst"
"""Ending of the name of an archive."""
_CHUNK_BYTES = 1 << 20


class ArchiveReport(FrozenModel):
    """Archive that was written, or that would be written."""

    search: str
    file: str
    num_files: int
    num_bytes: int
    """Bytes of the files."""
    num_archived_bytes: int | None
    """Bytes of the archive; None in a dry run."""
    num_left_out: int
    """Files that are left out: checkpoints of unfinished trials, locks and Ray's state."""
    num_left_out_bytes: int


def plan_archive(folder: SearchFolder, file: AnyPath) -> ArchiveReport:
    """Return the archive that would be written. Nothing is changed."""
    files = [file for _, each in _folders(folder) for file in list_files(each)]
    kept = [each for each in files if is_archived(each.name) or kind_of(each.name) == "ledger"]
    return _report(folder, file, kept, files, None)


def write_archive(folder: SearchFolder, file: AnyPath, *, notify: Callable[[str], None]) -> ArchiveReport:
    """Write the archive of a search, and read it back. The search is not changed.

    Checkpoints are left out: a restored search trains unfinished trials from their start. A ledger on PostgreSQL is
    left out too, and restored from the records.

    Args:
        folder: Folder of a search that is not running.
        file: File to write, on disk or in an object store.
        notify: Called with a line about a ledger that was damaged.

    Raises:
        SearchError: A driver holds the search, a file is no regular file, or the archive cannot be read back.
    """
    with hold_lease(folder, notify=notify), TemporaryDirectory(prefix="lkca-archive-") as temporary:
        sources: dict[str, AnyPath] = {}
        listed = [(prefix, each, found) for prefix, each in _folders(folder) for found in list_files(each)]
        for prefix, each, found in listed:
            if is_archived(found.name):
                _check_file(each, found)
                sources[f"{prefix}/{found.name}"] = each / found.name
        ledger = Path(temporary) / LEDGER_FILE
        if copy_ledger(folder, ledger):
            sources[f"{SEARCH}/{LEDGER_FILE}"] = ledger
        # The spec is the last file: a search that is restored in an object store is listed when it is complete.
        paths = sorted(sources, key=lambda path: (path == f"{SEARCH}/{folder.spec.name}", path))
        manifest = ArchiveManifest(
            search=folder.name,
            uid=read_uid(folder),
            storage=read_spec(folder).storage,
            files=tuple(_describe(path, sources[path]) for path in paths),
        )
        with atomic_output(file) as stream:
            write_members(stream, manifest, lambda archived: open_input(sources[archived.path]))
        try:
            check_archive(file, manifest)
        except SearchError:
            file.unlink(missing_ok=True)
            raise
    with open_input(file) as written:
        num_archived_bytes = written.size()
    kept = [StoredFile(archived.path, archived.num_bytes) for archived in manifest.files]
    return _report(folder, file, kept, [found for _, _, found in listed], num_archived_bytes)


def _folders(folder: SearchFolder) -> list[tuple[str, AnyPath]]:
    return [(SEARCH, folder.root), *([(STORAGE, folder.storage)] if folder.storage else [])]


def is_archived(name: str) -> bool:
    """Return True for a file that an archive has, except the ledger, which is copied."""
    first, _, _ = name.partition("/")
    last = name.rpartition("/")[2]
    is_left_out = name in (LOCK_FILE, MARK, "ledger.url") or first == "ray" or last.startswith(".")
    return not is_left_out and kind_of(name) not in ("checkpoints", "ledger")


def _check_file(folder: AnyPath, file: StoredFile) -> None:
    if not file.is_regular:
        rule = "a search must have regular files only to be archived"
        raise SearchError(f"{rule}, got the link or device {folder / file.name}; replace it by its content")
    try:
        file.name.encode()
    except UnicodeEncodeError as error:
        raise SearchError(
            f"paths of an archived search must be UTF-8, got {folder}/{file.name!r}; rename it"
        ) from error


def _describe(path: str, source: AnyPath) -> ArchivedFile:
    digest, num_bytes = hashlib.sha256(), 0
    with open_input(source) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
    return ArchivedFile(path=path, num_bytes=num_bytes, sha256=digest.hexdigest())


def _report(
    folder: SearchFolder, file: AnyPath, kept: list[StoredFile], every: list[StoredFile], size: int | None
) -> ArchiveReport:
    left_out = [each for each in every if not is_archived(each.name) and kind_of(each.name) != "ledger"]
    return ArchiveReport(
        search=folder.name,
        file=str(file),
        num_files=len(kept),
        num_bytes=sum(each.num_bytes for each in kept),
        num_archived_bytes=size,
        num_left_out=len(left_out),
        num_left_out_bytes=sum(each.num_bytes for each in left_out),
    )


def default_file(name: str) -> Path:
    """Return the file of a search's archive in the working directory."""
    return Path(f"{name}{ENDING}")
