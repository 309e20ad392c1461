"""Records: what a trial left behind, the tables made of them, and the names of their numbers."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.records.provenance import Provenance
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.sections import DataSection

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


def trials_table(records: Sequence[Record]) -> pa.Table:
    """One row a trial: identity, outcome, last result, configuration, facts and provenance, a column each."""
    return pa.Table.from_pylist([_trial_row(record) for record in records], schema=_TRIALS)


def curves_table(records: Sequence[Record]) -> pa.Table:
    """One row a trial and result."""
    rows = [{**_identity(record), **result.model_dump()} for record in records for result in record.curve]
    return pa.Table.from_pylist(rows, schema=_CURVES)


def replicates_table(replicates: Sequence[Record]) -> pa.Table:
    """One row a replicate: a trial's columns, then what it repeats and its result on the test images."""
    rows = []
    for record in replicates:
        assert record.replicate is not None
        tested = record.test.model_dump() if record.test else {}
        named = {"replicate_id": record.trial_id, "trial_id": record.replicate.of, "seed_number": record.replicate.seed}
        rows.append({**_trial_row(record), **named, **{f"test_{name}": tested.get(name) for name in _TEST}})
    return pa.Table.from_pylist(rows, schema=_REPLICATES)


def write_tables(records: Sequence[Record], replicates: Sequence[Record], folder: AnyPath) -> list[AnyPath]:
    """Write `trials.parquet`, `curves.parquet` and, where there are any, `replicates.parquet` into a folder.

    Each is written atomically, with the curves of replicates among those of trials; the paths are returned.
    """
    tables = {"trials": trials_table(records), "curves": curves_table([*records, *replicates])}
    if replicates:
        tables["replicates"] = replicates_table(replicates)
    for name, table in tables.items():
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_atomically(folder / f"{name}.parquet", buffer.getvalue().to_pybytes())
    return [folder / f"{name}.parquet" for name in tables]


def read_record(folder: SearchFolder, trial_id: str) -> Record | None:
    """The record of a trial, or None while it is unfinished."""
    path = folder.trial(trial_id).record
    return Record.model_validate_json(path.read_bytes()) if path else None


def read_records(folder: SearchFolder) -> list[Record]:
    """The records of every finished trial of a search, by cell and number."""
    return read_all(folder.records().values())


def read_replicates(folder: SearchFolder) -> list[Record]:
    """The records of every finished replicate of a search, by cell, trial, draw and seed."""
    return read_all(folder.replicates().values())


def read_all(paths: Collection[AnyPath]) -> list[Record]:
    """The records in these files, by cell and number; several at once, where each takes a moment to come."""
    with ThreadPoolExecutor(_READERS) as pool:
        contents = pool.map(lambda path: path.read_bytes(), paths)
        records = [Record.model_validate_json(content) for content in contents]
    return sorted(records, key=_order)


def _order(record: Record) -> tuple[str, int, int, int]:
    draw, seed = (record.replicate.draw, record.replicate.seed) if record.replicate else (-1, -1)
    return record.cell, record.number, draw, seed


def _identity(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _IDENTITY}


def _trial_row(record: Record) -> dict[str, Any]:
    facts = record.facts.model_dump() if record.facts else {}
    provenance = facts.pop("provenance", {})
    return {
        **_identity(record),
        **record.model_dump(include=set(_OUTCOME)),
        "dataset": record.spec.data.dataset,
        "seed": record.spec.seed,
        "split_seed": record.spec.split_seed,
        **record.spec.configuration.model_dump(),
        **(record.curve[-1].model_dump(include=set(_LAST_RESULT)) if record.curve else {}),
        **facts,
        **provenance,
    }


def _fields(model: type[FrozenModel], names: Sequence[str] | None = None) -> list[pa.Field]:
    return [pa.field(name, _arrow_type(model.model_fields[name].annotation)) for name in names or model.model_fields]


def _arrow_type(annotation: Any) -> pa.DataType:
    """The column type of a field: that of the first type its annotation allows, None aside."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    for option in get_args(annotation):
        if option is not type(None):
            return _arrow_type(option)
    kind = annotation if isinstance(annotation, type) else type(annotation)
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), State: pa.string()}
    return types[kind]


_TEST = ("num_images", "data_hash", "loss", "accuracy")
_OUTCOME = ("attempt", "driver", "state", "metric", "value", "error", "started", "finished")
_LAST_RESULT = ("step", "epoch", "samples", "seconds", "train_loss", "val_loss", "val_accuracy")
_IDENTITY = ("trial_id", "search", "cell", "number")
_IDENTITY_FIELDS = _fields(Record, _IDENTITY)
_CURVES = pa.schema([*_IDENTITY_FIELDS, *_fields(Result)])
_TRIALS = pa.schema(
    [
        *_IDENTITY_FIELDS,
        *_fields(Record, _OUTCOME),
        *_fields(DataSection, ("dataset",)),
        *_fields(TrialSpec, ("seed", "split_seed")),
        *_fields(Configuration),
        *_fields(Result, _LAST_RESULT),
        *_fields(TrialMetadata, [name for name in TrialMetadata.model_fields if name != "provenance"]),
        *_fields(Provenance),
    ]
)
_REPLICATES = pa.schema(
    [
        pa.field("replicate_id", pa.string()),
        *_TRIALS,
        pa.field("seed_number", pa.int64()),
        *(field.with_name(f"test_{field.name}") for field in _fields(TestResult, _TEST)),
    ]
)
