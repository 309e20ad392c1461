"""Checks of a machine before a search: folders, disks, clock, ports, cluster, databases, data, code and versions.

They change nothing. `doctor` prints them.
"""

import fcntl
import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lkca_search.data.listing import list_datasets
from lkca_search.data.sources import check_data_dir
from lkca_search.environment.checkout import read_commit
from lkca_search.environment.locks import is_missing_lock
from lkca_search.errors import Interrupted, SearchError, UserError
from lkca_search.faults import explain_fault
from lkca_search.layout import Home, cache_variable, local_data_dir
from lkca_search.paths import AnyPath, nearest_existing, probe_folder
from lkca_search.search.ray_backend.address import choose_address
from lkca_search.search.ray_backend.session import check_free_space, choose_folder
from lkca_search.search.state.database import LEDGER_VARIABLE, check_server
from lkca_search.search.state.lease_status import TTL_SECONDS
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.store_check import check_store
from lkca_search.training.device import describe_gpu

_MIN_FREE_BYTES = 1e9
_MIN_OPEN_FILES = 4096
UI_PORT = 5000
"""Default port of `ui`."""
_RELEASE = datetime(2025, 1, 1, tzinfo=UTC)
_SET_CLOCK = "set it: timedatectl set-ntp true"
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")


class MachineCheck(FrozenModel):
    """Result of one check."""

    name: str
    """Subject of the check."""
    value: str
    """Value found; empty if there is a problem."""
    problem: str | None
    """Broken rule, and the remedy; None if there is no problem."""


def check_machine() -> Iterator[MachineCheck]:
    """Yield the result of each check of this machine and its environment variables."""
    yield from (_run(name, check) for name, check in _CHECKS.items())


def _run(name: str, check: Callable[[], str]) -> MachineCheck:
    try:
        return MachineCheck(name=name, value=check(), problem=None)
    except (UserError, Interrupted) as error:
        return MachineCheck(name=name, value="", problem=str(error))
    except Exception as error:
        fault = explain_fault(error)
        if fault is None:
            raise
        return MachineCheck(name=name, value="", problem=str(fault))


def _check_home() -> str:
    return _describe_folder(Home.from_environment().root, "LKCA_SEARCH_HOME")


def _check_cache() -> str:
    return _describe_folder(Home.from_environment().datasets, cache_variable())


def _check_data_dir() -> str:
    folder = os.environ.get("LKCA_DATA_DIR")
    if not folder:
        return "not set"
    check_data_dir(Path(folder).absolute())
    return folder


def _describe_folder(folder: AnyPath, variable: str) -> str:
    """Return a folder and its free space; raise an error if it cannot be written or its disk is full."""
    if not isinstance(folder, Path):
        return f"{folder}, {'has files' if folder.exists() else 'empty'}"
    existing = nearest_existing(folder)
    try:
        with probe_folder(existing) as file:
            locks = _describe_locks(file.fileno())
    except OSError as error:
        rule = f"{variable} must be a folder that can be written"
        raise SearchError(f"{rule}, got {folder}: {explain_fault(error)}") from error
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    if free < _MIN_FREE_BYTES or (disk.f_files and not disk.f_favail):
        rule = f"the disk of {variable} must have {_MIN_FREE_BYTES / 1e9:g} GB and files free"
        raise SearchError(
            f"{rule}, got {free / 1e9:.2f} GB and {disk.f_favail:,} files on that of {existing}; free space, or set "
            f"{variable} to another folder"
        )
    new = "" if folder.exists() else ", not made yet"
    return f"{folder}, {free / 1e9:,.0f} GB free{locks}{new}"


def _describe_locks(descriptor: int) -> str:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if not is_missing_lock(error):
            raise
        return ", without file locks: the lease alone keeps a second driver away"
    return ""


def _check_temporary_folder() -> str:
    notes: list[str] = []
    folder = choose_folder(notes.append)
    check_free_space(folder)
    return "; ".join([str(folder), *notes])


def _check_cluster() -> str:
    address = choose_address(None, os.environ)
    return "Ray is started on this machine" if address is None else f"a cluster responds at {address}"


def _check_ledger() -> str:
    url = os.environ.get(LEDGER_VARIABLE)
    if not url:
        return "SQLite in the folder of the search"
    check_server(url)
    return "the server responds"


def _check_mlflow() -> str:
    return check_store(Home.from_environment())


def _check_code() -> str:
    commit = read_commit()
    if commit.problem is not None and commit.is_checkout:
        raise SearchError(f"the records will have no commit: {commit.problem}")
    return commit.text if commit.problem is None else commit.problem


def _check_versions() -> str:
    try:
        return ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    except PackageNotFoundError as error:
        raise SearchError(f"the package {error.name} must be installed: pip install {error.name}") from error


def _check_open_files() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < _MIN_OPEN_FILES:
        raise SearchError(f"at least {_MIN_OPEN_FILES:,} files must be open at once, got {limit:,}: ulimit -n 65536")
    return "unlimited" if limit == resource.RLIM_INFINITY else f"at most {limit:,}"


def _check_python() -> str:
    return f"{platform.python_version()} ({sys.executable})"


def _check_clock() -> str:
    """Compare the clock with that of the home's disk, whose server may have another one."""
    now = datetime.now(UTC)
    if now < _RELEASE:
        raise SearchError(f"the clock must be after {_RELEASE:%Y-%m-%d}, got {now:%Y-%m-%d %H:%M} UTC: {_SET_CLOCK}")
    text = f"{now:%Y-%m-%d %H:%M} UTC"
    try:
        root = Home.from_environment().root
        if not isinstance(root, Path):
            return text
        with probe_folder(nearest_existing(root)) as file:
            seconds = abs(os.fstat(file.fileno()).st_mtime - time.time())
    except (OSError, UserError):  # the check of the home states the reason
        return text
    if seconds > TTL_SECONDS / 3:
        rule = f"the clock must agree with that of the disk of {root}, got {seconds:.0f} s of difference"
        raise SearchError(f"{rule}, with which a running driver may seem dead: {_SET_CLOCK}")
    return text


def _check_ports() -> str:
    with socket.socket() as server:
        try:
            server.bind(("127.0.0.1", 0))
        except OSError as error:
            rule = "programs must be able to listen on 127.0.0.1"
            raise SearchError(f"{rule}, got {error.strerror}: ip link set lo up") from error
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", UI_PORT))
            server.listen()
        except OSError:
            return f"{UI_PORT} is taken, so choose another one: lkca-search ui --port {UI_PORT + 1}"
    return f"{UI_PORT} is free for `ui`"


def _check_data() -> str:
    try:
        listed = list_datasets(cache=Home.from_environment().datasets, data_dir=local_data_dir())
    except UserError:
        return "not listed"  # the checks of the folders state the reason
    found = ", ".join(each.name for each in listed if each.found) or "none"
    return f"{found}; the other published datasets are downloaded when they are first used"


_CHECKS: dict[str, Callable[[], str]] = {
    "home": _check_home,
    "datasets": _check_cache,
    "LKCA_DATA_DIR": _check_data_dir,
    "temporary files": _check_temporary_folder,
    "cluster": _check_cluster,
    "ledger": _check_ledger,
    "MLflow": _check_mlflow,
    "code": _check_code,
    "Python": _check_python,
    "versions": _check_versions,
    "open files": _check_open_files,
    "GPU": describe_gpu,
    "clock": _check_clock,
    "ports": _check_ports,
    "data found": _check_data,
}
"""Each check returns the value found, and raises an error with the rule and the remedy."""
