"""Records: results of finished trials and replicates, and their readers."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.provenance import Provenance
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration

READ_THREADS = 16
"""Threads that read files; a read from an object store is slow."""


class Result(FrozenModel):
    """One evaluation of a trial; its field names are the metric names in every table, chart and run."""

    step: int
    """Optimizer steps so far."""
    epoch: float
    """Passes over the training subset so far."""
    samples: int
    """Training images seen so far."""
    seconds: float
    """Seconds of training and evaluation so far, over all attempts."""
    learning_rate: float
    """Learning rate of the last step."""
    train_loss: float
    """Mean loss per step since the last evaluation, with augmentation and label smoothing."""
    val_loss: float
    """Mean cross-entropy over the validation images, without smoothing."""
    val_accuracy: float
    """Fraction of the validation images that are classified correctly."""
    time: float
    """Time of the evaluation, in seconds since 1970."""


class ModelDescription(FrozenModel):
    """Properties of a model that its configuration leaves to defaults."""

    configuration: Configuration
    """Configuration with the defaults of its family and a matched width in place of None."""
    initialization: str
    """Initial weights, in words."""
    pooling: str
    """Reduction of an image's features to one vector, in words."""


class TrialMetadata(FrozenModel):
    """Properties of a trial's data and model, known before its first step."""

    model: str
    """Description of the model."""
    num_parameters: int
    """Learnable parameters of the model."""
    flops: int
    """Floating-point operations of the forward pass of one image, as models/cost.py counts them."""
    activation_bytes: int
    """Bytes that a training step keeps for its backward pass, as models/cost.py counts them."""
    planned_steps: int
    """Optimizer steps of a complete training."""
    num_train_images: int
    """Number of training images."""
    num_validation_images: int
    """Number of validation images."""
    last_batch: int | None = None
    """Images in the last batch of an epoch: up to batch_size + 1, as a single image is no batch. None in old records,
    whose last batch may have one image."""
    expected_overlap: float | None = None
    """Expected share of the training images that another draw of the same size has; None in old records."""
    data_hash: str
    """SHA-256 of the training split's pixels and labels."""
    subset_hash: str
    """SHA-256 of the indices of the training images; equal for all cells with the same subset size and draw."""
    validation_hash: str
    """SHA-256 of the indices of the validation images."""
    damaged_checkpoints: tuple[str, ...] = ()
    """Damaged checkpoints that the last attempt did not use, with the reason; it resumed from an earlier one or began
    anew. Empty in old records, which do not list them."""
    nondeterministic: tuple[str, ...] = ()
    """Operations that ran without a deterministic implementation, with `deterministic: warn`. Empty in old records, in
    which such an operation failed the trial."""
    provenance: Provenance
    description: ModelDescription | None = None
    """Defaults of the model; None in records of versions that did not write it."""


class TestResult(FrozenModel):
    """Evaluation of a trained replicate on the test images."""

    num_images: int
    """Number of images in the test split."""
    data_hash: str
    """SHA-256 of the test split's pixels and labels."""
    loss: float
    """Mean cross-entropy, without smoothing."""
    accuracy: float
    """Fraction of the images that are classified correctly."""


class State(StrEnum):
    """Final state of a trial, in Optuna's words."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


class Record(FrozenModel):
    """Result of a finished trial or replicate. It is written once, atomically, and never changed."""

    trial_id: str
    """CELL/NUMBER, or the id of the replicate: the id in Ray Tune, MLflow and the tables."""
    search: str
    cell: str
    """Key of the cell, and name of its Optuna study."""
    number: int
    """Number of the trial (or replicated trial) in its cell, from 0."""
    attempt: int
    """Number of the attempt that finished, from 1."""
    driver: int
    """Number of the driver that wrote the record, from 1."""
    state: State
    metric: str
    """Leading metric of the search; test_accuracy for a replicate."""
    value: float | None
    """Last reported value of the metric; None for a failed trial."""
    spec: TrialSpec
    facts: TrialMetadata | None
    """Properties of data and model; None if the trial failed before its model was built."""
    curve: tuple[Result, ...]
    """Every result, in order of steps."""
    error: str | None
    """Error of a failed trial; None otherwise."""
    started: float
    """Start of the first attempt (for a replicate: the first under its driver), in seconds since 1970."""
    finished: float
    """Time of the record, in seconds since 1970."""
    replicate: Replication | None = None
    """Trial, draw and seed of a replicate; None for a trial."""
    test: TestResult | None = None
    """Test result of a replicate; None for a trial, and for a failed replicate."""


def read_records(folder: SearchFolder) -> list[Record]:
    """Return the records of every finished trial of a search, by cell and number."""
    return read_all(folder.records().values())


def read_replicates(folder: SearchFolder) -> list[Record]:
    """Return the records of every finished replicate of a search, by cell, trial, draw and seed."""
    return read_all(folder.replicates().values())


def read_all(paths: Collection[AnyPath]) -> list[Record]:
    """Return the records in these files, sorted by cell and number."""
    return sorted(_read_files(paths), key=_sort_key)


class RecordReader:
    """Reader of the records of a search. It reads each file once, because records never change."""

    def __init__(self, folder: SearchFolder) -> None:
        """Set the folder of the search; no file is read yet."""
        self._folder = folder
        self._records: dict[AnyPath, Record] = {}

    def find(self, record_id: str) -> Record | None:
        """Return the record of a trial or replicate, or None if it is not finished."""
        path = self._folder.trial(record_id).record
        return None if path is None else self._read([path])[0]

    def trials(self) -> list[Record]:
        """Return the records of all finished trials, by cell and number."""
        return self._read(self._folder.records().values())

    def replicates(self) -> list[Record]:
        """Return the records of all finished replicates, by cell, trial, draw and seed."""
        return self._read(self._folder.replicates().values())

    def _read(self, paths: Collection[AnyPath]) -> list[Record]:
        new = [path for path in paths if path not in self._records]
        self._records.update(zip(new, _read_files(new), strict=True))
        return sorted((self._records[path] for path in paths), key=_sort_key)


def _read_files(paths: Collection[AnyPath]) -> list[Record]:
    with ThreadPoolExecutor(READ_THREADS) as pool:
        contents = pool.map(lambda path: path.read_bytes(), paths)
        return [Record.model_validate_json(content) for content in contents]


def _sort_key(record: Record) -> tuple[str, int, int, int]:
    draw, seed = (record.replicate.draw, record.replicate.seed) if record.replicate else (-1, -1)
    return record.cell, record.number, draw, seed
