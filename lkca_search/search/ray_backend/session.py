"""Session of a driver with Ray: it joins a cluster, or starts a local one of this machine, and ends it."""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray

from lkca_search.errors import RESUME_HINT, Interrupted, SearchError
from lkca_search.faults import first_line
from lkca_search.paths import nearest_existing
from lkca_search.search.driver.stopping import restored_signals
from lkca_search.search.ray_backend.address import LOCAL
from lkca_search.search.ray_backend.local_processes import LocalProcesses
from lkca_search.search.ray_backend.private import lean_start, logs_folder, mute_reports, started_processes

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PL_DISABLE_FORK": "1",  # Tune sets it for every trial, see `inherited_environment`
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the stop controller handles Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the ledger is durable, Tune's own state is never restored
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the searcher limits the trials in flight
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Environment variables of Ray and Tune, unless the user has set them."""
_SHORT_FOLDER = Path("/tmp")
_SOCKET_BYTES = 107
"""Longest path of a Unix socket."""
_SOCKET_BYTES_OF_RAY = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
"""Bytes that Ray adds to its folder of temporary files."""
_CAPACITY_VARIABLE = "RAY_local_fs_capacity_threshold"
_DEFAULT_CAPACITY = 0.95
"""Used fraction of a disk above which Ray starts no worker."""


class RaySession:
    """Session with Ray, which starts when it is first needed. A context manager: the end of its block ends it."""

    def __init__(
        self,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        num_workers: int | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create a session that is not started.

        Args:
            address: Address of the cluster to join; None for a local one of this machine.
            num_cpus: Cores of the local cluster; None for all.
            num_workers: Workers of a local cluster that start with it, and import at once what a training needs; None
                for one per core, which import it for their first trial. A worker with a GPU must not be among them:
                Ray chooses its GPU later.
            notify: Called with a line for the user.
        """
        self.notify = notify
        self.on_lost: Callable[[Interrupted], None] = lambda _: None
        """Called from another thread with the reason, if the local cluster is lost."""
        self.is_terminated: Callable[[], bool] = lambda: False
        """Returns True if this process has received SIGTERM. Sent to a process group, it ends a local cluster, too."""
        self.abandon: Callable[[], None] = lambda: None
        """Called before the process exits, if the local cluster is lost and the driver cannot end in order."""
        self._local: LocalProcesses | None = None
        self._address = address
        self._num_cpus = num_cpus
        self._num_workers = num_workers
        self._is_started = False

    def __enter__(self) -> "RaySession":
        """Return the session."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the session."""
        self.end()

    def start(self) -> None:
        """Start Ray if it is not started.

        Raises:
            SearchError: Ray cannot store its files on this machine, the cluster does not respond, or this process is
                connected to Ray already.
            Interrupted: Ray did not start on this machine.
        """
        if self._is_started:
            return
        if ray.is_initialized():  # a search ends its connection, and a local cluster, when it has ended
            rule = "the process of a search must not be connected to Ray, and this one is"
            raise SearchError(f"{rule}; call ray.shutdown() first, or run the search in another process")
        os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are in the records
        mute_reports()
        self._is_started = True
        options: dict[str, Any] = {"address": self._address}
        if self._address is None:
            folder = choose_folder(self.notify)
            check_free_space(folder)
            local = {"address": LOCAL, "num_cpus": self._num_cpus, "include_dashboard": False}
            options = {**local, "_temp_dir": str(folder)}
        lean = lean_start(self._num_workers) if self._address is None else nullcontext()
        with restored_signals(), lean:  # Ray installs a handler of SIGTERM
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **options)
            except BaseException as error:
                self._is_started = False
                atexit.register(_exit_now)
                raise self._explain(error) from error
        if self._address is None:
            self._local = LocalProcesses(
                started_processes(),
                logs=logs_folder(),
                is_terminated=lambda: self.is_terminated(),
                on_lost=lambda error: self.on_lost(error),
                exit=self._exit,
            )

    def _explain(self, error: BaseException) -> BaseException:
        """Return the error to raise in place of one that Ray has raised while it started."""
        is_disk = isinstance(error, OSError) and not isinstance(error, ConnectionError)
        if not isinstance(error, Exception) or is_disk:
            return error
        if self._address is None:
            reason = first_line(error)
            busy = "; the machine may be too busy" if "timed out" in reason else ""
            return Interrupted(f"Ray did not start on this machine: {reason}{busy}")
        if isinstance(error, ConnectionError):
            hint = "start one with `ray start --head`, or omit --address to train on this machine alone"
            return SearchError(f"no cluster responds at {self._address}: {first_line(error)}; {hint}")
        return error

    @property
    def is_local(self) -> bool:
        """True if the cluster is of this machine and ends with the session."""
        return self._address is None

    def raise_if_lost(self) -> None:
        """Raise Interrupted if the local cluster is lost. Ray's own errors after the loss do not give the reason."""
        if self._local is not None and self._local.loss is not None:
            raise self._local.loss

    def end(self) -> None:
        """Leave the cluster; end a local one."""
        if not self._is_started:
            return
        if self._local is not None:
            if self._local.loss is not None:
                self._local.kill()
            self._local.may_end = True
        ray.shutdown()
        if self._local is not None:
            self._local.end()
        self._is_started, self._local = False, None

    def _exit(self, error: Interrupted) -> None:
        """End the process as after a crash, which loses no finished trial."""
        self.notify(f"interrupted: {error}\n{RESUME_HINT}")
        try:
            self.abandon()
            if self._local is not None:
                self._local.kill()
        finally:
            _exit_now()


