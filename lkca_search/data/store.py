"""Store of decoded images: one Arrow file per split and machine, memory-mapped by every process."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lkca_search.data.readers.decoded import DecodedImages, Note, Split, check_num_classes
from lkca_search.data.readers.download_cache import Progress, no_progress
from lkca_search.data.sources import Source, find_source, readable
from lkca_search.environment.locks import hold_file_lock, partial_path
from lkca_search.errors import DataError
from lkca_search.faults import explain_fault
from lkca_search.file_names import MAX_NAME_BYTES, shorten_name
from lkca_search.layout import cache_variable
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.configuration import ImageShape

SPLITS: tuple[Split, ...] = get_args(Split)
"""All splits, train first."""
METADATA_KEY = b"lkca_search.images/2"
"""Metadata key of the `StoredSplit` in a file, with the format's version. Files of other versions are replaced."""
STATISTICS_CHUNK_IMAGES = 4096
_LONGEST_ENDING = ".4194304.partial"
"""Longest ending of the file that is written before it is renamed: a process may have the highest number of Linux."""
_log = logging.getLogger(__name__)


class StoredSplit(FrozenModel):
    """Metadata of a stored split, kept in its file."""

    dataset: str
    """Name of the dataset as the user wrote it."""
    split: Split
    """Split of the dataset."""
    source: str
    """Fingerprint of the source."""
    image_size: int | None
    """Requested height and width in pixels; None if the images keep their size."""
    shape: tuple[int, int, int]
    """Height and width in pixels, and number of channels."""
    num_images: int
    """Number of images."""
    class_names: tuple[str, ...]
    """Class name of each label."""
    class_counts: tuple[int, ...]
    """Number of images of each label."""
    num_converted: int
    """Number of gray images converted to RGB, in a split with color images."""
    mean: tuple[float, ...]
    """Mean of each channel over the split, on the scale 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel over the split, on the scale 0 to 1."""
    content_hash: str
    """SHA-256 in hex of shape, pixels and labels."""
    notes: tuple[Note, ...] = ()
    """Converted images and skipped files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Memory-mapped split. All processes of a machine share its memory; it is read-only."""

    name: str
    """Name of the dataset as the user wrote it."""
    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0 to 255, read-only; C is 1 (gray) or 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), 0 to the number of classes - 1, read-only."""
    class_names: tuple[str, ...]
    """Class name of each label."""
    content_hash: str
    """SHA-256 in hex of shape, pixels and labels: the identity of the dataset, whatever its name."""

    @property
    def shape(self) -> ImageShape:
        """Height and width in pixels, and number of channels."""
        return ImageShape(*self.pixels.shape[1:])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


def open_images(
    dataset: str,
    split: Split,
    *,
    cache: Path,
    data_dir: Path | None = None,
    image_size: int | None = None,
    max_pixels: int | None = None,
    verify: bool = False,
    progress: Progress = no_progress,
) -> Images:
    """Open a split of `dataset` (see `find_source`) from the folder `cache`; decode it into `cache` first if needed.

    `max_pixels` has no effect on images that are decoded already. With `verify`, a file whose pixels differ from their
    hash is decoded again; this reads the whole file, at about 1 GB per second. Labels are compared in any case.

    Other processes that open it at the same time wait until it is decoded.

    Raises:
        DataError: The dataset is missing or malformed, or `cache` cannot be written.
    """
    source = find_source(
        dataset, data_dir=data_dir, cache=cache, image_size=image_size, max_pixels=max_pixels, progress=progress
    )
    path = cache / _file_name(source, split)
    if (images := _map(path, source.name, verify=verify)) is not None:
        return images
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with hold_file_lock(path.with_name(f"{path.name}.lock")) as is_locked:
            if (images := _map(path, source.name, verify=verify)) is not None:
                return images
            with readable(source.name):
                decoded = source.read(split)
                if split == "train":  # the others are compared with it
                    check_num_classes(decoded.class_names, source.name)
            _write(decoded, path, source, split, partial_path(path, is_locked=is_locked))
    except OSError as error:
        rule = f"{cache_variable()} must be a folder that can be written"
        raise DataError(f"{rule}, got {cache}: {explain_fault(error)}") from error
    _log.info("decoded %s images of %s into %s", split, dataset, path)
    if (images := _map(path, source.name)) is None:
        raise DataError(f"the file of decoded images was changed or removed while it was opened ({path})")
    return images


def find_stored(
    dataset: str, split: Split, *, cache: Path, data_dir: Path | None = None, image_size: int | None = None
) -> StoredSplit | None:
    """Return the metadata of a stored split for the dataset's current files and this size; None if it is not stored."""
    source = find_source(dataset, data_dir=data_dir, cache=cache, image_size=image_size)
    stored = _read(cache / _file_name(source, split))
    return None if stored is None else stored[0]


