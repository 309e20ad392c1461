"""Which datasets there are, and what of each is on this machine."""

from pathlib import Path

from lkca_search.data.catalog import CATALOG
from lkca_search.data.readers.decoded import Split
from lkca_search.data.sources import parquet_names
from lkca_search.data.store import SPLITS, find_stored
from lkca_search.errors import DataError
from lkca_search.spec.base import FrozenModel


class ListedDataset(FrozenModel):
    """A dataset that has a name."""

    name: str
    """What a space file calls it."""
    num_classes: int | None
    """Classes as published, and so on below; None for a folder of the user's own."""
    num_train: int | None
    """Images to train on."""
    num_test: int | None
    """Images to test on."""
    image_size: int | None
    """Height and width in pixels."""
    citation: str | None
    """Whom to cite, and the terms where they are known."""
    found: str
    """What it would be read from now; empty where it would be downloaded."""
    prepared: dict[Split, int]
    """Images of each split that is decoded at its own size."""


def list_datasets(*, cache: Path, data_dir: Path | None) -> list[ListedDataset]:
    """The catalogue, then the folders of `data_dir` that hold Parquet under another name."""
    return [_describe(name, cache, data_dir) for name in dict.fromkeys([*CATALOG, *parquet_names(data_dir)])]


def _describe(name: str, cache: Path, data_dir: Path | None) -> ListedDataset:
    entry = CATALOG.get(name)
    try:
        stored = {split: find_stored(name, split, cache=cache, data_dir=data_dir) for split in SPLITS}
    except DataError:  # a folder without test files is listed too
        stored = {}
    return ListedDataset(
        name=name,
        num_classes=entry.num_classes if entry else None,
        num_train=entry.num_train if entry else None,
        num_test=entry.num_test if entry else None,
        image_size=entry.image_size if entry else None,
        citation=entry.citation if entry else None,
        found=_found(name, cache, data_dir),
        prepared={split: facts.num_images for split, facts in stored.items() if facts is not None},
    )


def _found(name: str, cache: Path, data_dir: Path | None) -> str:
    if name in parquet_names(data_dir):
        return "Parquet"
    if not (patterns := CATALOG[name].files):
        return "bundled"
    folders = [cache / "downloads" / name, *([data_dir / name] if data_dir else [])]
    return ", ".join(sorted({path.name for folder in folders for pattern in patterns for path in folder.glob(pattern)}))
