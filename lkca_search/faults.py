"""Faults of disks, databases and networks: permanent ones, which the user must mend, and temporary ones."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lkca_search.errors import Interrupted, StorageError, UserError

_OTHER_FOLDER = "or choose another folder"
_PERMANENT = {
    errno.EACCES: f"give this user (uid {os.getuid()}) access to it, {_OTHER_FOLDER}",
    errno.EPERM: f"give this user (uid {os.getuid()}) access to it, {_OTHER_FOLDER}",
    errno.EROFS: f"mount its file system writable, {_OTHER_FOLDER}",
    errno.ENAMETOOLONG: "choose a shorter name or folder",
    errno.ENOTDIR: f"move the file that is in the place of a folder, {_OTHER_FOLDER}",
    errno.EISDIR: "move the folder that is in the place of a file, or choose another file name",
    errno.ELOOP: "its links form a loop: remove one of them",
    errno.ENOENT: "create it, mount its disk, or correct the path",
    errno.EEXIST: "move it, or choose another name",
    errno.ENOTEMPTY: "move its content, or choose another name",
    errno.EINVAL: "its file system accepts neither this name nor this operation: choose another path",
    errno.EILSEQ: "its file system does not accept this name: choose another path",
    errno.ENODEV: "choose a path on a file system of ordinary files",
    errno.ENXIO: "choose a path on a file system of ordinary files",
    errno.ENOSYS: "its file system lacks this operation: choose a folder on another one",
    errno.ENOTSUP: "its file system lacks this operation: choose a folder on another one",
    errno.ENOLCK: "its file system has no locks: choose a folder on another one",
    errno.EFBIG: "raise the largest file size: ulimit -f unlimited",
    errno.EADDRINUSE: "choose another port",
}
"""Remedy of each error that the same command meets again, however long one waits."""
_TEMPORARY = {
    errno.ENOSPC: "free space on its disk (df -h, df -i)",
    errno.EDQUOT: "free space of your quota (quota -s)",
    errno.EIO: "check its disk (dmesg)",
    errno.ESTALE: "mount its file system again",
    errno.EMFILE: "raise the number of open files: ulimit -n 65536",
    errno.ENFILE: "raise the number of open files of this machine: sysctl fs.file-max",
    errno.ENOMEM: "free memory on this machine",
}
"""Remedy of errors that can go away."""
_SQLITE = {
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_PERM": errno.EACCES,
    "SQLITE_AUTH": errno.EACCES,
    "SQLITE_CANTOPEN": errno.EACCES,
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_NOLFS": errno.EFBIG,
}
"""Error number of the same meaning, by the first two words of SQLite's name."""
_POSTGRESQL = re.compile("28|42501|3D000|3F000|25006|0A000")
"""First characters of PostgreSQL's codes: password, privilege, database, schema, read-only server, version."""
_OBJECT_STORE = re.compile(
    "ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|"
    "UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status 40[134]"
)
"""Words of an object store that refuses the request; pyarrow sets no error number."""


def explain_fault(error: BaseException) -> UserError | Interrupted | None:
    """Return the error to report for a fault of a disk, database or network; None if `error` is none of these.

    A UserError means that the same command fails again until the user changes something. Interrupted means that it
    resumes once the cause is gone.
    """
    for cause in causes(error):
        if (number := _error_number(cause)) is not None:
            subject = " -> ".join(
                str(name) for name in (getattr(cause, "filename", None), getattr(cause, "filename2", None)) if name
            )
            if number == errno.ENOENT and os.path.exists(subject):  # /proc, where no file can be made
                number = errno.ENOTSUP
            reason = os.strerror(number) if isinstance(cause, OSError) else first_line(cause)
            text = f"{subject}: {reason}" if subject else reason
            if number in _PERMANENT:
                return UserError(f"{text}; {_PERMANENT[number]}")
            remedy = f"; {_TEMPORARY[number]}" if number in _TEMPORARY else ""
            return Interrupted(f"{type(cause).__name__}: {text}{remedy}")
        if (code := getattr(cause, "sqlstate", None)) and _POSTGRESQL.match(code):
            return UserError(f"the database refuses the request: {first_line(cause)}; change its settings or the URL")
        if isinstance(cause, OSError) and _OBJECT_STORE.search(str(cause)):
            return UserError(f"the object store refuses the request: {first_line(cause)}; change rights or URL")
    root = [*causes(error)][-1]
    is_fault = any(
        isinstance(cause, OSError) or hasattr(cause, "sqlstate") or hasattr(cause, "sqlite_errorname")
        for cause in causes(error)
    )
    return Interrupted(f"{type(root).__name__}: {first_line(root)}") if is_fault else None


@contextmanager
def explained_faults() -> Iterator[None]:
    """Raise the error of `explain_fault` for a fault in the block. It decorates functions too."""
    try:
        yield
    except (UserError, Interrupted):
        raise
    except Exception as error:
        if (fault := explain_fault(error)) is None:
            raise
        raise fault from error


@contextmanager
def storage_faults(folder: object) -> Iterator[None]:
    """Raise StorageError in place of the error of a full disk or quota in the block; the message names the folder.

    Every other node would meet the same error, so another attempt is of no use.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageError(f"{folder}: {os.strerror(error.errno)}; {_TEMPORARY[error.errno]}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without an SQL statement that follows; its type if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def cut_text(text: str, max_characters: int) -> str:
    """Return a text of at most `max_characters`: a longer one ends after a word, with three dots."""
    if len(text) <= max_characters:
        return text
    front = text[: max_characters - 2]  # one more than there is space for: a word may end exactly here
    end = max(front.rfind(" "), front.rfind("\n"))
    return f"{front[: end if end > 0 else -1].rstrip(' ,;:.')}..."


def causes(error: BaseException, *, with_context: bool = False) -> Iterator[BaseException]:
    """Yield an error and its explicit causes; with `with_context`, also errors that were handled when it was raised.

    Optuna hides a full disk behind a message about long values.
    """
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (cause.__context__ if with_context else None)


def _error_number(error: BaseException) -> int | None:
    """Return the error number of a disk, a network or SQLite; None if there is none."""
    if isinstance(error, OSError):
        return error.errno
    name = getattr(error, "sqlite_errorname", "")
    return _SQLITE.get("_".join(name.split("_")[:2]))
