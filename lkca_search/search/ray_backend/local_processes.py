"""Processes of a local cluster: the raylet runs its workers, and every call of Ray needs the GCS."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lkca_search.errors import Interrupted

_ESSENTIAL = {"raylet": "starts the workers", "gcs_server": "manages the cluster"}
_POLL_SECONDS = 0.5
_STOPPED_POLLS = 20
"""Polls in a row after which a process that stands still counts as lost. Ray would take a minute."""
_END_SECONDS = 20.0
"""Time for the driver to end after the loss. Calls of Ray without a raylet can last for minutes."""


class LocalProcesses:
    """Watch over the processes of the local cluster, in a thread, from its start to its end."""

    def __init__(
        self,
        processes: Mapping[str, subprocess.Popen[bytes]],
        *,
        logs: str,
        is_terminated: Callable[[], bool],
        on_lost: Callable[[Interrupted], None],
        exit: Callable[[Interrupted], None],
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Start to watch.

        Args:
            processes: Processes of the cluster by Ray's names.
            logs: Folder of Ray's logs.
            is_terminated: Returns True if this process has received SIGTERM, so that the cluster may have, too.
            on_lost: Called once with the reason, if a process is lost: the driver should end.
            exit: Called if the driver cannot end: it ends the process at once.
            poll_seconds: Time between two checks of the processes.
        """
        self.loss: Interrupted | None = None
        """Reason why the cluster is lost; None while it is not."""
        self.may_end = False
        """True from when Ray is shut down: a process that has ended is then no loss."""
        self._processes = {name: processes[name] for name in _ESSENTIAL if name in processes}
        self._logs = logs
        self._is_terminated = is_terminated
        self._poll_seconds = poll_seconds
        self._num_stopped = dict.fromkeys(self._processes, 0)
        self._on_lost = on_lost
        self._exit = exit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="local-cluster", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join()

    def kill(self) -> None:
        """Kill the processes and their children. One that stands still would keep Ray's own shutdown waiting."""
        alive = [process.pid for process in self._processes.values() if process.poll() is None]
        for pid in [*alive, *(child for parent in alive for child in _descendants(parent))]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _watch(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            if not (lost := self._lost()):
                continue
            name, reason = lost[-1]
            self.loss = Interrupted(f"Ray's {name}, which {_ESSENTIAL[name]} on this machine, {reason}")
            self._on_lost(self.loss)
            deadline = time.monotonic() + (0.0 if self._is_terminated() else _END_SECONDS)
            # Any call of Ray needs the GCS and would block for a minute, so the driver cannot end in order without it.
            while "gcs_server" not in dict(lost) and time.monotonic() < deadline:
                if self._ended.wait(self._poll_seconds):
                    return
                lost = self._lost()
            self._exit(self.loss)
            return

    def _lost(self) -> list[tuple[str, str]]:
        """Return the lost processes with their reasons, the GCS last."""
        found = [(name, self._reason(name)) for name in self._processes]
        return [(name, reason) for name, reason in found if reason is not None]

    def _reason(self, name: str) -> str | None:
        """Return the loss of a process as the end of a sentence; None if it runs."""
        process = self._processes[name]
        code = process.poll()
        if code is not None and self.may_end:
            return None
        if code is not None and (code in (0, -signal.SIGTERM) or self._is_terminated()):
            return "was ended by SIGTERM, as happens if a whole process group gets it"
        self._num_stopped[name] = self._num_stopped[name] + 1 if code is None and _is_stopped(process) else 0
        if code is not None:
            reason = f"died by signal {-code}" if code < 0 else f"ended with exit code {code}"
        elif self._num_stopped[name] >= _STOPPED_POLLS:
            reason = "stands still"
        else:
            return None
        return f"{reason}; the kernel's log shows if memory ran out (dmesg), and Ray's logs are in {self._logs}"


def _is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Return True if a process is stopped by a signal. Systems without /proc report False."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, and theirs. Systems without /proc have none."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from _descendants(int(child))
