"""List of datasets, and the parts of each that are on this machine."""

from pathlib import Path

from lkca_search.data.catalog import CATALOG
from lkca_search.data.readers.decoded import Split
from lkca_search.data.sources import check_data_dir, parquet_names
from lkca_search.data.store import SPLITS, find_stored
from lkca_search.errors import DataError
from lkca_search.spec.base import FrozenModel


class ListedDataset(FrozenModel):
    """Dataset with a name: an entry of the catalog or a folder of LKCA_DATA_DIR."""

    name: str
    """Name in a space file."""
    num_classes: int | None
    """Number of classes as published; None for a folder of the user. The same holds for the next four fields."""
    num_train: int | None
    """Number of training images."""
    num_test: int | None
    """Number of test images."""
    image_size: int | None
    """Height and width in pixels."""
    citation: str | None
    """Citation, and the license if it is known."""
    found: str
    """Files that it is read from; empty if it has to be downloaded."""
    prepared: dict[Split, int]
    """Number of images of each split that is decoded at its own size."""


def list_datasets(*, cache: Path, data_dir: Path | None) -> list[ListedDataset]:
    """Return the catalog, then the folders of `data_dir` with Parquet files under another name.

    Raises DataError if `data_dir` cannot be read.
    """
    if data_dir is not None:
        check_data_dir(data_dir)
    return [_describe(name, cache, data_dir) for name in dict.fromkeys([*CATALOG, *parquet_names(data_dir)])]


def _describe(name: str, cache: Path, data_dir: Path | None) -> ListedDataset:
    entry = CATALOG.get(name)
    try:
        stored = {split: find_stored(name, split, cache=cache, data_dir=data_dir) for split in SPLITS}
    except DataError:  # a folder without test files is listed as well
        stored = {}
    return ListedDataset(
        name=name,
        num_classes=entry.num_classes if entry else None,
        num_train=entry.num_train if entry else None,
        num_test=entry.num_test if entry else None,
        image_size=entry.image_size if entry else None,
        citation=entry.citation if entry else None,
        found=_describe_files(name, cache, data_dir),
        prepared={split: metadata.num_images for split, metadata in stored.items() if metadata is not None},
    )


def _describe_files(name: str, cache: Path, data_dir: Path | None) -> str:
    if name in parquet_names(data_dir):
        return "Parquet"
    if not (patterns := CATALOG[name].files):
        return "bundled"
    folders = [cache / "downloads" / name, *([data_dir / name] if data_dir else [])]
    return ", ".join(sorted({path.name for folder in folders for pattern in patterns for path in folder.glob(pattern)}))
