"""Where things lie on disk, and how a file is written so that it is whole or not there."""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lkca_search.errors import SearchError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_SECONDS = 0.5


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to disk, and move it into place: a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder that holds every search of a user: LKCA_SEARCH_HOME, by default ./lkca_runs."""

    root: Path
    """An absolute path."""

    @classmethod
    def from_environment(cls) -> "Home":
        """The home that LKCA_SEARCH_HOME names."""
        return cls(root=Path(os.environ.get("LKCA_SEARCH_HOME") or "lkca_runs").absolute())

    @property
    def datasets(self) -> Path:
        """Decoded datasets, one copy for all searches."""
        return self.root / "datasets"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's own store, where MLFLOW_TRACKING_URI names no other."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifacts of MLflow's own store."""
        return self.root / "mlflow_artifacts"

    def search(self, name: str) -> "SearchFolder":
        """The folder of a search, whether it exists or not; SearchError for a name that cannot be a folder's."""
        if not _NAME.fullmatch(name):
            rule = "a search's name starts with a letter or digit and has only letters, digits, '.', '_' and '-'"
            raise SearchError(f"{rule}, at most 100 in all; got {name!r}")
        return SearchFolder(root=self.root / "searches" / name)

    def searches(self) -> Iterator["SearchFolder"]:
        """The folders of all searches that were started, by name."""
        for spec in sorted(self.root.glob("searches/*/spec.json")):
            yield SearchFolder(root=spec.parent)

    def started_search(self, name: str) -> "SearchFolder":
        """The folder of a search that was started; SearchError, with the names that exist, if there is none."""
        folder = self.search(name)
        if not folder.spec.exists():
            known = ", ".join(other.name for other in self.searches()) or "none"
            raise SearchError(f"there is no search {name!r} in {self.root}; searches there: {known}")
        return folder


@dataclass(frozen=True, kw_only=True)
class SearchFolder:
    """The folder of one search: its spec, its ledger, its trials and its tables."""

    root: Path
    """An absolute path that ends in the search's name."""

    @property
    def name(self) -> str:
        """The search's name."""
        return self.root.name

    @property
    def space_file(self) -> Path:
        """The space file as given by the latest driver."""
        return self.root / "space.yaml"

    @property
    def spec(self) -> Path:
        """The search spec, overrides applied, as JSON."""
        return self.root / "spec.json"

    @property
    def ledger(self) -> Path:
        """The Optuna storage: a SQLite database with one study a cell."""
        return self.root / "ledger.db"

    @property
    def uid(self) -> Path:
        """The search's unique id, by which its MLflow runs are found."""
        return self.root / "uid"

    @property
    def driver_lock(self) -> Path:
        """The file whose lock the search's driver holds."""
        return self.root / "driver.lock"

    @property
    def drivers(self) -> Path:
        """How many drivers have opened the ledger so far."""
        return self.root / "drivers"

    def next_driver(self) -> int:
        """Count one more driver, and return its number."""
        number = int(self.drivers.read_text()) + 1 if self.drivers.exists() else 1
        write_atomically(self.drivers, str(number).encode())
        return number

    @property
    def trials(self) -> Path:
        """The trial folders: trials/CELL/NUMBER."""
        return self.root / "trials"

    @property
    def exhausted(self) -> Path:
        """A file for each cell whose sampler has nothing new to suggest: exhausted/CELL."""
        return self.root / "exhausted"

    @property
    def stop_request(self) -> Path:
        """A file by which another process asks the driver to end."""
        return self.root / "stop"

    @property
    def ray(self) -> Path:
        """Ray's own state: disposable."""
        return self.root / "ray"

    def trial(self, trial_id: str) -> "TrialFolder":
        """The folder of a trial; its id is the path below `trials`."""
        return TrialFolder(root=self.trials / trial_id)

    def trial_folders(self) -> Iterator["TrialFolder"]:
        """The folders of all trials that were started."""
        for path in sorted(self.trials.glob("*/*")):
            yield TrialFolder(root=path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the search for this driver alone, until left or the process ends; SearchError if another holds it.

        A request to stop is for the driver that holds the search: none is left before it or after it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.driver_lock, timeout=_LOCK_SECONDS)  # `is_driven` elsewhere holds it for an instant
        try:
            lock.acquire()
        except Timeout as error:
            rule = f"search {self.name!r} is being driven by another process"
            raise SearchError(f"{rule}; wait for it or stop it (lock: {lock.lock_file})") from error
        self.stop_request.unlink(missing_ok=True)
        try:
            yield
        finally:
            self.stop_request.unlink(missing_ok=True)
            lock.release()

    def is_driven(self) -> bool:
        """Whether a driver holds the search now. A look is shared: it never sees another look."""
        if not self.driver_lock.exists():
            return False
        with self.driver_lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class TrialFolder:
    """The folder of one trial. Each attempt writes in a folder of its own, so that a late writer overwrites nothing."""

    root: Path
    """An absolute path that ends in CELL/NUMBER."""

    @property
    def trial_id(self) -> str:
        """The trial's id: CELL/NUMBER."""
        return f"{self.root.parent.name}/{self.root.name}"

    @property
    def record(self) -> Path | None:
        """The trial's record, in the folder of the attempt that finished it; None while the trial is unfinished."""
        return min(self.root.glob("attempt-*/record.json"), default=None)

    @property
    def driver(self) -> int:
        """Number of the driver that made the latest attempt; 0 before the first."""
        return int(attempts[-1].name.split("-")[1]) if (attempts := self.attempts()) else 0

    def attempt(self, *, driver: int, attempt: int) -> Path:
        """The folder that one attempt under one driver writes its checkpoints to."""
        return self.root / f"attempt-{driver:04d}-{attempt:04d}"

    def attempts(self) -> list[Path]:
        """The folders of all attempts so far, in order."""
        return sorted(self.root.glob("attempt-*"))
