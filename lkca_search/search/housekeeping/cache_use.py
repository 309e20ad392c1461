"""Decoded datasets in the cache, and the searches of a home that use them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lkca_search.data.store import StoredSplit, list_stored
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.dataset import read_search_datasets
from lkca_search.spec.base import FrozenModel


class CachedSplit(FrozenModel):
    """Decoded split of a dataset in the cache of this machine."""

    dataset: str
    split: str
    path: str
    num_bytes: int
    searches: tuple[str, ...]
    """Searches of the home that use the split."""


def list_cache_use(home: Home) -> tuple[CachedSplit, ...]:
    """Return the decoded splits in the cache, each with the searches of the home that use it.

    A training split is used by its content hash. A test split is used by its hash in a round, or together with the
    training split of the same dataset and image size. A search that does not state its datasets may use every split.
    """
    stored = list(list_stored(home.datasets))
    users: dict[Path, list[str]] = {path: [] for path, _ in stored}
    for name in home.search_names():
        for path in _used_by(home.search(name), stored):
            users[path].append(name)
    return tuple(
        CachedSplit(
            dataset=split.dataset,
            split=split.split,
            path=str(path),
            num_bytes=path.stat().st_size,
            searches=tuple(users[path]),
        )
        for path, split in stored
    )


def used_only_by(name: str, home: Home) -> tuple[CachedSplit, ...]:
    """Return the decoded splits that a search uses, and no other search of the home."""
    return tuple(split for split in list_cache_use(home) if split.searches == (name,))


def _used_by(folder: SearchFolder, stored: Iterable[tuple[Path, StoredSplit]]) -> Iterator[Path]:
    hashes = _content_hashes(folder)
    sources = {(split.dataset, split.image_size) for _, split in stored if hashes and split.content_hash in hashes}
    for path, split in stored:
        if hashes is None or split.content_hash in hashes or (split.dataset, split.image_size) in sources:
            yield path


def _content_hashes(folder: SearchFolder) -> set[str] | None:
    """Return the hashes of the training and test images of a search; None if they cannot be read."""
    try:
        datasets = read_search_datasets(folder)
        tested = [found for sealed in read_rounds(folder) for found in sealed.hash_by_dataset.values()]
    except (OSError, ValueError):  # damaged rounds, or storage without access
        return None
    hashes = {dataset.data_hash for dataset in datasets.values()} | set(tested)
    return hashes if datasets else None
