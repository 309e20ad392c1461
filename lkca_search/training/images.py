"""Training images of a space file's dataset, and the folders of datasets on a machine."""

from dataclasses import dataclass
from pathlib import Path

from lkca_search.data.readers.download_cache import Progress, no_progress
from lkca_search.data.store import Images, open_images
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
    return open_images(
        data.dataset,
        "train",
        cache=data_dirs.cache,
        data_dir=data_dirs.data_dir,
        image_size=data.image_size,
        max_pixels=data.max_pixels,
        verify=verify,
        progress=progress,
    )
