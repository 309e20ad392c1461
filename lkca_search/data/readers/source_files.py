"""Files of a user's dataset: read only if regular, named in messages, and fingerprinted without reading them."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lkca_search.errors import MissingFolderError, find_closest
from lkca_search.paths import describe_kind

_Folder = tuple[int, int]
"""Device and inode number of a folder."""


def read_file(path: Path) -> bytes:
    """Return the content of a regular file, or of a link to one.

    Raises:
        OSError: The file cannot be read. A read from a pipe would wait for ever, and /dev/zero has no end.
    """
    check_regular(path)
    return path.read_bytes()


def check_regular(path: Path) -> None:
    """Raise OSError if a path is missing, or is no regular file."""
    if (kind := describe_kind(os.stat(path).st_mode)) is not None:
        raise OSError(errno.EINVAL, f"must be a regular file, got {kind}", str(path))


def check_folder(dataset: str, folder: Path, *, is_readable: Callable[[Path], bool]) -> None:
    """Raise MissingFolderError unless the folder of a dataset exists, with its absolute path and a close name.

    `is_readable` returns True for a folder that a dataset of this kind may have: another one is not suggested.
    """
    if folder.is_dir():
        return
    found = folder.absolute().parent.glob("*/") if folder.parent.is_dir() else ()
    beside = [path.name for path in found if is_readable(path)]
    close = find_closest(folder.name, beside)
    hint = f"; did you mean {dataset.removesuffix(folder.name)}{close}?" if close else ""
    kind = "which is a file" if folder.exists() else "which does not exist"
    rule = f"dataset {dataset!r} must be an existing folder, got {show_path(folder.absolute())}"
    raise MissingFolderError(f"{rule}, {kind}{hint}", kind=dataset.partition(":")[0])


def show_path(path: Path | str) -> str:
    r"""Return a path as text that can be printed and stored; a byte that is not UTF-8 is written as \xff."""
    return os.fsencode(path).decode(errors="backslashreplace")


def fingerprint_files(paths: Iterable[Path]) -> list[str]:
    """Return name, size and modification time of each file; the name and the error of one that has no status."""
    return [_fingerprint_file(str(path), path.name) for path in paths]


def fingerprint_tree(folder: Path) -> str:
    """Return the number of files below a folder, and a hash of their names, sizes and modification times."""
    lines = [_fingerprint_file(path, path) for path in _list_files(str(folder), frozenset())]
    text = "\n".join(sorted(lines))
    return f"{len(lines)} files {hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"


def _list_files(folder: str, above: frozenset[_Folder]) -> Iterator[str]:
    """Yield the files below a folder. Links to folders are followed, except to a folder that contains the link."""
    try:
        status = os.stat(folder)
        entries = list(os.scandir(folder))
    except OSError:  # not readable; `read` refuses it
        return
    if (key := (status.st_dev, status.st_ino)) in above:  # following the link would never end
        yield folder
        return
    for entry in entries:
        path = f"{folder}/{entry.name}"
        if _is_folder(entry):
            yield from _list_files(path, above | {key})
        else:
            yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _fingerprint_file(path: str, name: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:  # a link to nothing; `read` refuses it
        return f"{name} {error.strerror}"
    return f"{name} {status.st_size} {status.st_mtime_ns}"
