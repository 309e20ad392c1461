"""Training images of a space file's dataset, and the folders of datasets on a machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lkca_search.data.readers.decoded import Split
from lkca_search.data.readers.download_cache import Progress, no_progress
from lkca_search.data.sources import find_source, readable
from lkca_search.data.store import Images, open_images
from lkca_search.errors import DataError
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection


@dataclass(frozen=True, kw_only=True)
class DataDirs:
    """Folders of images on one machine."""

    cache: Path
    """Folder of decoded datasets."""
    data_dir: Path | None
    """Folder of datasets by name: LKCA_DATA_DIR."""


def open_train_images(
    data: DataSection, data_dirs: DataDirs, *, verify: bool = False, progress: Progress = no_progress
) -> Images:
    """Open the training split of a space file's dataset; download and decode it first if needed.

    With `verify`, damaged pixels are found too (see `open_images`).

    Raises:
        DataError: The dataset is unknown, or cannot be downloaded or decoded.
    """
    return open_split(data, data_dirs, "train", verify=verify, progress=progress)


def open_split(
    data: DataSection, data_dirs: DataDirs, split: Split, *, verify: bool = False, progress: Progress = no_progress
) -> Images:
    """Open a split of a space file's dataset by itself; arguments and errors as in `open_train_images`."""
    return open_images(
        data.place_of(None),
        split,
        cache=data_dirs.cache,
        data_dir=data_dirs.data_dir,
        image_size=data.image_size,
        max_pixels=data.max_pixels,
        verify=verify,
        progress=progress,
    )


def open_all_train_images(
    spec: SearchSpec, data_dirs: DataDirs, *, verify: bool = False, progress: Progress = no_progress
) -> Mapping[str | None, Images]:
    """Open the training split of each dataset of a search, by its level of the factor `dataset`.

    The level is None in a search without this factor. Other arguments as in `open_train_images`.

    Raises:
        DataError: A dataset is unknown, or cannot be downloaded or decoded.
    """
    return {
        level: open_train_images(part.data, data_dirs, verify=verify, progress=progress)
        for level, part in specs_by_dataset(spec).items()
    }


def check_test_classes(spec: SearchSpec, data_dirs: DataDirs) -> None:
    """Check that each dataset of a search with a confirmation has test images of its classes, and decode none.

    A folder of images is listed, and of Parquet files the labels are read. Official files are checked by their hashes
    when they are read, and your own code is not called.

    Raises:
        DataError: A test split is missing, or has other classes than the training split.
    """
    if spec.confirm is None:
        return
    for part in specs_by_dataset(spec).values():
        place = part.data.place_of(None)
        source = find_source(place, data_dir=data_dirs.data_dir, cache=data_dirs.cache)
        try:
            with readable(place):
                source.check_test_classes()
        except DataError as error:
            raise DataError(f"{error}; add them, or remove the section confirm, which needs test images") from error
