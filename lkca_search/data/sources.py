"""Sources of images: catalog entries, folders of LKCA_DATA_DIR, `parquet:PATH`, `folder:PATH` and your own code."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lkca_search.data.catalog import CATALOG, CatalogSource
from lkca_search.data.readers.decoded import DecodedImages, ListedLabels, Split
from lkca_search.data.readers.download_cache import DownloadCache, Progress, no_progress
from lkca_search.data.readers.image_folder import ImageFolder
from lkca_search.data.readers.own_dataset import OwnDataset
from lkca_search.data.readers.parquet_folder import ParquetFolder
from lkca_search.data.readers.source_files import show_path
from lkca_search.errors import DataError, did_you_mean, find_closest
from lkca_search.own_code import is_dotted
from lkca_search.user import expand_user


class Source(Protocol):
    """Dataset whose splits can be read."""

    name: str
    """Name of the dataset as the user wrote it."""
    image_size: int | None
    """Height and width to resize every image to; None to keep the size."""

    def fingerprint(self, split: Split) -> str:
        """Return a text that changes if the images may have changed; no image is read."""

    def count(self, split: Split) -> int | None:
        """Return the number of images of a split without decoding one; None if only `read` finds it."""

    def list_labels(self) -> ListedLabels | None:
        """Return the labels of `train` without decoding an image; None if only `read` finds them."""

    def read(self, split: Split) -> DecodedImages:
        """Decode a split; DataError with file and row of the first fault."""

    def locate(self, split: Split) -> Callable[[int], str] | None:
        """Return a function from the row of an image to its file; None if the row in the split is its only place."""

    def check_test_classes(self) -> None:
        """Raise DataError if `test` is missing or has other classes than `train`, where this takes no image."""


_FOLDERS: dict[str, type[ParquetFolder] | type[ImageFolder]] = {"parquet": ParquetFolder, "folder": ImageFolder}
"""Reader of each KIND in KIND:PATH."""


def find_source(
    dataset: str,
    *,
    data_dir: Path | None,
    cache: Path,
    image_size: int | None = None,
    max_pixels: int | None = None,
    progress: Progress = no_progress,
) -> Source:
    """Return the source of `dataset`: `parquet:PATH`, `folder:PATH` or a NAME. Nothing is downloaded yet.

    `image_size` is the side to resize images to, and `max_pixels` the most pixels that an encoded image may have.
    A NAME with Parquet files in `data_dir`/NAME is read from there. Otherwise it must be in the catalog, or the dotted
    path of a function of your own. Official files are searched in `data_dir`/NAME, then in `cache`/downloads/NAME, and
    downloaded to the latter when read.

    Raises:
        DataError: The dataset is unknown, or its folder or `data_dir` cannot be read. The message lists the known
            datasets and where to put files.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1 pixel, got {image_size}")
    with readable(dataset):
        return _find_source(
            dataset,
            data_dir=data_dir,
            cache=cache,
            options={"image_size": image_size, "max_pixels": max_pixels},
            progress=progress,
        )


@contextmanager
def readable(dataset: str) -> Iterator[None]:
    """Raise DataError in place of an OSError of the block, which reads files of a dataset."""
    try:
        yield
    except OSError as error:
        path = f" ({show_path(error.filename)})" if error.filename else ""
        reason = error.strerror or error
        raise DataError(f"dataset {show_path(dataset)!r} cannot be read: {reason}{path}") from error


def _find_source(
    dataset: str, *, data_dir: Path | None, cache: Path, options: Mapping[str, int | None], progress: Progress
) -> Source:
    kind, colon, path = dataset.partition(":")
    if colon and kind in _FOLDERS:
        if not path:
            raise DataError(f"{kind}:PATH must name a folder, got {dataset!r}")
        check_utf8(path)
        return _FOLDERS[kind](name=dataset, folder=expand_user(path), **options)
    if (meant := _close_kind(dataset)) is not None:
        raise DataError(f"dataset must be a name, folder:PATH or parquet:PATH, got {dataset!r}; did you mean {meant}?")
    if Path(dataset).name != dataset:
        kind = kind_of_folder(Path(dataset)) or "parquet"
        raise DataError(
            f"dataset must be a name, not a path, got {dataset!r}; write {kind}:{dataset} to read that folder"
        )
    if data_dir is not None and not (dataset in CATALOG and CATALOG[dataset].is_bundled):
        check_data_dir(data_dir)
    if data_dir is not None and dataset in parquet_names(data_dir):
        return ParquetFolder(name=dataset, folder=data_dir / dataset, **options)
    if dataset not in CATALOG and is_dotted(dataset):
        return OwnDataset(name=dataset, home=cache / "downloads" if data_dir is None else data_dir, **options)
    if dataset not in CATALOG:
        raise DataError(_unknown(dataset, data_dir))
    user_folder = None if data_dir is None else data_dir / dataset
    downloads = DownloadCache(
        dataset=dataset, user_folder=user_folder, folder=cache / "downloads" / dataset, progress=progress
    )
    return CatalogSource(name=dataset, downloads=downloads, image_size=options["image_size"])


