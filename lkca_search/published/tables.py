"""Parquet tables of published results: records, predictions, test images and inspections, one row for each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lkca_search.records.inspection.inspection import Inspection
from lkca_search.records.inspection.inspection_file import from_table, to_table
from lkca_search.records.predictions import ReplicatePredictions, TestImages
from lkca_search.records.record import Record

_ABOUT = b"inspection"
"""Key in the metadata of the file of an inspection."""


def records_table(records: Sequence[Record]) -> pa.Table:
    """Return one row per trial or replicate: its id, and the whole record as JSON."""
    return pa.table(
        {
            "trial_id": [record.trial_id for record in records],
            "is_replicate": [record.replicate is not None for record in records],
            "record": [record.model_dump_json() for record in records],
        }
    )


def read_records(table: pa.Table) -> tuple[list[Record], list[Record]]:
    """Return the trials and the replicates, in the order of the table."""
    records = [Record.model_validate_json(content) for content in table["record"].to_pylist()]
    trials = [record for record in records if record.replicate is None]
    return trials, [record for record in records if record.replicate is not None]


def splits_table(images: Mapping[str, TestImages]) -> pa.Table:
    """Return one row per test split: its hash, the names of its classes, and the class of each image."""
    return pa.table(
        {
            "data_hash": list(images),
            "class_names": pa.array([each.class_names for each in images.values()], pa.list_(pa.string())),
            "labels": pa.array([each.labels for each in images.values()], pa.list_(pa.uint16())),
        }
    )


def predictions_table(predictions: Mapping[str, ReplicatePredictions], *, with_scores: bool) -> pa.Table:
    """Return one row per replicate: predicted classes and their probabilities, per image in the order of the split.

    With `with_scores`, it has the numbers per image, too. Otherwise they follow from the classes, as for accuracy.
    """
    found = predictions.values()
    scores = [each.scores if with_scores else None for each in found]
    is_bool = {each.dtype for each in scores if each is not None} == {np.dtype(bool)}
    return pa.table(
        {
            "replicate_id": list(predictions),
            "data_hash": [each.images.data_hash for each in found],
            "predicted": pa.array([each.predicted for each in found], pa.list_(pa.uint16())),
            "confidences": pa.array([each.confidences for each in found], pa.list_(pa.float16())),
            "scores": pa.array(scores, pa.list_(pa.bool_() if is_bool else pa.float32())),
        }
    )


def read_predictions_table(
    table: pa.Table, images: pa.Table, *, scored_by_class: bool
) -> dict[str, ReplicatePredictions]:
    """Return the predictions by replicate id. With `scored_by_class`, the number of an image is 1 if it is right."""
    splits = {
        row["data_hash"]: TestImages(
            labels=np.asarray(row["labels"], dtype=np.uint16),
            data_hash=row["data_hash"],
            class_names=tuple(row["class_names"]),
        )
        for row in images.to_pylist()
    }
    found = {}
    for index, replicate_id in enumerate(table["replicate_id"].to_pylist()):
        predicted, confidences, scores = (
            _values(table, name, index) for name in ("predicted", "confidences", "scores")
        )
        assert predicted is not None
        each = ReplicatePredictions(
            predicted=predicted,
            images=splits[table["data_hash"][index].as_py()],
            scores=scores,
            confidences=confidences,
        )
        found[replicate_id] = replace(each, scores=each.correct) if scored_by_class else each
    return found


def inspections_table(inspections: Mapping[str, Inspection]) -> pa.Table:
    """Return one row per replicate: its id, the rows of its file as structs, and the metadata of the file as JSON."""
    tables = [to_table(inspection) for inspection in inspections.values()]
    kind = pa.list_(pa.struct(list(tables[0].schema)))
    return pa.table(
        {
            "replicate_id": list(inspections),
            "about": [table.schema.metadata[_ABOUT].decode() for table in tables],
            "rows": pa.array([table.to_pylist() for table in tables], kind),
        }
    )


def read_inspections(table: pa.Table) -> dict[str, Inspection]:
    """Return the inspections by replicate id."""
    abouts = table["about"].to_pylist()
    rows = (pa.Table.from_struct_array(table["rows"][index].values) for index in range(len(table)))
    parts = (each.replace_schema_metadata({_ABOUT: about}) for each, about in zip(rows, abouts, strict=True))
    return dict(zip(table["replicate_id"].to_pylist(), map(from_table, parts), strict=True))


def _values(table: pa.Table, name: str, index: int) -> NDArray[Any] | None:
    """Return a list of the table as an array; None for a null."""
    values = table[name][index].values
    return None if values is None else values.to_numpy(zero_copy_only=False)
