"""Records: results of finished trials and replicates, and their readers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.finding import DamagedError, Finding, parse_stored, read_each, repair_command
from lkca_search.records.provenance import LayerBackend, Provenance
from lkca_search.records.stored_spec import find_spec
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Configuration, UsedPrecision
from lkca_search.trial_listing import RecordListing, TrialListing


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
    metrics: Mapping[str, float] = {}
    """Further metrics of the validation images, by name; empty in old records. `training/metrics.py` has the list."""

    def value(self, metric: str) -> float:
        """Return a number of the result by its name; KeyError if it was not measured."""
        return float(getattr(self, metric) if metric in _NUMBERS else self.metrics[metric])


TIMES = {"seconds", "time"}
"""Fields of a result that differ between two equal trainings."""
_Count = Annotated[int, Field(ge=0)]
_NUMBERS = frozenset(Result.model_fields) - {"metrics"}


class ModelDefaults(FrozenModel):
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
    num_classes: int | None = None
    """Number of classes of the dataset; None in old records."""
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
    used_precision: UsedPrecision | None = None
    """Type of matrix products and convolutions, `auto` resolved. None in old records: float32, except that convolutions
    on GPUs may have used TF32."""
    compiled: bool | None = None
    """True if torch.compile compiled the model; None in old records, which did not."""
    channels_last: bool | None = None
    """True if images and convolutions had their channels last in memory; None in old records, which did not."""
    backends: tuple[LayerBackend, ...] | None = None
    """Backend of each shape of LKCA layers, empty for a model without such layers. None in old records, whose layers
    were computed by the estimated backend."""
    weights_hash: str | None = None
    """SHA-256 of the final weights in the format of kept models. None unless the training ended by itself, and in old
    records."""
    provenance: Provenance
    description: ModelDefaults | None = None
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
    metrics: Mapping[str, float] = {}
    """Further metrics of the test images, by name; empty in old records."""

    def value(self, metric: str) -> float | None:
        """Return the loss, the accuracy or a further metric; None if it was not measured, as in old records."""
        return {"loss": self.loss, "accuracy": self.accuracy, **self.metrics}.get(metric)


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
    number: _Count
    """Number of the trial (or replicated trial) in its cell, from 0."""
    attempt: _Count
    """Number of the attempt that finished, from 1."""
    driver: _Count
    """Number of the driver that wrote the record, from 1."""
    state: State
    metric: str
    """Leading metric of the search; for a replicate, its name on test images: test_accuracy."""
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
    """Return the intact records of a search's finished trials, by cell and number."""
    return RecordReader(folder).trials()


def read_replicates(folder: SearchFolder) -> list[Record]:
    """Return the intact records of a search's finished replicates, by cell, trial, draw and seed."""
    return RecordReader(folder).replicates()


class RecordReader:
    """Reader of the records of a search. It reads each intact file once, because records never change.

    Damaged records are left out, so their trials count as unfinished. `findings` lists them.
    """

    def __init__(self, folder: SearchFolder) -> None:
        """Set the folder of the search; no file is read yet."""
        self._folder = folder
        self._records: dict[AnyPath, Record] = {}
        self._cells: frozenset[str] | None = None
        self._listing: TrialListing | None = None
        self._damaged: dict[str, list[Finding]] = {}
        self._set_aside: dict[str, list[AnyPath]] = {}

    @property
    def findings(self) -> list[Finding]:
        """Damaged records that the last calls of `trials` and `replicates` have left out."""
        return [finding for found in self._damaged.values() for finding in found]

    @property
    def set_aside(self) -> list[AnyPath]:
        """Damaged records that a driver or `repair` has renamed, as listed by the last calls."""
        return [path for paths in self._set_aside.values() for path in paths]

    def find(self, record_id: str) -> Record | None:
        """Return the record of a trial or replicate, or None if it is not finished."""
        path = self._folder.trial(record_id).record
        if path is None:
            return None
        records, self._damaged["found"] = self._read({record_id: path})
        return records[0] if records else None

    @contextmanager
    def listed_once(self) -> Iterator[TrialListing]:
        """Walk the folder of the trials once for all calls in the block, and yield what was found.

        Records that another process writes meanwhile are not seen.
        """
        if self._listing is not None:
            yield self._listing
            return
        self._listing = self._folder.list_trials()
        try:
            yield self._listing
        finally:
            self._listing = None

    def trials(self) -> list[Record]:
        """Return the records of all finished trials, by cell and number."""
        with self.listed_once() as listing:
            return self._read_all("trials", listing.trials)

    def replicates(self) -> list[Record]:
        """Return the records of all finished replicates, by cell, trial, draw and seed."""
        with self.listed_once() as listing:
            return self._read_all("replicates", listing.replicates)

    def _read_all(self, kind: str, listing: RecordListing) -> list[Record]:
        records, self._damaged[kind] = self._read(listing.records)
        self._set_aside[kind] = listing.set_aside
        return sorted(records, key=_sort_key)

    def _read(self, paths: Mapping[str, AnyPath]) -> tuple[list[Record], list[Finding]]:
        new = {record_id: path for record_id, path in paths.items() if path not in self._records}
        remedy = repair_command(self._folder.name)
        findings: list[Finding] = []
        for (record_id, path), content in zip(new.items(), read_each(list(new.values()), remedy=remedy), strict=True):
            found = _parse(record_id, path, content, remedy=remedy) if isinstance(content, bytes) else content
            if isinstance(found, Finding):
                findings.append(found)
            elif found is not None and (unknown := self._find_unknown_cell(found, path)):
                findings.append(unknown)
            elif found is not None:
                # `rename` leaves the files of records unchanged
                self._records[path] = found.model_copy(update={"search": self._folder.name})
        return [self._records[path] for path in paths.values() if path in self._records], findings

    def _find_unknown_cell(self, record: Record, path: AnyPath) -> Finding | None:
        """Return a finding if the search has no such cell. A resume may have added cells since the last look."""
        if self._cells is None or record.cell not in self._cells:
            spec = find_spec(self._folder)
            if spec is None:
                return None
            self._cells = frozenset(cell.key for cell in cells(spec))
        if record.cell in self._cells:
            return None
        damage = f"must be the record of a cell of the search, got the cell {record.cell}"
        return Finding(place=str(path), damage=damage, remedy=repair_command(self._folder.name))


def _parse(record_id: str, path: AnyPath, content: bytes, *, remedy: str) -> Record | Finding:
    try:
        record = parse_stored(content, path, Record, remedy=remedy)
    except DamagedError as error:
        return error.finding
    own_id = record.replicate.replicate_id if record.replicate else f"{record.cell}/{record.number}"
    if record.trial_id == own_id == record_id:
        return record
    damage = f"must be the record of {record_id}, got that of {record.trial_id}"
    return Finding(place=str(path), damage=damage, remedy=remedy)


def _sort_key(record: Record) -> tuple[str, int, int, int]:
    draw, seed = (record.replicate.draw, record.replicate.seed) if record.replicate else (-1, -1)
    return record.cell, record.number, draw, seed