def _close_kind(dataset: str) -> str | None:
    """Return KIND:PATH for a dataset such as `Folder:photos` or `folder=photos`; None for one of another form."""
    kind, sign, path = dataset.partition(min(":=", key=lambda sign: (dataset + sign).index(sign)))
    close = find_closest(kind, _FOLDERS) if sign and path and kind else None
    return None if close is None else f"{close}:{path}"


def is_path(dataset: str) -> bool:
    """Return True for `parquet:PATH` and `folder:PATH`."""
    return dataset.partition(":")[0] in _FOLDERS and ":" in dataset


def locate_dataset(dataset: str, *, started: str | None = None) -> str:
    """Return `dataset` with an absolute path, if it has a path.

    Args:
        dataset: Dataset in a space file.
        started: Dataset that the search was started with. A relative path means the same folder if that exists and
            its path ends in the same way; otherwise it is relative to the working directory.
    """
    if not is_path(dataset):
        return dataset
    kind, _, text = dataset.partition(":")
    path = expand_user(text)
    if started is not None and not path.is_absolute() and is_path(started):
        started_kind, _, started_text = started.partition(":")
        named = [part for part in Path(os.path.normpath(path)).parts if part != ".."]
        is_same = kind == started_kind and named and list(Path(started_text).parts[-len(named) :]) == named
        if is_same and Path(started_text).is_absolute() and Path(started_text).is_dir():
            return started
    check_utf8(os.path.abspath(path))
    return f"{kind}:{os.path.abspath(path)}"


def kind_of_folder(path: Path) -> str | None:
    """Return `parquet` or `folder` for an existing folder, by its files; None for any other path."""
    if not path.is_dir():
        return None
    return "parquet" if any(path.glob("*.parquet")) else "folder"


def check_utf8(path: str) -> None:
    """Raise DataError if a path has bytes that are not UTF-8; specs and stored images name the dataset in UTF-8."""
    if show_path(path) != path:
        rule = "the path of a dataset must be UTF-8"
        raise DataError(f"{rule}, got {show_path(path)}: rename the folder, or make a link to it")


def parquet_names(data_dir: Path | None) -> tuple[str, ...]:
    """Return the folders of `data_dir` with files `train*.parquet`, except those whose names are not UTF-8."""
    names = {path.parent.name for path in data_dir.glob("*/train*.parquet")} if data_dir else ()
    return tuple(sorted(name for name in names if show_path(name) == name))


def check_data_dir(data_dir: Path) -> None:
    """Raise DataError unless LKCA_DATA_DIR is a folder that can be read; a dataset would be downloaded instead."""
    if not (data_dir.is_dir() and os.access(data_dir, os.R_OK | os.X_OK)):
        problem = "cannot be read" if data_dir.is_dir() else "is a file" if data_dir.exists() else "does not exist"
        raise DataError(
            f"LKCA_DATA_DIR must be a folder with one folder per dataset, got {data_dir}, which {problem}; correct it, "
            "mount its disk, or unset it to download published datasets"
        )


def _unknown(dataset: str, data_dir: Path | None) -> str:
    names = dict.fromkeys([*CATALOG, *parquet_names(data_dir)])
    if (kind := kind_of_folder(Path(dataset))) is not None:
        place = os.path.abspath(dataset)
        return f"unknown dataset {dataset!r}; did you mean {kind}:{dataset}? It is the folder {place}"
    rule = f"unknown dataset {dataset!r}{did_you_mean(dataset, names)}"
    known = f"{rule}; known datasets: {', '.join(names)}, parquet:PATH, folder:PATH and module.function"
    files = "train*.parquet and test*.parquet"
    if data_dir is None:
        return f"{known}; for your own data, set LKCA_DATA_DIR to the folder with {dataset}/ and put {files} there"
    return f"{known}; for your own data, put {files} into {data_dir / dataset}, or set LKCA_DATA_DIR to another folder"
