"""Lock file of a search's driver, in addition to the lease. The kernel releases it when the driver's process dies."""

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lkca_search.locks import hold_file_lock, is_missing_lock

LOCK_FILE = "driver.lock"
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
