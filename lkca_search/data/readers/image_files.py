"""Images to classify: files, folders of files, and Parquet files, one encoded image at a time."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from lkca_search.data.readers.parquet_folder import read_image_column
from lkca_search.data.readers.source_files import read_file, show_path
from lkca_search.errors import DataError

_PARQUET = ".parquet"


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """Image before it is decoded."""

    location: str
    """File, and row of a Parquet file; the name of the image in every output."""
    read: Callable[[], bytes]
    """Function that returns the encoded bytes; OSError if the file cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Files of images that were found, before one is opened."""

    paths: tuple[Path, ...]
    """Image files and Parquet files, in the order of the request; those of a folder are sorted."""
    skipped: tuple[Path, ...]
    """Files of folders that are no image by their name."""

    def images(self) -> Iterator[EncodedImage]:
        """Yield every image; of a Parquet file, one row group is in memory at a time.

        Raises:
            DataError: A Parquet file cannot be read, or has no column of images.
        """
        for path in self.paths:
            name = show_path(path)
            if path.suffix.lower() != _PARQUET:
                yield EncodedImage(location=name, read=lambda path=path: read_file(path))  # type: ignore[misc]
                continue
            for row, data in enumerate(read_image_column(path)):
                yield EncodedImage(location=f"{name}, row {row}", read=lambda data=data: data)  # type: ignore[misc]


def find_image_files(requested: Sequence[str]) -> ImageFiles:
    """Find the image and Parquet files at these paths, and in folders and their subfolders.

    A file that is named itself is always taken. Of a folder, files are taken by the endings that Pillow reads
    (.png, .jpg, ...) and .parquet. Hidden files and folders are left out.

    Raises:
        DataError: A path does not exist, or a folder has no image. The message lists all of them.
    """
    paths: list[Path] = []
    skipped: list[Path] = []
    faults = []
    for path in map(Path, requested):
        name = show_path(path)
        if path.is_dir():
            found = list(_walk(path))
            taken = [each for each in found if each.suffix.lower() in _endings()]
            paths += taken
            skipped += [each for each in found if each.suffix.lower() not in _endings()]
            if not taken:
                faults.append(
                    f"a folder must have at least one image, such as .png, .jpg or .parquet, got none in {name}"
                )
        elif path.exists():
            paths.append(path)
        else:
            faults.append(f"an image must be a file, a folder or a Parquet file, got {name}, which does not exist")
    if faults:
        raise DataError(*faults)
    return ImageFiles(paths=tuple(paths), skipped=tuple(skipped))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted, without hidden ones. Links to folders are not followed."""

    def fail(error: OSError) -> None:
        raise DataError(f"folder cannot be read: {error.strerror} ({show_path(error.filename)})") from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


@cache
def _endings() -> frozenset[str]:
    """Return the endings of image files, in lower case, and of Parquet files."""
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    return frozenset(readable | {_PARQUET})
