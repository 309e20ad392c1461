"""Parquet file with the predictions of any number of images, written batch by batch."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lkca_search.inference.classification import ClassifiedBatch
from lkca_search.paths import atomic_output


@contextmanager
def prediction_file(
    path: Path | None, class_names: tuple[str, ...], *, model: str
) -> Iterator[Callable[[ClassifiedBatch], None]]:
    """Yield a function that writes a batch to a Parquet file; without a path, it writes nothing.

    The file appears at the end of the block; after an error in the block, there is none.

    Columns:
        image: File of the image, and row of a Parquet file.
        name: Most probable class.
        probability: Its probability.
        predicted: Number of that class.
        probabilities: Probability of each class. The metadata `class_names` has their names, as JSON.
    """
    if path is None:
        yield lambda batch: None
        return
    schema = pa.schema(
        [
            pa.field("image", pa.string()),
            pa.field("name", pa.string()),
            pa.field("probability", pa.float32()),
            pa.field("predicted", pa.uint16()),
            pa.field("probabilities", pa.list_(pa.float32(), len(class_names))),
        ],
        metadata={"model": model, "class_names": json.dumps(class_names)},
    )
    with atomic_output(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(batch: ClassifiedBatch) -> None:
            predicted = batch.probabilities.argmax(axis=1)
            values = pa.array(np.ascontiguousarray(batch.probabilities, np.float32).reshape(-1))
            columns = [
                pa.array(batch.images, pa.string()),
                pa.array([class_names[each] for each in predicted.tolist()], pa.string()),
                pa.array(np.take_along_axis(batch.probabilities, predicted[:, None], axis=1)[:, 0], pa.float32()),
                pa.array(predicted.astype(np.uint16)),
                pa.FixedSizeListArray.from_arrays(values, len(class_names)),
            ]
            writer.write_table(pa.table(columns, schema=schema))

        yield write
