"""Records of reruns: differences of provenance, tolerance, verdict and training of each repeated trial."""

from enum import StrEnum

from lkca_search.layout import Home
from lkca_search.paths import AnyPath, list_paths, write_atomically
from lkca_search.records.finding import DamagedError, read_stored
from lkca_search.records.record import Result, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.base import FrozenModel

_FILE = "rerun.json"


class Severity(StrEnum):
    """Effect of a difference between a recorded training and its rerun, the strongest first."""

    FATAL = "fatal"
    """The rerun would train something else: it is refused unless it is allowed."""
    NOTABLE = "notable"
    """The results may differ by rounding, or by a change of the code."""
    HARMLESS = "harmless"
    """The results do not depend on it."""


class Change(FrozenModel):
    """Property in which a rerun differs from the recorded training."""

    name: str
    """Name of the property: `torch_version`."""
    severity: Severity
    was: str | None
    """Recorded value; None if there was none."""
    now: str | None
    """Value of the rerun; None if there is none."""
    area: str | None = None
    """Name by which `--allow` accepts a fatal change; None for another one."""

    def __str__(self) -> str:
        """Return the change as one line."""
        return f"{self.name} was {self.was}, is {self.now}"


class Verdict(StrEnum):
    """Result of the comparison of a rerun with the recorded training."""

    IDENTICAL = "identical"
    """Every compared number is equal bit for bit."""
    WITHIN_TOLERANCE = "within tolerance"
    """The value lies in the interval that the spread of the replicates gives, or is equal although others are not."""
    DIFFERENT = "different"
    """The value lies outside of the interval, or is not equal and there is no interval."""
    UNDECIDED = "undecided"
    """A fresh seed or draw was trained, and there is no interval: too few replicates, or replicates without spread."""
    NOT_COMPARED = "not compared"
    """The training was edited, or failed, or nothing was recorded."""

    def is_success(self, *, exact: bool = False) -> bool:
        """Return True if nothing contradicts the recorded result: identical, or unless `exact` within or undecided."""
        return self is Verdict.IDENTICAL or (self in (Verdict.WITHIN_TOLERANCE, Verdict.UNDECIDED) and not exact)


class Tolerance(FrozenModel):
    """Interval that contains the value of another training of the same configuration in 95% of the cases."""

    low: float
    high: float
    num_replicates: int
    """Replicates whose spread gives the interval."""
    num_draws: int
    """Draws of these replicates."""
    degrees_of_freedom: int
    """Degrees of freedom of the spread."""
    spread: str
    """Source of the spread: `seeds within a draw`, or `draws and seeds`."""
    around: str = ""
    """Center of the interval: the recorded value, or a mean of replicates. Empty in records of earlier versions."""

    def contains(self, value: float) -> bool:
        """Return True if a value lies in the interval."""
        return self.low <= value <= self.high


class Repeated(FrozenModel):
    """Training that a rerun repeats."""

    search: str
    """Name of the search; of a file without a search, the name of the file."""
    trial_id: str
    """Id of the trial or replicate."""
    uid: str | None = None
    """Unique id of the search; None if it is not known."""
    mlflow_run: str | None = None
    """Id of its MLflow run; None if it is not known."""


class RerunOutcome(FrozenModel):
    """Comparison of a rerun with the recorded training."""

    trial_id: str
    """Id of the repeated trial or replicate."""
    metric: str
    is_repeat: bool
    """True if the recorded training ran again to its recorded end, so that the values are comparable."""
    recorded: float | None
    value: float | None
    """Last value of the metric; None if the training failed before its first result."""
    difference: float | None
    """Value minus recorded value; 0 on the same machine with the same number of threads. None without a repeat."""
    step: int
    """Optimizer steps of the rerun."""
    verdict: Verdict
    reason: str
    """Numbers that were compared, or the reason why there is no comparison or no tolerance."""
    tolerance: Tolerance | None = None
    """Interval of the comparison; None for too few replicates, or replicates without spread."""
    seed: int
    """Seed of the rerun."""
    draw: int
    """Draw of the rerun."""
    edits: tuple[str, ...]
    """Differences of the training or its data from the recorded training. With any, the rerun is not a repeat."""
    changes: tuple[Change, ...]
    """Differences of code and machine from the recorded training."""
    error: str | None = None
    """Reason why the training failed; None if it ended."""


class RerunRecord(FrozenModel):
    """Training of a rerun and its comparison. It is no trial and no replicate: no table, study or round counts it."""

    repeats: Repeated
    outcome: RerunOutcome
    spec: TrialSpec
    facts: TrialMetadata
    curve: tuple[Result, ...]
    started: float
    """Start of the training, in seconds since 1970."""
    finished: float
    """End of the training, in seconds since 1970."""


def reruns_folder(home: Home, search: str) -> AnyPath:
    """Return the folder of the reruns of a search: in its folder, or in the home if the search is not there."""
    folder = home.search(search)
    return folder.root / "reruns" if folder.spec.exists() else home.root / "reruns" / search


def write_rerun(record: RerunRecord, folder: AnyPath) -> AnyPath:
    """Write a record to the first unused number below a folder, NNNN/rerun.json, and return its path."""
    number = 1 + max((int(path.name) for path in list_paths(folder, "*") if path.name.isdigit()), default=0)
    while True:
        try:
            (folder / f"{number:04d}").mkdir(parents=True, exist_ok=False)
            break
        except FileExistsError:  # another rerun has taken the number
            number += 1
    path = folder / f"{number:04d}" / _FILE
    write_atomically(path, record.model_dump_json().encode())
    return path


def read_reruns(folder: AnyPath) -> dict[str, RerunRecord]:
    """Return the intact records of reruns below a folder by their numbers, oldest first."""
    records = {}
    for path in list_paths(folder, f"*/{_FILE}"):
        try:
            records[path.parent.name] = read_stored(path, RerunRecord, remedy="delete it: nothing depends on it")
        except (DamagedError, FileNotFoundError):
            continue
    return records
