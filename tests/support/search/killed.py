"""Commands that are killed before each of their changes on a disk, one change after the other."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_CHANGES = frozenset({"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "sqlite3.connect"})
_WRITES = os.O_WRONLY | os.O_RDWR
_MAX_POINTS = 500


def kill_points(folder: Path, command: Callable[[], object]) -> Iterator[int]:
    """Yield after each kill of a command, with `folder` as that process left it; then restore the folder.

    Kill number k is before the (k+1)-th change of a file below the folder. The last process was not killed.
    """
    saved = folder.with_name(f"{folder.name}-saved")
    shutil.copytree(folder, saved, symlinks=True)
    for point in range(_MAX_POINTS):
        pid = os.fork()
        if pid == 0:
            _kill_self_at(point, folder)
            command()
            os.execv("/bin/true", ["true"])  # an end without the cleanup of pytest
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        yield point
        shutil.rmtree(folder)
        shutil.copytree(saved, folder, symlinks=True)
        if code == 0:
            return
    raise AssertionError(f"the command has more than {_MAX_POINTS} changes")


def _kill_self_at(point: int, folder: Path) -> None:
    seen = 0

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        is_write = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
        if (is_write or event in _CHANGES) and _is_below(arguments[0], folder):
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(on_event)


def _is_below(path: object, folder: Path) -> bool:
    """Return True for a path below a folder, and for one relative to a descriptor, as `rmtree` has."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return text.startswith(str(folder)) or bool(text and not text.startswith("/"))
