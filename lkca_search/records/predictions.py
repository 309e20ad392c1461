"""Predictions of replicates on the test images: one Parquet file in the folder of each replicate's attempt."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lkca_search.faults import first_line
from lkca_search.layout import PREDICTIONS, SearchFolder
from lkca_search.paths import AnyPath, atomic_output, open_input, write_atomically
from lkca_search.records.finding import READ_THREADS, DamagedError, Finding, read_stored_bytes
from lkca_search.records.record import Record, TestResult

_SMALLEST = np.float32(2.0**-25)
"""Probability in place of one that the file has rounded to 0."""
_LISTS = pa.list_(pa.float16())
"""Type of the probabilities of several datasets, which differ in the number of classes."""
_WRITER: Mapping[str, Any] = {
    "compression": "zstd",
    "use_dictionary": False,
    "column_encoding": {"image": "DELTA_BINARY_PACKED"},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions of a trained replicate on all N test images of K classes, in the order of the test split."""

    labels: NDArray[np.uint16]
    """True classes, (N,)."""
    predicted: NDArray[np.uint16]
    """Classes with the largest logit in float32, (N,)."""
    probabilities: NDArray[np.float16]
    """Softmax of the logits, (N, K); probabilities below 3e-8 are 0."""
    data_hash: str
    """SHA-256 of the test split's pixels and labels."""
    class_names: tuple[str, ...] = ()
    """Name of each class; empty in files of earlier versions."""


def is_among_top(probabilities: NDArray[Any], labels: NDArray[Any], *, number: int = 5) -> NDArray[np.bool_]:
    """Return True per image whose class is among the most probable ones, (N,); of equal classes, the first ones are.

    `probabilities` are (N, K), and `labels` (N,).
    """
    own = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
    ahead = (probabilities > own).sum(axis=1)
    ahead += ((probabilities == own) & (np.arange(probabilities.shape[1]) < labels[:, None])).sum(axis=1)
    is_among: NDArray[np.bool_] = ahead < number
    return is_among


