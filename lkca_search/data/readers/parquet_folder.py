"""Reader of folders with `train*.parquet` and `test*.parquet`, one encoded image per row."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from lkca_search.data.readers.decoded import DecodedImages, Split, decode_images, name_classes
from lkca_search.data.readers.image_decoder import DECODING_VERSION
from lkca_search.errors import DataError


class ParquetFolder:
    """Source that reads `train*.parquet` and `test*.parquet` in the order of their names.

    Columns:
        image: Encoded bytes that Pillow can decode, or a struct with them in the field `bytes` (Hugging Face).
        label: Integer from 0 to the number of classes - 1.
        label_name: String, plain or dictionary-encoded.
    """

    def __init__(self, *, name: str, folder: Path, image_size: int | None = None) -> None:
        """Set the folder; DataError if it does not exist or has no training files."""
        self.name = name
        self.image_size = image_size
        self._folder = folder
        if not folder.is_dir():
            raise DataError(f"dataset {name!r} must be an existing folder, got {folder}")
        self._files("train")

    def fingerprint(self, split: Split) -> str:
        """Return the version of the decoder, and names, sizes and modification times of the split's files."""
        stats = [(path.name, path.stat()) for path in self._files(split)]
        files = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
        return "\n".join([f"decoding {DECODING_VERSION}", str(self._folder.resolve()), *files])

    def read(self, split: Split) -> DecodedImages:
        """Read and decode every row of a split; DataError with file and row of every image that cannot be."""
        paths = self._files(split)
        tables = [_read_columns(path) for path in paths]
        starts = [0, *accumulate(len(table) for table in tables)]

        def location(row: int) -> str:
            file = bisect_right(starts, row) - 1
            return f"{paths[file]}, row {row - starts[file]}"

        rows = pa.concat_tables(tables)
        if len(rows) == 0:
            raise DataError(f"a split must have at least one image, got none in the {split} files of {self._folder}")
        for column in ("image", "label", "label_name"):
            _check_no_nulls(rows, column, location)
        labels = np.asarray(rows["label"].to_numpy(), dtype=np.int64)
        class_names = name_classes(labels, rows["label_name"].to_pylist(), location=location)
        images = rows["image"]
        pixels, notes = decode_images(
            lambda row: images[row].as_py(), num_images=len(rows), location=location, image_size=self.image_size
        )
        return DecodedImages(pixels=pixels, labels=labels, class_names=class_names, notes=notes)

    def _files(self, split: Split) -> list[Path]:
        paths = sorted(self._folder.glob(f"{split}*.parquet"))
        if not paths:
            raise DataError(f"dataset {self.name!r} must have files {split}*.parquet, found none in {self._folder}")
        return paths


def _read_columns(path: Path) -> Any:
    """Return the three columns as binary, int64 and string."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for name, allowed, rule in _COLUMNS:
                if name not in schema.names:
                    found = ", ".join(schema.names) or "none"
                    raise DataError(f"column {name!r} ({rule}) is missing, got columns {found} ({path})")
                if not allowed(schema.field(name).type):
                    raise DataError(f"column {name!r} must have {rule}, got {schema.field(name).type} ({path})")
            table = file.read([name for name, _, _ in _COLUMNS])
        image = table["image"]
        if pt.is_struct(image.type):
            image = pc.struct_field(image, "bytes")
        columns = [
            image.cast(pa.large_binary()),
            table["label"].cast(pa.int64()),
            table["label_name"].cast(pa.large_string()),
        ]
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"file cannot be read as Parquet: {reason} ({path})") from error
    return pa.table(columns, names=["image", "label", "label_name"])


def _is_bytes(kind: Any) -> bool:
    if pt.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def _is_text(kind: Any) -> bool:
    if pt.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


_COLUMNS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("image", _is_bytes, "encoded bytes, or a struct with field `bytes`"),
    ("label", pt.is_integer, "integers"),
    ("label_name", _is_text, "strings"),
)


def _check_no_nulls(rows: Any, column: str, location: Callable[[int], str]) -> None:
    if rows[column].null_count:
        row = int(np.argmax(rows[column].is_null().to_numpy()))
        raise DataError(f"column {column!r} must have a value in every row, got null ({location(row)})")
