"""Where things lie, on disk or in an object store, and how a file is written so that it is whole or not there."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lkca_search.errors import SearchError
from lkca_search.paths import AnyPath, list_paths, parse_path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT = "attempt-*"
_RECORD = "record.json"
_REPLICATE = "draw=*,seed=*"


def check_name(name: str) -> None:
    """Raise SearchError for a search's name that cannot be a folder's."""
    if not _NAME.fullmatch(name):
        rule = "a search's name starts with a letter or digit and has only letters, digits, '.', '_' and '-'"
        raise SearchError(f"{rule}, at most 100 in all; got {name!r}")


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder that holds every search of a user: LKCA_SEARCH_HOME, a path or a URL, by default ./lkca_runs."""

    root: AnyPath
    """An absolute path, or a place in an object store."""

    @classmethod
    def from_environment(cls) -> "Home":
        """The home that LKCA_SEARCH_HOME names."""
        root = parse_path(os.environ.get("LKCA_SEARCH_HOME") or "lkca_runs")
        return cls(root=root.absolute() if isinstance(root, Path) else root)

    @property
    def datasets(self) -> Path:
        """Decoded datasets, one copy on each machine for all searches: LKCA_SEARCH_CACHE, by default in the home."""
        if cache := os.environ.get("LKCA_SEARCH_CACHE"):
            return Path(cache).absolute()
        if isinstance(self.root, Path):
            return self.root / "datasets"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lkca-search" / "datasets"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's own store, where MLFLOW_TRACKING_URI names no other; SearchError in an object store."""
        return self._on_disk("MLflow's own store is a database on disk") / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifacts of MLflow's own store."""
        return self._on_disk("MLflow's own store is a folder on disk") / "mlflow_artifacts"

    def search(self, name: str) -> "SearchFolder":
        """The folder of a search, whether it exists or not; SearchError for a name that cannot be a folder's."""
        check_name(name)
        folder = SearchFolder(root=self.root / "searches" / name)
        return folder.stored_at(json.loads(folder.spec.read_text()).get("storage")) if folder.spec.exists() else folder

    def searches(self) -> Iterator["SearchFolder"]:
        """The folders of all searches that were started, by name."""
        for spec in list_paths(self.root, "searches/*/spec.json"):
            yield self.search(spec.parent.name)

    def started_search(self, name: str) -> "SearchFolder":
        """The folder of a search that was started; SearchError, with the names that exist, if there is none."""
        folder = self.search(name)
        if not folder.spec.exists():
            known = ", ".join(other.name for other in self.searches()) or "none"
            raise SearchError(f"there is no search {name!r} in {self.root}; searches there: {known}")
        return folder

    def _on_disk(self, why: str) -> Path:
        if isinstance(self.root, Path):
            return self.root
        raise SearchError(f"{why}, and the home is {self.root}: set MLFLOW_TRACKING_URI to a server")


@dataclass(frozen=True, kw_only=True)
class SearchFolder:
    """The folder of one search: its spec, its ledger, its trials and its tables."""

    root: AnyPath
    """A place that ends in the search's name."""
    storage: AnyPath | None = None
    """Where the trials lie, if not in `root`: a place that ends in the search's name, too."""

    def stored_at(self, storage: str | None) -> "SearchFolder":
        """The same folder with its trials in a storage, a path or URL that holds those of many searches."""
        return SearchFolder(root=self.root, storage=None if storage is None else parse_path(storage) / self.name)

    @property
    def name(self) -> str:
        """The search's name."""
        return self.root.name

    @property
    def space_file(self) -> AnyPath:
        """The space file as given by the latest driver."""
        return self.root / "space.yaml"

    @property
    def spec(self) -> AnyPath:
        """The search spec, overrides applied, as JSON."""
        return self.root / "spec.json"

    @property
    def specs(self) -> list[AnyPath]:
        """Every copy of the spec: where the trials lie elsewhere, one is with them, and outlives this folder."""
        return [self.spec, *([self.storage / self.spec.name] if self.storage else [])]

    @property
    def uid(self) -> AnyPath:
        """The search's unique id, by which its ledger and its MLflow runs are known to be its own."""
        return self.root / "uid"

    @property
    def ledger_url(self) -> AnyPath:
        """The URL of the ledger's database, without a password, where that is not SQLite in this folder."""
        return self.root / "ledger.url"

    @property
    def trials(self) -> AnyPath:
        """The trial folders: trials/CELL/NUMBER."""
        return (self.storage or self.root) / "trials"

    @property
    def rounds(self) -> AnyPath:
        """The sealed rounds of confirmation: rounds/0001.json."""
        return (self.storage or self.root) / "rounds"

    @property
    def exhausted(self) -> AnyPath:
        """A file for each cell whose sampler has nothing new to suggest: exhausted/CELL."""
        return (self.storage or self.root) / "exhausted"

    @property
    def ray(self) -> AnyPath:
        """Ray's own state: disposable."""
        return (self.storage or self.root) / "ray"

    def trial(self, trial_id: str) -> "TrialFolder":
        """The folder of a trial or of a replicate, which lies in its trial's; the id is the path below `trials`."""
        return TrialFolder(trial_id=trial_id, root=self.trials / trial_id)

    def records(self) -> dict[str, AnyPath]:
        """The record of every finished trial, by its id, in one look however many there are."""
        found = list_paths(self.trials, f"*/*/{_ATTEMPT}/{_RECORD}")
        return {_trial_id(path.parent.parent): path for path in found}

    def replicates(self) -> dict[str, AnyPath]:
        """The record of every finished replicate, by its id."""
        found = list_paths(self.trials, f"*/*/{_REPLICATE}/{_ATTEMPT}/{_RECORD}")
        return {f"{_trial_id(path.parent.parent.parent)}/{path.parent.parent.name}": path for path in found}

    def drivers(self) -> dict[str, int]:
        """The number of the driver that made the latest attempt at each trial that was started, by its id."""
        found = list_paths(self.trials, f"*/*/{_ATTEMPT}")
        return {_trial_id(path.parent): int(path.name.split("-")[1]) for path in found}


@dataclass(frozen=True, kw_only=True)
class TrialFolder:
    """The folder of one trial or replicate. Each attempt writes in its own: a late writer overwrites nothing."""

    trial_id: str
    """The trial's id, CELL/NUMBER, or the replicate's."""
    root: AnyPath
    """A place that ends in the id."""

    @property
    def record(self) -> AnyPath | None:
        """The trial's record, in the folder of the attempt that finished it; None while the trial is unfinished.

        Of two, the later attempt's: a driver that was replaced, and did not know yet, may have left the other.
        """
        found = list_paths(self.root, f"{_ATTEMPT}/{_RECORD}")
        return found[-1] if found else None

    def attempt(self, *, driver: int, attempt: int) -> AnyPath:
        """The folder that one attempt under one driver writes its checkpoints to."""
        return self.root / f"attempt-{driver:04d}-{attempt:04d}"

    def attempts(self) -> list[AnyPath]:
        """The folders of all attempts so far, in order."""
        return list_paths(self.root, _ATTEMPT)


def _trial_id(path: AnyPath) -> str:
    return f"{path.parent.name}/{path.name}"