def probabilities_of(probabilities: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Return the probability of one class per image, (N,), from those of all classes, (N, K)."""
    return np.take_along_axis(probabilities, classes[:, None].astype(np.int64), axis=1)[:, 0]


def image_scores(metric: str, predictions: Predictions) -> NDArray[Any] | None:
    """Return numbers per image, (N,), whose mean is a test metric; None if it is not such a mean.

    Loss and top-5 accuracy are those of the rounded probabilities.
    """
    labels = predictions.labels
    is_correct: NDArray[np.bool_] = predictions.predicted == labels
    match metric:
        case "accuracy":
            return is_correct
        case "top5_accuracy":
            return is_among_top(predictions.probabilities, labels)
        case "balanced_accuracy":
            counts = np.bincount(labels)
            return np.asarray(is_correct * (len(labels) / (counts > 0).sum() / counts[labels]), dtype=np.float32)
        case "loss":
            own = probabilities_of(predictions.probabilities, labels)
            losses: NDArray[np.float32] = -np.log(np.maximum(own.astype(np.float32), _SMALLEST))
            return losses
    return None


def bytes_per_image(num_classes: int) -> int:
    """Return the size of a row of the file, before compression: image, label, predicted class and probabilities."""
    return 4 + 2 + 2 + 2 * num_classes


def save_predictions(predictions: Predictions, attempt_folder: AnyPath, *, replicate_id: str) -> None:
    """Write the predictions of a replicate atomically into the folder of its attempt."""
    table = _to_table(predictions)
    metadata = {"replicate_id": replicate_id, "test_data_hash": predictions.data_hash}
    metadata["class_names"] = json.dumps(predictions.class_names)
    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, **_WRITER)
    write_atomically(attempt_folder / PREDICTIONS, buffer.getvalue().to_pybytes())


def read_predictions(folder: SearchFolder, replicate: Record) -> Predictions | None:
    """Return the predictions of a replicate; None if it has none: it has failed, or is of an earlier version.

    Raises:
        DamagedError: The file is damaged.
    """
    table = _read(folder, replicate)
    if table is None:
        return None
    if isinstance(table, Finding):
        raise DamagedError(table)
    return _from_table(table)


def read_correct(folder: SearchFolder, replicates: Sequence[Record]) -> dict[str, NDArray[np.bool_]]:
    """Return, by replicate id, True per test image (N,) that the replicate classifies correctly.

    The order of images is that of the test split. The mean is the test accuracy. Replicates without predictions are
    left out: failed ones, those of earlier versions, and those with a damaged file.
    """
    return scan_correct(folder, replicates)[0]


def scan_correct(
    folder: SearchFolder, replicates: Sequence[Record]
) -> tuple[dict[str, NDArray[np.bool_]], list[Finding]]:
    """Return the same as `read_correct`, and a finding per damaged file."""
    findings: list[Finding] = []
    tables = _intact(_read_all(folder, replicates), findings)
    correct = {
        record.trial_id: np.equal(table["predicted"].to_numpy(), table["label"].to_numpy()) for record, table in tables
    }
    return correct, findings


@dataclass(frozen=True, kw_only=True, eq=False)
class TestImages:
    """True classes of the test images of a dataset, and the names of the classes."""

    labels: NDArray[np.uint16]
    """True classes, (N,)."""
    data_hash: str = ""
    """SHA-256 of the test split's pixels and labels."""
    class_names: tuple[str, ...] = ()
    """Name of each class; empty in files of earlier versions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplicatePredictions:
    """Predictions of a replicate on the test images, and its numbers per image."""

    predicted: NDArray[np.uint16]
    """Predicted classes, (N,)."""
    images: TestImages
    """Test images, shared by all replicates of a dataset."""
    scores: NDArray[Any] | None
    """Result of `image_scores`, (N,)."""
    confidences: NDArray[np.float16] | None = None
    """Probabilities of the predicted classes, (N,); None in made-up results without them."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """True per image that is classified correctly, (N,)."""
        correct: NDArray[np.bool_] = self.predicted == self.images.labels
        return correct


def scan_predictions(
    folder: SearchFolder, replicates: Sequence[Record], *, metric: str = "accuracy"
) -> tuple[dict[str, ReplicatePredictions], list[Finding]]:
    """Return the predictions with the `image_scores` of a metric, by replicate id, and a finding per damaged file.

    Replicates without predictions are left out. Probabilities are read, but only one per image is kept.
    """
    findings: list[Finding] = []
    known: dict[str, TestImages] = {}
    found = {}
    for record, table in _intact(_read_all(folder, replicates), findings):
        each = _from_table(table)
        images = TestImages(labels=each.labels, data_hash=each.data_hash, class_names=each.class_names)
        found[record.trial_id] = ReplicatePredictions(
            predicted=each.predicted,
            images=known.setdefault(each.data_hash, images),
            scores=image_scores(metric, each),
            confidences=probabilities_of(each.probabilities, each.predicted),
        )
    return found, findings


def write_predictions(
    folder: SearchFolder, replicates: Sequence[Record], to: AnyPath, *, damaged: list[Finding] | None = None
) -> list[AnyPath]:
    """Write the predictions of all replicates into `to` as `predictions.parquet`; return its path.

    Damaged files are left out, and added to `damaged`.

    The file has a column `replicate_id` and one row group per replicate. Without predictions, there is no file and no
    path. At most READ_THREADS replicates are in memory. In a search with several datasets, the lists of probabilities
    differ in length.
    """
    tables = _intact(_read_all(folder, replicates), [] if damaged is None else damaged)
    first = next(tables, None)
    if first is None:
        return []
    path = to / PREDICTIONS
    fields = list(first[1].schema.remove_metadata())
    if len({record.spec.dataset for record in replicates}) > 1:
        is_list = (pa.types.is_fixed_size_list(field.type) for field in fields)
        fields = [field.with_type(_LISTS) if each else field for field, each in zip(fields, is_list, strict=True)]
    schema = pa.schema([pa.field("replicate_id", pa.string()), *fields])
    with atomic_output(path) as file, pq.ParquetWriter(file, schema, **_WRITER) as writer:
        for record, table in chain([first], tables):
            replicate_id = pa.repeat(record.trial_id, len(table))
            writer.write_table(pa.table([replicate_id, *table.columns], schema=schema))
    return [path]


def _intact(
    tables: Iterable[tuple[Record, pa.Table | Finding | None]], damaged: list[Finding]
) -> Iterator[tuple[Record, pa.Table]]:
    """Yield the replicates with a table, and add the damaged files to `damaged`."""
    for record, table in tables:
        if isinstance(table, Finding):
            damaged.append(table)
        elif table is not None:
            yield record, table


def _from_table(table: pa.Table) -> Predictions:
    """Return the predictions in a table."""
    probabilities = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return Predictions(
        labels=table["label"].to_numpy(),
        predicted=table["predicted"].to_numpy(),
        probabilities=probabilities,
        data_hash=table.schema.metadata[b"test_data_hash"].decode(),
        class_names=tuple(json.loads(table.schema.metadata.get(b"class_names", b"[]"))),
    )


def _to_table(predictions: Predictions) -> pa.Table:
    num_images, num_classes = predictions.probabilities.shape
    probabilities = pa.array(predictions.probabilities.reshape(-1))
    columns = {
        "image": pa.array(np.arange(num_images, dtype=np.int32)),
        "label": pa.array(predictions.labels),
        "predicted": pa.array(predictions.predicted),
        "probabilities": pa.FixedSizeListArray.from_arrays(probabilities, num_classes),
    }
    return pa.table(columns)


def _read(folder: SearchFolder, replicate: Record) -> pa.Table | Finding | None:
    if replicate.test is None:
        return None
    path = folder.trial(replicate.trial_id).attempt(driver=replicate.driver, attempt=replicate.attempt) / PREDICTIONS
    remedy = f"restore it. `lkca-search repair {folder.name}` sets it aside: the replicate keeps its test accuracy"
    try:
        with open_input(path) as file:
            table = pq.ParquetFile(file).read()
    except FileNotFoundError:
        return None
    except (pa.ArrowException, KeyError, OSError):  # pyarrow raises OSError for damage and for a lost connection
        table = _read_again(path, remedy)
    if isinstance(table, Finding) or (damage := _find_damage(table, replicate.test)) is None:
        return table
    return Finding(place=str(path), damage=damage, remedy=remedy)


def _read_again(path: AnyPath, remedy: str) -> pa.Table | Finding:
    """Return the table in a file, or the damage of its bytes; OSError if they cannot be read now."""
    try:
        content = read_stored_bytes(path, remedy=remedy)
    except DamagedError as error:
        return error.finding
    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, KeyError, OSError) as error:
        damage = f"must be a Parquet file of predictions, got one that cannot be read ({first_line(error)})"
        return Finding(place=str(path), damage=damage, remedy=remedy)


def _find_damage(table: pa.Table, test: TestResult) -> str | None:
    """Return the rule that a table breaks which can be read; None if it has the predictions of a test result."""
    if not {"image", "label", "predicted", "probabilities"} <= {*table.column_names}:
        return f"must have images, labels and predictions, got the columns {', '.join(table.column_names)}"
    if (table.schema.metadata or {}).get(b"test_data_hash", b"").decode() != test.data_hash:
        return "must be predictions on the test images of the record, got another hash of test images"
    if len(table) != test.num_images:
        return f"must have {test.num_images} rows, one per test image of the record, got {len(table)}"
    return None


def _read_all(folder: SearchFolder, replicates: Sequence[Record]) -> Iterator[tuple[Record, pa.Table | Finding | None]]:
    """Yield each replicate with its table; at most READ_THREADS tables are in memory."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(replicates), READ_THREADS):
            batch = replicates[start : start + READ_THREADS]
            yield from zip(batch, pool.map(lambda record: _read(folder, record), batch), strict=True)
