"""Lock files between processes. Some file systems have no locks, such as NFS without a lock service."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


@contextmanager
def hold_file_lock(path: Path, *, timeout_seconds: float = -1.0) -> Iterator[bool]:
    """Hold a lock file in the block, and yield True; yield False if the file system has no locks.

    Args:
        path: Lock file; it is created, and stays.
        timeout_seconds: Time to wait for another process; negative for no limit.

    Raises:
        filelock.Timeout: Another process holds the lock.
    """
    # filelock's own replacement for a missing lock is a file that stays locked if its process is killed.
    lock = FileLock(path, timeout=timeout_seconds, fallback_to_soft=False)
    is_held = True
    try:
        lock.acquire()
    except OSError as error:
        if not is_missing_lock(error):
            raise
        is_held = False
    try:
        yield is_held
    finally:
        if is_held:
            lock.release()


def is_missing_lock(error: OSError) -> bool:
    """Return True if an error means that the file system has no locks."""
    return error.errno in _NO_LOCKS


def partial_path(path: Path, *, is_locked: bool) -> Path:
    """Return the file to write before it is renamed to `path`.

    Under a lock there is one writer: a fixed name is safe, and leftovers of a killed process are overwritten. Without
    a lock, each process writes its own file.
    """
    return path.with_name(f"{path.name}.partial" if is_locked else f"{path.name}.{os.getpid()}.partial")