def find_by_hash(content_hash: str, split: Split, *, cache: Path) -> Images | None:
    """Return a stored split by the hash of its content, whatever its name and source; None if `cache` has none."""
    for path in sorted(cache.glob(f"*-{split}-*.arrow")):
        if (content := _read(path)) is not None and content[0].content_hash == content_hash:
            return _map(path, content[0].dataset)
    return None


def list_stored(cache: Path) -> Iterator[tuple[Path, StoredSplit]]:
    """Yield path and metadata of each stored split, without a look at its images. Damaged files are left out."""
    for path in sorted(cache.glob("*.arrow")):
        try:
            with pa.memory_map(str(path)) as file:
                metadata = pa.ipc.open_file(file).schema.metadata[METADATA_KEY]
            yield path, StoredSplit.model_validate_json(metadata)
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError):
            continue


def hash_content(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 in hex of shape, pixels and labels."""
    digest = hashlib.sha256(json.dumps(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _file_name(source: Source, split: Split) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", re.split(r"[:/\\]", source.name.rstrip("/"))[-1])
    with readable(source.name):
        identity = f"{source.fingerprint(split)}\nimage size {source.image_size}"
    suffix = f"-{split}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.arrow"
    return shorten_name(slug, max_bytes=MAX_NAME_BYTES - len(f"{suffix}{_LONGEST_ENDING}")) + suffix


def _describe(decoded: DecodedImages, source: Source, split: Split) -> StoredSplit:
    height, width, channels = decoded.pixels.shape[1:]
    mean, std = _channel_statistics(decoded.pixels)
    return StoredSplit(
        dataset=source.name,
        split=split,
        source=source.fingerprint(split),
        image_size=source.image_size,
        shape=(height, width, channels),
        num_images=len(decoded.labels),
        class_names=decoded.class_names,
        class_counts=tuple(np.bincount(decoded.labels).tolist()),
        num_converted=decoded.num_converted,
        mean=mean,
        std=std,
        content_hash=hash_content(decoded.pixels, decoded.labels),
        notes=decoded.notes,
    )


def _channel_statistics(pixels: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, from exact counts of the 256 values."""
    channels = pixels.shape[3]
    counts = np.zeros((channels, 256))
    for start in range(0, len(pixels), STATISTICS_CHUNK_IMAGES):  # bincount needs 8 bytes per value
        chunk = pixels[start : start + STATISTICS_CHUNK_IMAGES].reshape(-1, channels)
        counts += [np.bincount(values, minlength=256) for values in chunk.T]
    levels = np.arange(256) / 255
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(1))
    return tuple(mean.tolist()), tuple(std.tolist())


def _write(decoded: DecodedImages, path: Path, source: Source, split: Split, partial: Path) -> None:
    stored = _describe(decoded, source, split)
    image_bytes = pa.binary(int(np.prod(stored.shape)))
    buffers = [None, pa.py_buffer(np.ascontiguousarray(decoded.pixels))]
    pixels = pa.FixedSizeBinaryArray.from_buffers(image_bytes, stored.num_images, buffers)
    fields = [pa.field("pixels", image_bytes), pa.field("label", pa.int64())]
    schema = pa.schema(fields, metadata={METADATA_KEY: stored.model_dump_json().encode()})
    with partial.open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            # One batch keeps the pixels of all images contiguous, for one NumPy view.
            writer.write_batch(pa.record_batch([pixels, pa.array(decoded.labels)], schema=schema))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _map(path: Path, name: str, *, verify: bool = False) -> Images | None:
    """Return views of the mapped file, or None if it is missing or damaged."""
    if (content := _read(path, verify=verify)) is None:
        return None
    stored, pixels, labels = content
    return Images(
        name=name, pixels=pixels, labels=labels, class_names=stored.class_names, content_hash=stored.content_hash
    )


def _read(path: Path, *, verify: bool = False) -> tuple[StoredSplit, NDArray[np.uint8], NDArray[np.int64]] | None:
    """Return the metadata of a file, and views of its pixels and labels; None if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        stored = StoredSplit.model_validate_json(reader.schema.metadata[METADATA_KEY])
        batch = reader.get_batch(0)
        if (rows := batch.num_rows) != stored.num_images or reader.num_record_batches != 1:
            raise ValueError(f"{reader.num_record_batches} batches, {rows} rows in the first")
        shape = (stored.num_images, *stored.shape)
        pixels = np.frombuffer(batch["pixels"].buffers()[1], np.uint8, int(np.prod(shape))).reshape(shape)
        labels = np.frombuffer(batch["label"].buffers()[1], np.int64, stored.num_images)
        num_classes = len(stored.class_names)
        known = labels[(labels >= 0) & (labels < num_classes)]  # bincount allocates memory up to the largest label
        if tuple(np.bincount(known, minlength=num_classes).tolist()) != stored.class_counts:
            raise ValueError("the labels differ from the number of images of each class")
        if verify and hash_content(pixels, labels) != stored.content_hash:
            raise ValueError("the images differ from their hash")
        return stored, pixels, labels
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        _log.warning("%s is damaged and will be decoded again: %s", path, error)
        return None
