"""Where images come from: `digits`, the name of a folder of Parquet files, or `parquet:PATH`."""

from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from lkca_search.data.decoded import DecodedImages, Split
from lkca_search.data.parquet_folder import ParquetFolder
from lkca_search.data.subsets import hold_out
from lkca_search.errors import DataError

PARQUET_PREFIX = "parquet:"


class Source(Protocol):
    """A dataset that can be read, split by split."""

    name: str
    """The dataset as the user wrote it."""

    def fingerprint(self, split: Split) -> str:
        """A text that costs little and changes when the split's images may have changed."""

    def read(self, split: Split) -> DecodedImages:
        """Decode the whole split; DataError names the file and row of what is wrong."""


class Digits:
    """1,797 handwritten digits that come with scikit-learn: 8x8 pixels, gray, ten classes.

    They have no official split: a fixed, seeded, stratified 20% are `test`. Ink 0 to 16 becomes round(ink * 255 / 16).
    """

    name = "digits"

    def fingerprint(self, split: Split) -> str:
        """The version of scikit-learn, whose copy is read."""
        return f"scikit-learn {version('scikit-learn')}, 20% test, seed 0"

    def read(self, split: Split) -> DecodedImages:
        """Pixels (N, 8, 8, 1): 1,438 images to train, 359 to test."""
        from sklearn.datasets import load_digits  # a second to import, and only this dataset needs it

        digits = load_digits()
        labels = digits.target.astype(np.int64)
        parts = hold_out(labels, fraction=0.2, seed=0)
        rows = parts.train if split == "train" else parts.validation
        return DecodedImages(
            pixels=np.round(digits.images[rows, :, :, None] * 255 / 16).astype(np.uint8),
            labels=labels[rows],
            class_names=tuple(str(name) for name in digits.target_names),
        )


def find_source(dataset: str, *, data_dir: Path | None) -> Source:
    """Return the source that `dataset` names: `digits`, `parquet:PATH`, or a folder of `data_dir`.

    DataError if there is none, with what there is and what to put where.
    """
    if dataset == Digits.name:
        return Digits()
    if dataset.startswith(PARQUET_PREFIX):
        path = dataset.removeprefix(PARQUET_PREFIX)
        if not path:
            raise DataError(f"parquet:PATH must name a folder, got {dataset!r}")
        return ParquetFolder(name=dataset, folder=Path(path).expanduser())
    if Path(dataset).name != dataset:
        raise DataError(f"a dataset's name must not be a path, got {dataset!r}; parquet:{dataset} reads that folder")
    if data_dir is not None and dataset in list_datasets(data_dir=data_dir):
        return ParquetFolder(name=dataset, folder=data_dir / dataset)
    raise DataError(_unknown(dataset, data_dir))


def list_datasets(*, data_dir: Path | None) -> tuple[str, ...]:
    """Names that `find_source` knows: `digits`, and every folder of `data_dir` that holds `train*.parquet`."""
    if data_dir is None:
        return (Digits.name,)
    folders = {path.parent.name for path in data_dir.glob("*/train*.parquet")}
    return (Digits.name, *sorted(folders - {Digits.name}))


def _unknown(dataset: str, data_dir: Path | None) -> str:
    files = "train*.parquet and test*.parquet"
    if data_dir is None:
        return (
            f"unknown dataset {dataset!r}: there is digits and parquet:PATH; for another name set LKCA_DATA_DIR to the "
            f"folder that holds {dataset}/ with {files}"
        )
    if not data_dir.is_dir():
        return f"dataset {dataset!r} is looked for in LKCA_DATA_DIR, which must be a folder, found none at {data_dir}"
    return (
        f"unknown dataset {dataset!r}: there is {', '.join(list_datasets(data_dir=data_dir))} and parquet:PATH; "
        f"put {files} into {data_dir / dataset}, or set LKCA_DATA_DIR to another folder than {data_dir}"
    )
