"""Checks of a machine before a search: folders, disks, sockets, cluster, databases, code and versions.

They change nothing. `doctor` prints them.
"""

import fcntl
import os
import resource
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lkca_search.data.sources import check_data_dir
from lkca_search.environment.checkout import read_commit
from lkca_search.environment.locks import is_missing_lock
from lkca_search.errors import Interrupted, SearchError, UserError
from lkca_search.faults import explain_fault
from lkca_search.layout import Home
from lkca_search.paths import AnyPath, nearest_existing, probe_folder
from lkca_search.search.ray_backend.address import choose_address
from lkca_search.search.ray_backend.session import check_free_space, choose_folder
from lkca_search.search.state.database import LEDGER_VARIABLE, check_server
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.store_check import check_store
from lkca_search.training.device import gpu_memory_bytes

_MIN_FREE_BYTES = 1e9
_MIN_OPEN_FILES = 4096
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
    return _describe_folder(Home.from_environment().datasets, "LKCA_SEARCH_CACHE")


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
    with probe_folder(existing) as file:
        locks = _describe_locks(file.fileno())
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


def _check_gpu() -> str:
    memory = gpu_memory_bytes()
    return "none" if memory is None else f"{memory / 1e9:.0f} GB"


_CHECKS: dict[str, Callable[[], str]] = {
    "home": _check_home,
    "datasets": _check_cache,
    "LKCA_DATA_DIR": _check_data_dir,
    "temporary files": _check_temporary_folder,
    "cluster": _check_cluster,
    "ledger": _check_ledger,
    "MLflow": _check_mlflow,
    "code": _check_code,
    "versions": _check_versions,
    "open files": _check_open_files,
    "GPU": _check_gpu,
}
"""Each check returns the value found, and raises an error with the rule and the remedy."""
