"""Datasets of a search: found again at a resume from any folder, and refused if their images have changed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from lkca_search.data.catalog import CATALOG
from lkca_search.data.sources import locate_dataset
from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.dataset import (
    SearchDataset,
    read_search_datasets,
    scan_search_datasets,
    write_search_datasets,
)
from lkca_search.records.stored_spec import find_spec
from lkca_search.search.state.manifests import scan_manifests
from lkca_search.search.state.resume import check_own_code, check_resume, commit_own_code, commit_space_file
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile


def with_located_datasets(space_file: SpaceFile, folder: SearchFolder) -> SpaceFile:
    """Return the space file with absolute paths in `data.dataset` and `data.sources`.

    A relative path means the folder that the search was started with, if that still exists and its path ends in the
    same way. Otherwise it is relative to the working directory.
    """
    started, data = find_spec(folder), space_file.spec.data
    dataset, sources = data.dataset, dict(data.sources)
    if dataset is not None:
        dataset = locate_dataset(data.place_of(None), started=started.data.dataset if started else None)
        sources = {}
    for level, place in sources.items():
        sources[level] = locate_dataset(place, started=started.data.sources.get(level) if started else None)
    located = data.model_copy(update={"dataset": dataset, "sources": sources})
    return replace(space_file, spec=space_file.spec.model_copy(update={"data": located}))


def describe_datasets(spec: SearchSpec, images: Mapping[str | None, Images]) -> dict[str | None, SearchDataset]:
    """Return the description of the training images of each dataset of a search, by level."""
    return {level: describe_dataset(spec.data.place_of(level), opened, level=level) for level, opened in images.items()}


def describe_dataset(place: str, images: Images, *, level: str | None = None) -> SearchDataset:
    """Return the description of training images: their name in the catalog or path, and their level, if any."""
    entry = CATALOG.get(place)
    return SearchDataset(
        dataset=level or place,
        data_hash=images.content_hash,
        num_images=len(images),
        num_official=entry.num_train if entry else None,
        num_official_test=entry.num_test if entry else None,
    )


def check_search(
    folder: SearchFolder,
    datasets: Mapping[str | None, SearchDataset],
    reader: RecordReader,
    space_file: SpaceFile | None = None,
) -> None:
    """Check that these images, and `space_file` if it is given, start the search or may resume it.

    A resumed search may have more datasets. A search of an older version has no `dataset.json`; its manifests and
    records are compared.

    Raises:
        SearchError: The space file may not resume the search, its own code has changed, or the search was trained on
            other images.
    """
    if space_file is not None:
        check_resume(folder, space_file)
    if (spec := space_file.spec if space_file is not None else find_spec(folder)) is not None:
        check_own_code(folder, spec)
    existing = read_search_datasets(folder)
    known = {level: {dataset.data_hash} for level, dataset in existing.items()} or _recorded_hashes(folder, reader)
    for level, dataset in datasets.items():
        if other := sorted(known.get(level, set()) - {dataset.data_hash}):
            rule = f"the training images of search {folder.name!r} must have SHA-256 {', '.join(other)}"
            raise SearchError(
                f"{rule}, got {dataset.data_hash} ({dataset.dataset}): they have changed since the search was started; "
                "restore them, or start a new search with another --name"
            )


def commit_search(
    folder: SearchFolder,
    datasets: Mapping[str | None, SearchDataset],
    reader: RecordReader,
    space_file: SpaceFile | None = None,
) -> None:
    """Write the datasets of a search into its folder, and `space_file` if it is given, if `check_search` allows it.

    Raises:
        SearchError: As in `check_search`. Nothing is written.
    """
    check_search(folder, datasets, reader, space_file)
    if space_file is not None:
        commit_space_file(folder, space_file)
        commit_own_code(folder, space_file.spec)
    existing, damaged = scan_search_datasets(folder)
    if damaged or existing != {**existing, **datasets}:
        write_search_datasets(folder, {**existing, **datasets})


def _recorded_hashes(folder: SearchFolder, reader: RecordReader) -> dict[str | None, set[str]]:
    hashes: dict[str | None, set[str]] = defaultdict(set)
    for manifest in scan_manifests(folder)[0]:
        hashes[manifest.level].add(manifest.data_hash)
    for record in (*reader.trials(), *reader.replicates()):
        if record.facts:
            hashes[record.spec.configuration.dataset].add(record.facts.data_hash)
    return hashes
