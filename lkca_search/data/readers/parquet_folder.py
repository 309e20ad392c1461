"""Reader of folders with `train*.parquet` and `test*.parquet`, one encoded image per row."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import (
    DecodedImages,
    ListedLabels,
    Split,
    check_same_classes,
    decode_images,
    name_classes,
)
from lkca_search.data.readers.image_decoder import DECODING_VERSION, MAX_PIXELS
from lkca_search.data.readers.source_files import check_folder, check_regular, fingerprint_files, show_path
from lkca_search.errors import DataError


class ParquetFolder:
    """Source that reads `train*.parquet` and `test*.parquet` in the order of their names.

    Columns:
        image: Encoded bytes that Pillow can decode, or a struct with them in the field `bytes` (Hugging Face).
        label: Integer from 0 to the number of classes - 1.
        label_name: String.

    Each may be dictionary-encoded, as pandas and Hugging Face write repeated values.
    """

    def __init__(
        self, *, name: str, folder: Path, image_size: int | None = None, max_pixels: int | None = None
    ) -> None:
        """Set the folder; DataError if it does not exist or has no training files."""
        self.name = name
        self.image_size = image_size
        self._max_pixels = max_pixels or MAX_PIXELS
        self._folder = folder
        check_folder(name, folder, is_readable=lambda path: any(path.glob("train*.parquet")))
        self._files("train")

    def fingerprint(self, split: Split) -> str:
        """Return the version of the decoder, and names, sizes and modification times of the split's files."""
        files = [show_path(line) for line in fingerprint_files(self._files(split))]
        return "\n".join([f"decoding {DECODING_VERSION}", show_path(self._folder.resolve()), *files])

    def count(self, split: Split) -> int:
        """Return the number of rows of a split, from the footers of its files."""
        return sum(map(_count_rows, self._files(split)))

    def list_labels(self) -> ListedLabels:
        """Return the labels of `train`. The column `image` is not read."""
        return ListedLabels(*_read_classes(*self._read_rows("train", ("label", "label_name"))))

    def read(self, split: Split) -> DecodedImages:
        """Read and decode every row of a split; DataError with file and row of every image that cannot be."""
        rows, location = self._read_rows(split, ("image", "label", "label_name"))
        labels, class_names = _read_classes(rows, location)
        images = rows["image"]
        pixels, notes = decode_images(
            lambda row: images[row].as_py(),
            listed=ListedLabels(labels, class_names),
            location=location,
            image_size=self.image_size,
            max_pixels=self._max_pixels,
        )
        return DecodedImages(pixels=pixels, labels=labels, class_names=class_names, notes=notes)

    def locate(self, split: Split) -> Callable[[int], str] | None:
        """Return a function from the row of an image to its file and the row there; None if the split is one file."""
        paths = self._files(split)
        return _locator(paths, [_count_rows(path) for path in paths]) if len(paths) > 1 else None

    def check_test_classes(self) -> None:
        """Raise DataError unless `test` has the classes of `train`. The column `image` is not read."""
        train, test = (
            _read_classes(*self._read_rows(split, ("label", "label_name")))[1] for split in ("train", "test")
        )
        check_same_classes(train, test, self.name)

    def _read_rows(self, split: Split, columns: Sequence[str]) -> tuple[Any, Callable[[int], str]]:
        """Return columns of all files of a split, without nulls, and a function that returns file and row of a row."""
        paths = self._files(split)
        tables = [_read_columns(path, columns) for path in paths]
        location = _locator(paths, [len(table) for table in tables])
        rows = pa.concat_tables(tables)
        if len(rows) == 0:
            raise DataError(f"a split must have at least one image, got none in the {split} files of {self._folder}")
        for column in columns:
            _check_no_nulls(rows, column, location)
        return rows, location

    def _files(self, split: Split) -> list[Path]:
        paths = sorted(self._folder.glob(f"{split}*.parquet"))
        if not paths:
            raise DataError(f"dataset {self.name!r} must have files {split}*.parquet, found none in {self._folder}")
        return paths


def _locator(paths: Sequence[Path], num_rows: Sequence[int]) -> Callable[[int], str]:
    """Return a function from the row in a split to the file and the row in it."""
    starts = [0, *accumulate(num_rows)]

    def location(row: int) -> str:
        file = bisect_right(starts, row) - 1
        return f"{show_path(paths[file])}, row {row - starts[file]}"

    return location


