"""Files that keep drivers away from a search: the lock file of its driver, and the mark of an unfinished command.

The lock file is in addition to the lease; the kernel releases it when the driver's process dies. The mark stays until
its command is repeated.
"""

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from lkca_search.environment.locks import hold_file_lock, is_missing_lock
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.finding import read_stored
from lkca_search.spec.base import FrozenModel

LOCK_FILE = "driver.lock"
MARK = "unfinished.json"
"""Name of the mark in the folder of a search."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""File that identifies the running kernel."""
_TIMEOUT_SECONDS = 0.5


@contextmanager
def hold_lock(root: Path) -> Iterator[str | None]:
    """Hold the lock file of a search's folder, and yield its id; yield None if the file system has no locks.

    Raises:
        filelock.Timeout: Another process holds the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    with hold_file_lock(root / LOCK_FILE, timeout_seconds=_TIMEOUT_SECONDS) as is_held:
        yield lock_id(root) if is_held else None


def can_observe(held_id: str | None, root: Path) -> bool:
    """Return True if this machine can check the lock with this id, because it is the local lock file."""
    return (root / LOCK_FILE).exists() and held_id == lock_id(root)


def is_locked(root: Path) -> bool | None:
    """Return True if a process holds the lock file; None if the file system has lost its locks.

    The check uses a shared lock, so two checks never collide.
    """
    with (root / LOCK_FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if not is_missing_lock(error):
                raise
            return None
    return False


def lock_id(root: Path) -> str:
    """Return the id of the lock file and of its kernel: on a shared disk, another machine may not see the lock."""
    kernel = BOOT_ID.read_text().strip() if BOOT_ID.exists() else platform.node()
    stat = (root / LOCK_FILE).stat()
    return f"{kernel} {stat.st_dev} {stat.st_ino}"


class Mark(FrozenModel):
    """Command that removes or renames a search and has begun to change it."""

    action: Literal["delete", "rename"]
    search: str
    """Name of the search before the command."""
    new_name: str | None = None
    """Name after `rename`."""
    storage: str | None = None
    """Folder of all searches in the storage of the trials; None if the trials are in the search's folder."""
    uid: str | None = None
    """Unique id of the search; None if it is lost."""
    command: str
    """Command to repeat."""


def write_mark(folder: SearchFolder, mark: Mark) -> None:
    """Write the mark into a search's folder. The caller holds the lease."""
    write_atomically(folder.root / MARK, mark.model_dump_json(indent=1).encode())


def read_mark(folder: SearchFolder) -> Mark | None:
    """Return the mark in a search's folder, or None; DamagedError if it cannot be read."""
    try:
        return read_stored(
            folder.root / MARK, Mark, remedy="remove the file, and repeat the command that was interrupted"
        )
    except FileNotFoundError:
        return None


def check_mark(folder: SearchFolder) -> None:
    """Raise SearchError if a command has begun to remove or rename a search, and has not ended."""
    if (mark := read_mark(folder)) is not None:
        rule = f"search {folder.name!r} must be complete, and `{mark.command}` was interrupted"
        raise SearchError(f"{rule}; repeat that command to complete it")
