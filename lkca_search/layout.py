"""Folders and files of searches, on disk or in an object store."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lkca_search.errors import SearchError, did_you_mean
from lkca_search.paths import AnyPath, list_paths, parse_path
from lkca_search.trial_listing import RECORD, TrialListing, list_trials

PREDICTIONS = "predictions.parquet"
"""Name of the file with the test predictions of a replicate, beside its record."""
WEIGHTS = "model.safetensors"
"""Name of the file with the weights of a kept model, beside the record of its training."""
MODEL = "model.json"
"""Name of the file with the description of a kept model, beside its weights."""
INSPECTION = "inspection.parquet"
"""Name of the file with the kernels, attention and receptive field of a replicate, beside its record."""
PUBLISHED = "records.parquet"
"""File that makes a folder one of published results."""
START = "start.json"
"""Name of the file with the configuration of an unfinished attempt, in its folder."""
BACKENDS = "backends.json"
"""Name of the file with the backends of LKCA layers of an unfinished attempt, in its folder."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT = "attempt-*"


def check_name(name: str) -> None:
    """Raise SearchError if the name of a search is not valid as a folder name."""
    if not _NAME.fullmatch(name):
        rule = "the name of a search must start with a letter or digit and have only letters, digits, '.', '_' and '-'"
        raise SearchError(f"{rule}, at most 100 characters, got {name!r}")


def cache_variable() -> str:
    """Return the variable that decides the folder of decoded datasets."""
    in_store = "://" in os.environ.get("LKCA_SEARCH_HOME", "")
    return "LKCA_SEARCH_CACHE" if in_store or os.environ.get("LKCA_SEARCH_CACHE") else "LKCA_SEARCH_HOME"


def local_data_dir() -> Path | None:
    """Return the absolute path of LKCA_DATA_DIR, the folder of datasets by name; None if it is not set."""
    folder = os.environ.get("LKCA_DATA_DIR")
    return Path(folder).absolute() if folder else None


