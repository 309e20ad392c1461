"""Dataset of a search: content hash and size of its training images, written when the search starts."""

from lkca_search.layout import SearchFolder
from lkca_search.paths import parse_path, set_aside, write_atomically
from lkca_search.records.finding import DamagedError, Finding, read_stored, repair_command
from lkca_search.spec.base import FrozenModel


class SearchDataset(FrozenModel):
    """Training images of a search. A resume, a confirmation and a report read them from `dataset.json`."""

    dataset: str
    """Dataset as in the spec; a folder's path is absolute."""
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


def read_search_dataset(folder: SearchFolder) -> SearchDataset | None:
    """Return the dataset of a search; None if an older version started it, or every copy is damaged."""
    return scan_search_dataset(folder)[0]


def scan_search_dataset(folder: SearchFolder) -> tuple[SearchDataset | None, list[Finding]]:
    """Return the dataset from the first intact copy, None if there is none, and a finding per damaged copy."""
    intact, findings = [], []
    for path in folder.dataset_files:
        try:
            intact.append(read_stored(path, SearchDataset, remedy=repair_command(folder.name)))
        except DamagedError as error:
            findings.append(error.finding)
        except FileNotFoundError:
            pass
    return (intact[0] if intact else None), findings


def write_search_dataset(folder: SearchFolder, dataset: SearchDataset) -> list[str]:
    """Write the dataset of a search, with a copy in the storage of the trials.

    Return a line per damaged copy, which is kept under another name.
    """
    lines = []
    for finding in scan_search_dataset(folder)[1]:
        kept = set_aside(parse_path(finding.place))
        lines.append(f"{finding.place} is written again; the damaged file is kept as {kept.name}")
    for path in reversed(folder.dataset_files):
        write_atomically(path, dataset.model_dump_json(indent=1).encode())
    return lines


def _shortage(num_images: int, num_official: int | None, noun: str) -> str | None:
    if num_official is None or num_images >= num_official:
        return None
    return f"{num_images:,} of the {num_official:,} official {noun}"
