"""Files below a folder, on disk and in an object store: listed with their sizes, copied, moved and removed."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pyarrow import fs

from lkca_search.errors import SearchError
from lkca_search.paths import AnyPath, RemotePath, list_paths

_STORED = frozenset({"trials", "rounds", "exhausted", "provenance", "ray"})
_STORED |= {"spec.json", "dataset.json", "own_code.json", "uid"}
"""Files and folders of a search in the storage of its trials."""


class StoredFile(NamedTuple):
    """File below a folder."""

    name: str
    """Path below the folder, with `/` between its parts."""
    num_bytes: int
    is_regular: bool = True
    """False for a link, a pipe or a device."""


def list_files(folder: AnyPath) -> list[StoredFile]:
    """Return the files below a folder, sorted by name: one walk of a disk, or one listing of an object store.

    No link is followed. Files that are removed meanwhile are left out.
    """
    if isinstance(folder, Path):
        return sorted(_walk(folder, ""))
    selector = fs.FileSelector(folder.path, recursive=True, allow_not_found=True)
    infos = folder.filesystem.get_file_info(selector)
    start = len(folder.path) + 1
    return sorted(StoredFile(info.path[start:], info.size) for info in infos if info.type == fs.FileType.File)


def _walk(folder: Path, prefix: str) -> Iterator[StoredFile]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
            continue
        with suppress(FileNotFoundError):
            size = entry.stat(follow_symlinks=False).st_size
            yield StoredFile(f"{prefix}{entry.name}", size, entry.is_file(follow_symlinks=False))


def move_folder(source: AnyPath, target: AnyPath, *, last: Sequence[str] = ()) -> None:
    """Give a folder another path; on disk at once, in an object store by a copy of each file.

    In an object store, the files named in `last` are copied after all others, in this order, and the source stays:
    remove it with `remove_folder`. A repeated call copies only files that the target lacks. A source may be missing.
    """
    if isinstance(source, RemotePath) and isinstance(target, RemotePath):
        present = {file.name: file.num_bytes for file in list_files(target)}
        ranks = {name: rank for rank, name in enumerate(last)}
        for file in sorted(list_files(source), key=lambda file: ranks.get(file.name, -1)):
            if present.get(file.name) != file.num_bytes or file.name in ranks:
                source.filesystem.copy_file(f"{source.path}/{file.name}", f"{target.path}/{file.name}")
    elif isinstance(source, Path) and isinstance(target, Path) and source.exists():
        source.rename(target)


def remove_folder(folder: AnyPath, *, last: str | None = None) -> None:
    """Remove a folder and its content, the file `last` directly in it at the end. A missing folder is ignored.

    Links are removed, and not followed, except one at `folder` itself.

    Raises:
        OSError: A file cannot be removed. A repeated call removes the rest.
    """
    if isinstance(folder, RemotePath):
        _remove_remote(folder, last)
        return
    content = folder.resolve()
    for path in content.iterdir() if content.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        elif path.name != last:
            path.unlink(missing_ok=True)
    if last is not None:
        (content / last).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        content.rmdir()
    if folder.is_symlink():
        folder.unlink()


def check_is_storage(folder: AnyPath | None) -> None:
    """Raise SearchError if the storage of a search has files of others: an edited spec may name any folder."""
    for path in [] if folder is None else list_paths(folder, "*"):
        name = path.name.partition(".damaged-")[0]
        if name not in _STORED and not name.startswith("."):
            rule = "the storage of a search must have its own files only"
            raise SearchError(f"{rule}, got {path}; correct `storage` in its spec.json, or move the file")


def _remove_tree(folder: Path) -> None:
    """Remove a folder; raise any OSError except that a part of it is missing already."""
    while folder.exists():
        with suppress(FileNotFoundError):  # a repeated command removes the same folder
            shutil.rmtree(folder)


def _remove_remote(folder: RemotePath, last: str | None) -> None:
    selector = fs.FileSelector(folder.path, recursive=False, allow_not_found=True)
    for info in folder.filesystem.get_file_info(selector):
        if info.type == fs.FileType.Directory:
            folder.filesystem.delete_dir(info.path)
        elif info.base_name != last:
            folder.filesystem.delete_file(info.path)
    if last is not None:
        (folder / last).unlink(missing_ok=True)
    if folder.exists():  # the marker of an empty folder
        folder.filesystem.delete_dir(folder.path)
