"""Records: what a trial left behind, the tables made of them, and the names of their numbers."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.provenance import Provenance
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel

_READERS = 16
"""Files that are read at once."""


class Result(FrozenModel):
    """One evaluation of a trial; the field names are the metrics' names everywhere."""

    step: int
    """Optimiser steps so far."""
    epoch: float
    """Passes over the training subset so far."""
    samples: int
    """Training images seen so far."""
    seconds: float
    """Seconds of training and evaluation so far, over all attempts."""
    learning_rate: float
    """Learning rate of the last step."""
    train_loss: float
    """Mean loss of the steps since the last evaluation, with augmentation and label smoothing."""
    val_loss: float
    """Mean cross-entropy over the validation images, without smoothing."""
    val_accuracy: float
    """Share of the validation images that are classified correctly."""
    time: float
    """When it was measured, in seconds since 1970."""


class TrialMetadata(FrozenModel):
    """What is known of a trial once its data and model stand, before its first step."""

    model: str
    """What the model is, in words."""
    num_parameters: int
    """Learnable parameters of the model."""
    flops: int
    """Floating-point operations of one image's forward pass, as models/cost.py counts them."""
    activation_bytes: int
    """Bytes that a training step keeps for its backward pass, as models/cost.py counts them."""
    planned_steps: int
    """Optimiser steps of a whole training."""
    num_train_images: int
    """Images trained on."""
    num_validation_images: int
    """Images held out and validated on."""
    data_hash: str
    """SHA-256 of the training split's pixels and labels."""
    subset_hash: str
    """SHA-256 of the indices trained on: equal for every family of a cell's fraction and draw."""
    validation_hash: str
    """SHA-256 of the indices held out."""
    provenance: Provenance


class TestResult(FrozenModel):
    """What a replicate is worth on the test images, once its training is over."""

    num_images: int
    """Images of the test split, all of them."""
    data_hash: str
    """SHA-256 of the test split's pixels and labels."""
    loss: float
    """Mean cross-entropy, without smoothing."""
    accuracy: float
    """Share of the images that are classified correctly."""


class State(StrEnum):
    """How a trial ended, in Optuna's words."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Record(FrozenModel):
    """What a finished trial or replicate left behind. Written once, atomically, then never changed."""

    trial_id: str
    """`cell/number`: the id of the Tune trial, the Optuna trial, the MLflow run and the row; of a replicate its id."""
    search: str
    cell: str
    """Key of the cell, and name of its Optuna study."""
    number: int
    """Number of the trial, or of the trial that is replicated, in its cell, from 0."""
    attempt: int
    """Which attempt finished it, from 1."""
    driver: int
    """Which driver of the search wrote it, from 1."""
    state: State
    metric: str
    """Name of the metric by which trials are compared; test_accuracy for a replicate."""
    value: float | None
    """The metric as reported last; none for a trial that failed."""
    spec: TrialSpec
    facts: TrialMetadata | None
    """None where the trial failed before its model stood."""
    curve: tuple[Result, ...]
    """Every result, in order of steps."""
    error: str | None
    """The trial's own fault, if it failed."""
    started: float
    """Start of the first attempt, of a replicate the first of its driver, in seconds since 1970."""
    finished: float
    """When the record was made, in seconds since 1970."""
    replicate: Replication | None = None
    """What makes this a replicate; None for a trial."""
    test: TestResult | None = None
    """A replicate's result on the test images; None for a trial, and for a replicate that failed."""


def read_record(folder: SearchFolder, trial_id: str) -> Record | None:
    """Return the record of a trial or replicate; None while it is unfinished."""
    path = folder.trial(trial_id).record
    return Record.model_validate_json(path.read_bytes()) if path else None


def read_records(folder: SearchFolder) -> list[Record]:
    """Return the records of every finished trial of a search, by cell and number."""
    return read_all(folder.records().values())


def read_replicates(folder: SearchFolder) -> list[Record]:
    """Return the records of every finished replicate of a search, by cell, trial, draw and seed."""
    return read_all(folder.replicates().values())


def read_all(paths: Collection[AnyPath]) -> list[Record]:
    """Return the records in these files, by cell and number; several are read at once, since each read may be slow."""
    return sorted(_read_each(paths), key=_order)


class RecordReader:
    """Reader of a search's records. It reads each file once, since records never change and a read may be a request."""

    def __init__(self, folder: SearchFolder) -> None:
        self._folder = folder
        self._records: dict[AnyPath, Record] = {}

    def trials(self) -> list[Record]:
        """Return the records of the trials that are finished by now, by cell and number."""
        return self._read(self._folder.records().values())

    def replicates(self) -> list[Record]:
        """Return the records of the replicates that are finished by now, by cell, trial, draw and seed."""
        return self._read(self._folder.replicates().values())

    def _read(self, paths: Collection[AnyPath]) -> list[Record]:
        new = [path for path in paths if path not in self._records]
        self._records.update(zip(new, _read_each(new), strict=True))
        return sorted((self._records[path] for path in paths), key=_order)


def _read_each(paths: Collection[AnyPath]) -> list[Record]:
    with ThreadPoolExecutor(_READERS) as pool:
        contents = pool.map(lambda path: path.read_bytes(), paths)
        return [Record.model_validate_json(content) for content in contents]


def _order(record: Record) -> tuple[str, int, int, int]:
    draw, seed = (record.replicate.draw, record.replicate.seed) if record.replicate else (-1, -1)
    return record.cell, record.number, draw, seed
