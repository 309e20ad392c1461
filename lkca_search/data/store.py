"""One decoded copy of a split on each machine, in an Arrow file that every process maps into its memory."""

import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from lkca_search.configuration import ImageShape
from lkca_search.data.decoded import DecodedImages, Split
from lkca_search.data.sources import Source, find_source
from lkca_search.errors import DataError

SCHEMA_VERSION = 1
"""Of the Arrow file. A file of another version is made again."""
_METADATA_KEY = b"lkca_search.images"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One split, mapped from the store: all processes of a machine share its memory, and none can write to it."""

    name: str
    """The dataset as the user wrote it."""
    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0 to 255, read-only; C is 1 (gray) or 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1, read-only."""
    class_names: tuple[str, ...]
    """The name of each label."""
    content_hash: str
    """SHA-256, in hex, of shape, pixels and labels: the dataset's identity, whatever its name."""

    @property
    def shape(self) -> ImageShape:
        """Height and width in pixels, and channels."""
        return ImageShape(*self.pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.labels)


def open_images(dataset: str, split: Split, *, cache: Path, data_dir: Path | None = None) -> Images:
    """Open a split of `dataset` (see `find_source`) from the folder `cache`, decoding it there if nobody has yet.

    Processes that ask at once wait for the one that decodes. DataError if the dataset is missing or malformed,
    or if `cache` cannot be written.
    """
    source = find_source(dataset, data_dir=data_dir)
    path = cache / _file_name(source, split)
    if (images := _map(path, source.name)) is not None:
        return images
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if (images := _map(path, source.name)) is not None:
                return images
            _write(source.read(split), path, source.name, split)
    except OSError as error:
        raise DataError(
            f"decoded images must have a place to be kept, but {cache} cannot take them: {error}"
        ) from error
    _log.info("decoded %s images of %s into %s", split, dataset, path)
    if (images := _map(path, source.name)) is None:
        raise DataError(f"the file of decoded images was changed as soon as it was written ({path})")
    return images


def hash_content(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256, in hex, of the shape, the pixels and the labels."""
    digest = hashlib.sha256(json.dumps(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _file_name(source: Source, split: Split) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", re.split(r"[:/\\]", source.name.rstrip("/"))[-1])
    return f"{slug}-{split}-{hashlib.sha256(source.fingerprint(split).encode()).hexdigest()[:16]}.arrow"


def _write(decoded: DecodedImages, path: Path, name: str, split: Split) -> None:
    num_images, *shape = decoded.pixels.shape
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "split": split,
        "shape": shape,
        "num_images": num_images,
        "class_names": decoded.class_names,
        "class_counts": np.bincount(decoded.labels).tolist(),
        "content_hash": hash_content(decoded.pixels, decoded.labels),
    }
    image_bytes = pa.binary(int(np.prod(shape)))
    buffers = [None, pa.py_buffer(np.ascontiguousarray(decoded.pixels))]
    pixels = pa.FixedSizeBinaryArray.from_buffers(image_bytes, num_images, buffers)
    fields = [pa.field("pixels", image_bytes), pa.field("label", pa.int64())]
    schema = pa.schema(fields, metadata={_METADATA_KEY: json.dumps(metadata).encode()})
    # Under the lock there is one writer, so one name will do, and what a kill left there is overwritten.
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            # One batch: the pixels of all images stay contiguous, so that one array can view them.
            writer.write_batch(pa.record_batch([pixels, pa.array(decoded.labels)], schema=schema))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _map(path: Path, name: str) -> Images | None:
    """Views of the mapped file, or None if there is none that can be trusted."""
    if not path.is_file():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        metadata = json.loads(reader.schema.metadata[_METADATA_KEY])
        if metadata["schema_version"] != SCHEMA_VERSION or reader.num_record_batches != 1:
            return None
        batch = reader.get_batch(0)
        num_images = metadata["num_images"]
        shape = (num_images, *metadata["shape"])
        return Images(
            name=name,
            pixels=np.frombuffer(batch["pixels"].buffers()[1], np.uint8, int(np.prod(shape))).reshape(shape),
            labels=np.frombuffer(batch["label"].buffers()[1], np.int64, num_images),
            class_names=tuple(metadata["class_names"]),
            content_hash=metadata["content_hash"],
        )
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        _log.warning("made again, since it cannot be read: %s (%s)", path, error)
        return None