@dataclass(frozen=True, kw_only=True)
class Home:
    """Folder with every search of a user: LKCA_SEARCH_HOME, a path or a URL; by default ./lkca_runs."""

    root: AnyPath
    """Absolute path, or a folder in an object store."""

    @classmethod
    def from_environment(cls) -> "Home":
        """Return the home that LKCA_SEARCH_HOME names; SearchError if it is no folder, or not readable."""
        return cls.at(os.environ.get("LKCA_SEARCH_HOME") or "lkca_runs")

    @classmethod
    def at(cls, place: str, *, name: str = "LKCA_SEARCH_HOME") -> "Home":
        """Return the home at a path or URL; SearchError, with the `name` of the value, as in `from_environment`."""
        root = parse_path(place)
        if not isinstance(root, Path):
            return cls(root=root)
        if root.exists() and not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
            rule = f"{name} must be a folder that this user can read"
            raise SearchError(f"{rule}, got {root.absolute()}; correct it, or give this user access")
        return cls(root=root.absolute())

    @property
    def datasets(self) -> Path:
        """Folder of decoded datasets, one per machine for all searches: LKCA_SEARCH_CACHE, by default in the home."""
        if folder := os.environ.get("LKCA_SEARCH_CACHE"):
            if Path(folder).exists() and not Path(folder).is_dir():
                raise SearchError(f"LKCA_SEARCH_CACHE must be a folder, got {Path(folder).absolute()}; correct it")
            return Path(folder).absolute()
        if isinstance(self.root, Path):
            return self.root / "datasets"
        try:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError as error:  # no HOME, and a user id without a name
            raise SearchError("LKCA_SEARCH_CACHE must be set: this user has no home directory") from error
        return cache / "lkca-search" / "datasets"

    @property
    def mlflow_database(self) -> Path:
        """Default database of MLflow runs; SearchError if the home is in an object store."""
        return self._on_disk("the default MLflow store must be a database on disk") / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Default folder of MLflow artifacts; SearchError if the home is in an object store."""
        return self._on_disk("the default MLflow artifacts must be a folder on disk") / "mlflow_artifacts"

    def test_looks(self, test_hash: str) -> AnyPath:
        """Return the folder of the looks at test images with this hash: test_looks/HASH/UID-ROUND-SEAL.json."""
        return self.root / "test_looks" / test_hash

    def search(self, name: str) -> "SearchFolder":
        """Return the folder of a search, which may not exist yet; SearchError for an invalid name."""
        check_name(name)
        folder = SearchFolder(root=self.root / "searches" / name)
        return folder.with_storage(_read_storage(folder.spec))

    def searches(self) -> Iterator["SearchFolder"]:
        """Yield the folders of all started searches, sorted by name."""
        for name in self.search_names():
            yield self.search(name)

    def search_names(self) -> list[str]:
        """Return the names of all started searches, sorted."""
        return [spec.parent.name for spec in list_paths(self.root, "searches/*/spec.json")]

    def existing_search(self, name: str) -> "SearchFolder":
        """Return the folder of a search, also if its spec is lost; SearchError if there is no such folder."""
        folder = self.search(name)
        return folder if folder.root.exists() else self.started_search(name)

    def started_search(self, name: str) -> "SearchFolder":
        """Return the folder of a started search; SearchError with the existing names if there is none."""
        folder = self.search(name)
        if not folder.spec.exists() and folder.drivers():
            hint = "or run its space file and overrides again under this name"
            raise SearchError(
                f"search {name!r} must have a spec, got no file {folder.spec}; `lkca-search repair {name}`, {hint}"
            )
        if not folder.spec.exists():
            names = self.search_names()
            known = ", ".join(names) or "none"
            meant = did_you_mean(name, names)
            elsewhere = "if it is in another home, go to the folder of its `run`, or set LKCA_SEARCH_HOME"
            advice = f"a `run` adds it after its checks; {elsewhere}"
            raise SearchError(
                f"there is no search {name!r} in {self.root}{meant}; searches there: {known}"
                f"{'' if meant else f'; {advice}'}"
            )
        return folder

    def _on_disk(self, rule: str) -> Path:
        if isinstance(self.root, Path):
            return self.root
        raise SearchError(f"{rule}, got the home {self.root}: set MLFLOW_TRACKING_URI to a server")


@dataclass(frozen=True, kw_only=True)
class SearchFolder:
    """Folder of one search: its spec, ledger, trials and tables."""

    root: AnyPath
    """Folder named after the search."""
    storage: AnyPath | None = None
    """Folder of the trials, also named after the search; None if they are in `root`."""

    def with_storage(self, storage: str | None) -> "SearchFolder":
        """Return this folder with its trials below `storage`, a path or URL shared by searches; None for `root`."""
        return SearchFolder(root=self.root, storage=None if storage is None else parse_path(storage) / self.name)

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.root.name

    @property
    def home(self) -> Home:
        """Home that contains this folder."""
        return Home(root=self.root.parent.parent)

    @property
    def space_file(self) -> AnyPath:
        """Space file as the latest driver read it."""
        return self.root / "space.yaml"

    @property
    def spec(self) -> AnyPath:
        """Search spec as JSON, with overrides applied."""
        return self.root / "spec.json"

    @property
    def specs(self) -> list[AnyPath]:
        """Every copy of the spec. The copy in the storage of the trials survives the loss of `root`."""
        return [self.spec, *([self.storage / self.spec.name] if self.storage else [])]

    @property
    def dataset_files(self) -> list[AnyPath]:
        """Every copy of the description of the training images, as for `specs`."""
        return [spec.parent / "dataset.json" for spec in self.specs]

    @property
    def code_files(self) -> list[AnyPath]:
        """Every copy of the hashes of your own code, as for `specs`; absent without such code."""
        return [spec.parent / "own_code.json" for spec in self.specs]

    @property
    def uid(self) -> AnyPath:
        """File with the unique id of the search; the ledger and the MLflow runs have the same id."""
        return self.root / "uid"

    @property
    def ledger_url(self) -> AnyPath:
        """File with the URL of the ledger's database, without password; absent if the ledger is SQLite in `root`."""
        return self.root / "ledger.url"

    @property
    def trials(self) -> AnyPath:
        """Folder of all trials: trials/CELL/NUMBER."""
        return (self.storage or self.root) / "trials"

    @property
    def rounds(self) -> AnyPath:
        """Folder of sealed rounds of confirmation: rounds/0001.json."""
        return (self.storage or self.root) / "rounds"

    @property
    def exhausted(self) -> AnyPath:
        """Folder with one file per cell whose sampler has nothing new to suggest: exhausted/CELL."""
        return (self.storage or self.root) / "exhausted"

    @property
    def ray(self) -> AnyPath:
        """Folder of Ray Tune's own state; it can be deleted."""
        return (self.storage or self.root) / "ray"

    def trial(self, trial_id: str) -> "TrialFolder":
        """Return the folder of a trial or replicate. Its id is its path below `trials`."""
        return TrialFolder(root=self.trials / trial_id)

    def list_trials(self) -> TrialListing:
        """Return the attempts and records of all trials and replicates, from one walk or one listing of a store."""
        return list_trials(self.trials)

    def records(self) -> dict[str, AnyPath]:
        """Return the path of each finished trial's record by trial id."""
        return self.list_trials().trials.records

    def replicates(self) -> dict[str, AnyPath]:
        """Return the path of each finished replicate's record by replicate id."""
        return self.list_trials().replicates.records

    def drivers(self) -> dict[str, int]:
        """Return the driver number of the latest attempt of each started trial, by trial id."""
        return self.list_trials().trials.drivers

    def latest_driver(self) -> int:
        """Return the largest driver number of all attempts at trials and replicates; 0 if there is none."""
        return self.list_trials().latest_driver


@dataclass(frozen=True, kw_only=True)
class TrialFolder:
    """Folder of one trial or replicate. Each attempt has a folder of its own, so a late writer overwrites nothing."""

    root: AnyPath
    """Folder whose path ends in the id of the trial or replicate."""

    @property
    def record(self) -> AnyPath | None:
        """Record of the trial, in the folder of the attempt that finished it; None while the trial is unfinished.

        If there are two, this is the record of the later attempt: a replaced driver may have written the earlier one.
        """
        paths = list_paths(self.root, f"{_ATTEMPT}/{RECORD}")
        return paths[-1] if paths else None

    def attempt(self, *, driver: int, attempt: int) -> AnyPath:
        """Return the folder in which one attempt under one driver writes its checkpoints and record."""
        return self.root / f"attempt-{driver:04d}-{attempt:04d}"

    def attempts(self) -> list[AnyPath]:
        """Return the folders of all attempts so far, in order."""
        return list_paths(self.root, _ATTEMPT)

    def files(self) -> list[AnyPath]:
        """Return the files of all attempts so far, in order. In an object store, it takes one listing."""
        return list_paths(self.root, f"{_ATTEMPT}/*")


def _read_storage(spec: AnyPath) -> str | None:
    """Return the storage in a `spec.json`; None if the file is missing or damaged. Readers of the spec report that."""
    try:
        storage = json.loads(spec.read_bytes()).get("storage")
    except (ValueError, AttributeError, RecursionError, FileNotFoundError, IsADirectoryError):
        return None
    return storage if isinstance(storage, str) else None
