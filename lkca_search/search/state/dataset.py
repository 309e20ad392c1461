"""Dataset of a search: found again at a resume from any folder, and refused if its images have changed."""

from dataclasses import replace

from lkca_search.data.catalog import CATALOG
from lkca_search.data.sources import locate_dataset
from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.dataset import SearchDataset, read_search_dataset, scan_search_dataset, write_search_dataset
from lkca_search.records.record import RecordReader
from lkca_search.records.stored_spec import find_spec
from lkca_search.search.state.manifests import scan_manifests
from lkca_search.search.state.resume import check_own_code, check_resume, commit_own_code, commit_space_file
from lkca_search.spec.space_file import SpaceFile


def with_located_dataset(space_file: SpaceFile, folder: SearchFolder) -> SpaceFile:
    """Return the space file with an absolute path in `data.dataset`.

    A relative path means the folder that the search was started with, if that still exists and its path ends in the
    same way. Otherwise it is relative to the working directory.
    """
    started, data = find_spec(folder), space_file.spec.data
    dataset = locate_dataset(data.dataset, started=started.data.dataset if started else None)
    located = data.model_copy(update={"dataset": dataset})
    return replace(space_file, spec=space_file.spec.model_copy(update={"data": located}))


def describe_dataset(dataset: str, images: Images) -> SearchDataset:
    """Return the description of training images that are read as `dataset`."""
    entry = CATALOG.get(dataset)
    return SearchDataset(
        dataset=dataset,
        data_hash=images.content_hash,
        num_images=len(images),
        num_official=entry.num_train if entry else None,
        num_official_test=entry.num_test if entry else None,
    )


def check_search(
    folder: SearchFolder, dataset: SearchDataset, reader: RecordReader, space_file: SpaceFile | None = None
) -> None:
    """Check that these images, and `space_file` if it is given, start the search or may resume it.

    A search of an older version has no `dataset.json`; its manifests and records are compared.

    Raises:
        SearchError: The space file may not resume the search, its own code has changed, or the search was trained on
            other images.
    """
    if space_file is not None:
        check_resume(folder, space_file)
    if (spec := space_file.spec if space_file is not None else find_spec(folder)) is not None:
        check_own_code(folder, spec)
    existing = read_search_dataset(folder)
    known = {existing.data_hash} if existing else _recorded_hashes(folder, reader)
    if other := sorted(known - {dataset.data_hash}):
        rule = f"the training images of search {folder.name!r} must have SHA-256 {', '.join(other)}"
        raise SearchError(
            f"{rule}, got {dataset.data_hash} ({dataset.dataset}): they have changed since the search was started; "
            "restore them, or start a new search with another --name"
        )


def commit_search(
    folder: SearchFolder, dataset: SearchDataset, reader: RecordReader, space_file: SpaceFile | None = None
) -> None:
    """Write the dataset of a search into its folder, and `space_file` if it is given, if `check_search` allows it.

    Raises:
        SearchError: As in `check_search`. Nothing is written.
    """
    check_search(folder, dataset, reader, space_file)
    if space_file is not None:
        commit_space_file(folder, space_file)
        commit_own_code(folder, space_file.spec)
    existing, damaged = scan_search_dataset(folder)
    if existing != dataset or damaged:
        write_search_dataset(folder, dataset)


def _recorded_hashes(folder: SearchFolder, reader: RecordReader) -> set[str]:
    records = (*reader.trials(), *reader.replicates())
    manifests, _ = scan_manifests(folder)
    hashes = {manifest.data_hash for manifest in manifests}
    return hashes | {record.facts.data_hash for record in records if record.facts}
