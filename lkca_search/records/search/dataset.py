"""Datasets of a search: content hash and size of their training images, written when the search starts.

`dataset.json` holds one dataset, or one per level of the factor `dataset`. Functions name a dataset by its level, which
is None in a search without this factor.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import model_serializer, model_validator

from lkca_search.layout import SearchFolder
from lkca_search.paths import parse_path, set_aside, write_atomically
from lkca_search.records.finding import DamagedError, Finding, read_stored, repair_command
from lkca_search.spec.base import FrozenModel

_NO_LEVEL = ""
"""Key of the dataset of a search without the factor `dataset`."""


class SearchDataset(FrozenModel):
    """Training images of a dataset. A resume, a confirmation and a report read them from `dataset.json`."""

    dataset: str
    """Dataset as in the spec: a level of the factor `dataset`, or `data.dataset`, where a folder's path is absolute."""
    data_hash: str
    """SHA-256 of the training split's pixels and labels, as in the records."""
    num_images: int
    """Number of images in the training split."""
    num_official: int | None = None
    """Number of images in the official training split; None if the dataset is not published under this name."""
    num_official_test: int | None = None
    """Number of images in the official test split; None as above."""

    @property
    def shortage(self) -> str | None:
        """Phrase on missing training images, such as `20,000 of the 50,000 official training images`; None if whole."""
        return _shortage(self.num_images, self.num_official, "training images")

    def test_shortage(self, num_images: int) -> str | None:
        """Return the same phrase for a test split with this number of images."""
        return _shortage(num_images, self.num_official_test, "test images")


class _DatasetFile(FrozenModel):
    """Content of `dataset.json`. A search without the factor `dataset` has the one dataset as the whole content."""

    datasets: Mapping[str, SearchDataset]

    @model_validator(mode="before")
    @classmethod
    def _from_one(cls, content: Any) -> Any:
        is_one = isinstance(content, Mapping) and "datasets" not in content
        return {"datasets": {_NO_LEVEL: content}} if is_one else content

    @model_serializer(mode="plain")
    def _to_one(self) -> dict[str, Any]:
        plain = {level: dataset.model_dump() for level, dataset in self.datasets.items()}
        return plain[_NO_LEVEL] if _NO_LEVEL in plain else {"datasets": plain}


def list_shortages(datasets: Iterable[SearchDataset]) -> list[str]:
    """Return a line per dataset that lacks training images: `cifar10: 20,000 of the 50,000 official ...`."""
    return [f"{dataset.dataset}: {dataset.shortage}" for dataset in datasets if dataset.shortage is not None]


def read_search_datasets(folder: SearchFolder) -> Mapping[str | None, SearchDataset]:
    """Return the datasets of a search by level; empty if an older version started it, or every copy is damaged."""
    return scan_search_datasets(folder)[0]


def scan_search_datasets(folder: SearchFolder) -> tuple[Mapping[str | None, SearchDataset], list[Finding]]:
    """Return the datasets by level from the first intact copy, if there is one, and a finding per damaged copy."""
    intact, findings = [], []
    for path in folder.dataset_files:
        try:
            intact.append(read_stored(path, _DatasetFile, remedy=repair_command(folder.name)))
        except DamagedError as error:
            findings.append(error.finding)
        except FileNotFoundError:
            pass
    datasets = intact[0].datasets if intact else {}
    return {level or None: dataset for level, dataset in datasets.items()}, findings


def write_search_datasets(folder: SearchFolder, datasets: Mapping[str | None, SearchDataset]) -> list[str]:
    """Write the datasets of a search, with a copy in the storage of the trials.

    Return a line per damaged copy, which is kept under another name.
    """
    lines = []
    for finding in scan_search_datasets(folder)[1]:
        kept = set_aside(parse_path(finding.place))
        lines.append(f"{finding.place} is written again; the damaged file is kept as {kept.name}")
    content = _DatasetFile(datasets={level or _NO_LEVEL: dataset for level, dataset in datasets.items()})
    for path in reversed(folder.dataset_files):
        write_atomically(path, content.model_dump_json(indent=1).encode())
    return lines


def _shortage(num_images: int, num_official: int | None, noun: str) -> str | None:
    if num_official is None or num_images >= num_official:
        return None
    return f"{num_images:,} of the {num_official:,} official {noun}"