def _exit_now() -> None:
    """End the process before Ray's own handlers of its end. They may abort it if Ray is half started.

    A process of Ray ends the local cluster when this one has ended.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def choose_folder(notify: Callable[[str], None]) -> Path:
    """Return the folder for the files and sockets of a local cluster: RAY_TMPDIR, TMPDIR or /tmp.

    The path of a Unix socket has at most 107 bytes. If the folder is too long for that, the folder is below /tmp.

    Raises:
        SearchError: No folder is short enough.
    """
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "TMPDIR")
    folder = Path(os.environ.get(variable) or "/tmp").absolute()
    longest = _SOCKET_BYTES - _SOCKET_BYTES_OF_RAY
    if len(os.fsencode(folder)) <= longest:
        return folder / "ray"
    rule = f"{variable} must have at most {longest} bytes, because Ray's Unix sockets are below it, got {folder}"
    if not os.access(_SHORT_FOLDER, os.W_OK):
        raise SearchError(f"{rule}: set RAY_TMPDIR to a shorter path")
    notify(f"{rule}: Ray uses {_SHORT_FOLDER / 'ray'} instead")
    return _SHORT_FOLDER / "ray"


def check_free_space(folder: Path) -> None:
    """Raise SearchError if the disk of Ray's files is so full that Ray would start no worker."""
    existing = nearest_existing(folder)
    usage = os.statvfs(existing)
    if not usage.f_blocks:
        return
    text = os.environ.get(_CAPACITY_VARIABLE)
    try:
        limit = float(text) if text else _DEFAULT_CAPACITY
    except ValueError as error:
        raise SearchError(f"{_CAPACITY_VARIABLE} must be a number from 0 to 1, got {text!r}; correct it") from error
    used = 1 - usage.f_bavail / usage.f_blocks
    if used > limit:
        raise SearchError(
            f"the disk of {existing} must be at most {limit:.0%} full, because Ray starts no worker above that, got "
            f"{used:.1%} ({usage.f_bavail * usage.f_frsize / 1e9:.3g} GB free): free space there, set RAY_TMPDIR to a "
            f"folder on another disk, or set {_CAPACITY_VARIABLE}=0.99"
        )
