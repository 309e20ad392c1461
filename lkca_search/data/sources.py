"""Where images come from: a name of the catalogue, a folder of LKCA_DATA_DIR, `parquet:PATH` or `folder:PATH`."""

from pathlib import Path
from typing import Protocol

from lkca_search.data.catalog import CATALOG, CatalogSource
from lkca_search.data.readers.decoded import DecodedImages, Split
from lkca_search.data.readers.download_cache import DownloadCache, Progress
from lkca_search.data.readers.image_folder import ImageFolder
from lkca_search.data.readers.parquet_folder import ParquetFolder
from lkca_search.errors import DataError


class Source(Protocol):
    """A dataset that can be read, split by split."""

    name: str
    """The dataset as the user wrote it."""
    image_size: int | None
    """Height and width that every image is given; None where all have one size and keep it."""

    def fingerprint(self, split: Split) -> str:
        """A text that costs little, says where the images are from, and changes when they may have changed."""

    def read(self, split: Split) -> DecodedImages:
        """Decode the whole split; DataError names the file and row of what is wrong."""


_FOLDERS: dict[str, type[ParquetFolder] | type[ImageFolder]] = {"parquet": ParquetFolder, "folder": ImageFolder}
"""What reads KIND:PATH."""


def find_source(
    dataset: str,
    *,
    data_dir: Path | None,
    cache: Path,
    image_size: int | None = None,
    progress: Progress = lambda file, received, total: None,
) -> Source:
    """Return the source that `dataset` names: `parquet:PATH`, `folder:PATH` or a NAME; nothing is downloaded yet.

    A NAME with Parquet in `data_dir`/NAME is read from there. Else it is one of the catalogue, whose official files
    are looked for in `data_dir`/NAME, then in `cache`/downloads/NAME, where they are downloaded to when they are read.
    DataError if there is none, with what there is and what to put where.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"an image size must be at least 1 pixel, got {image_size}")
    kind, colon, path = dataset.partition(":")
    if colon and kind in _FOLDERS:
        if not path:
            raise DataError(f"{kind}:PATH must name a folder, got {dataset!r}")
        return _FOLDERS[kind](name=dataset, folder=Path(path).expanduser(), image_size=image_size)
    if Path(dataset).name != dataset:
        raise DataError(f"a dataset's name must not be a path, got {dataset!r}; parquet:{dataset} reads that folder")
    if data_dir is not None and dataset in parquet_names(data_dir):
        return ParquetFolder(name=dataset, folder=data_dir / dataset, image_size=image_size)
    if dataset not in CATALOG:
        raise DataError(_unknown(dataset, data_dir))
    given = None if data_dir is None else data_dir / dataset
    shelf = DownloadCache(dataset=dataset, given=given, downloads=cache / "downloads" / dataset, progress=progress)
    return CatalogSource(name=dataset, shelf=shelf, image_size=image_size)


def parquet_names(data_dir: Path | None) -> tuple[str, ...]:
    """Every folder of `data_dir` that holds `train*.parquet`."""
    return tuple(sorted({path.parent.name for path in data_dir.glob("*/train*.parquet")})) if data_dir else ()


def _unknown(dataset: str, data_dir: Path | None) -> str:
    names = ", ".join(dict.fromkeys([*CATALOG, *parquet_names(data_dir)]))
    known = f"unknown dataset {dataset!r}: there is {names}, parquet:PATH and folder:PATH"
    files = "train*.parquet and test*.parquet"
    if data_dir is None:
        return f"{known}; for another name set LKCA_DATA_DIR to the folder that holds {dataset}/ with {files}"
    if not data_dir.is_dir():
        return f"dataset {dataset!r} is looked for in LKCA_DATA_DIR, which must be a folder, found none at {data_dir}"
    return f"{known}; put {files} into {data_dir / dataset}, or set LKCA_DATA_DIR to another folder than {data_dir}"