def read_image_column(path: Path) -> Iterator[bytes]:
    """Yield the encoded images of a Parquet file in the order of its rows; one row group is in memory at a time.

    Raises:
        DataError: The file cannot be read, the column `image` breaks a rule, or a row has no image.
    """
    row = 0
    try:
        check_regular(path)
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            _check_schema(file.schema_arrow, path, _COLUMNS[:1])
            for group in range(file.num_row_groups):
                for image in _image_bytes(file.read_row_group(group, columns=["image"])["image"]):
                    if (data := image.as_py()) is None:
                        rule = "column 'image' must have a value in every row"
                        raise DataError(f"{rule}, got null ({show_path(path)}, row {row})")
                    yield data
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, path) from error


def _image_bytes(image: Any) -> Any:
    """Return the column `image` as encoded bytes."""
    image = _decode_dictionary(image)
    if pt.is_struct(image.type):
        image = _decode_dictionary(pc.struct_field(image, "bytes"))
    return image.cast(pa.large_binary())


def _unreadable(error: Exception, path: Path) -> DataError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return DataError(f"file cannot be read as Parquet: {reason} ({show_path(path)})")


def _count_rows(path: Path) -> int:
    try:
        check_regular(path)
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, path) from error


def _read_classes(rows: Any, location: Callable[[int], str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the label of each row, and the class name of each label."""
    labels = np.asarray(rows["label"].to_numpy(), dtype=np.int64)
    return labels, name_classes(labels, rows["label_name"].to_pylist(), location=location)


def _read_columns(path: Path, names: Sequence[str]) -> Any:
    """Return columns of a file: images as binary, labels as int64 and their names as string. All are checked."""
    try:
        check_regular(path)
        # Opened here, since pyarrow refuses a name that is not UTF-8.
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            _check_schema(file.schema_arrow, path, _COLUMNS)
            table = _read_table(file, names)
        columns = [_plain_column(table[name], name, path) for name in names]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, path) from error
    return pa.table(columns, names=names)


def _plain_column(column: Any, name: str, path: Path) -> Any:
    """Return a column as binary, int64 or string, by its name."""
    if name == "image":
        return _image_bytes(column)
    if name == "label":
        return _to_int64(_decode_dictionary(column), path)
    texts = _decode_dictionary(column).cast(pa.large_string())
    texts.validate(full=True)  # text that is not UTF-8
    return texts


def _read_table(file: Any, names: Sequence[str]) -> Any:
    """Return the columns with these names. Row groups are read one by one: Arrow cannot join structs of several."""
    groups = [file.read_row_group(i, columns=names) for i in range(file.num_row_groups)]
    return pa.concat_tables([file.schema_arrow.empty_table().select(names), *groups])


_Column = tuple[str, Callable[[Any], bool], str]
"""Name, test of the type, and rule of a column."""


def _check_schema(schema: Any, path: Path, columns: Sequence[_Column]) -> None:
    for name, is_allowed, rule in columns:
        if (count := schema.names.count(name)) > 1:
            raise DataError(f"column {name!r} must occur once, got {count} of this name ({show_path(path)})")
        if count == 0:
            found = ", ".join(schema.names) or "none"
            raise DataError(f"column {name!r} ({rule}) is missing, got columns {found} ({show_path(path)})")
        if not is_allowed(kind := schema.field(name).type):
            raise DataError(f"column {name!r} must have {rule}, got {kind} ({show_path(path)})")


def _decode_dictionary(column: Any) -> Any:
    """Return a chunked array with the values in place of their indices in a dictionary."""
    if not pt.is_dictionary(column.type):
        return column
    return pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], type=column.type.value_type)


def _to_int64(labels: Any, path: Path) -> Any:
    try:
        return labels.cast(pa.int64())
    except pa.ArrowInvalid as error:
        rule = "column 'label' must have integers from 0 to the number of classes - 1"
        raise DataError(f"{rule}, got {pc.max(labels)} ({show_path(path)})") from error


def _is_image(kind: Any) -> bool:
    kind = _value_type(kind)
    if pt.is_struct(kind):  # the index of a field that occurs twice is -1
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    kind = _value_type(kind)
    is_fixed = pt.is_fixed_size_binary(kind)  # bytes after the end of an image are not decoded
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind) or is_fixed)


def _is_integer(kind: Any) -> bool:
    return bool(pt.is_integer(_value_type(kind)))


def _is_text(kind: Any) -> bool:
    kind = _value_type(kind)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _value_type(kind: Any) -> Any:
    return kind.value_type if pt.is_dictionary(kind) else kind


_COLUMNS: tuple[_Column, ...] = (
    ("image", _is_image, "encoded bytes, or a struct with field `bytes`"),
    ("label", _is_integer, "integers"),
    ("label_name", _is_text, "strings"),
)


def _check_no_nulls(rows: Any, column: str, location: Callable[[int], str]) -> None:
    if rows[column].null_count:
        row = int(np.argmax(rows[column].is_null().to_numpy()))
        raise DataError(f"column {column!r} must have a value in every row, got null ({location(row)})")
