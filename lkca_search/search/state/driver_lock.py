"""Lock file of a search's driver, in addition to the lease. The kernel releases it when the driver's process dies."""

import fcntl
import platform
from pathlib import Path

from filelock import FileLock

LOCK_FILE = "driver.lock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""File that identifies the running kernel."""
_TIMEOUT_SECONDS = 0.5


def acquire_lock(root: Path) -> FileLock:
    """Acquire the lock file of a search's folder.

    Raises:
        filelock.Timeout: Another process holds the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / LOCK_FILE, timeout=_TIMEOUT_SECONDS)
    lock.acquire()
    return lock


def can_observe(held_id: str | None, root: Path) -> bool:
    """Return True if this machine can check the lock with this id, because it is the local lock file."""
    return (root / LOCK_FILE).exists() and held_id == lock_id(root)


def is_locked(root: Path) -> bool:
    """Return True if a process holds the lock file. The check uses a shared lock, so two checks never collide."""
    with (root / LOCK_FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def lock_id(root: Path) -> str:
    """Return the id of the lock file and of its kernel: on a shared disk, another machine may not see the lock."""
    kernel = BOOT_ID.read_text().strip() if BOOT_ID.exists() else platform.node()
    stat = (root / LOCK_FILE).stat()
    return f"{kernel} {stat.st_dev} {stat.st_ino}"
