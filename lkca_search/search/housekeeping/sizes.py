"""Sizes of searches: the files of one search by kind, and the bytes of every search of a home."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lkca_search.layout import MODEL, PREDICTIONS, WEIGHTS, Home, SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.search.housekeeping.files import StoredFile, list_files
from lkca_search.spec.base import FrozenModel

_KINDS = (
    ("checkpoints", re.compile(r"checkpoint-\d+\.pt.*")),
    ("records", re.compile(r"record\.json.*")),
    ("predictions", re.compile(re.escape(PREDICTIONS))),
    ("models", re.compile(f"{re.escape(WEIGHTS)}|{re.escape(MODEL)}")),
    ("ledger", re.compile(r"ledger\.db.*")),
)
"""Kind of a file by its name; any other file is one of `other files`."""
OTHER = "other files"


class FolderSize(FrozenModel):
    """Files of one kind in one folder of a search."""

    kind: str
    """Kind: checkpoints, records, predictions, models, ledger or other files."""
    place: str
    """Folder, or URL of a folder in an object store."""
    num_files: int
    num_bytes: int


def kind_of(name: str) -> str:
    """Return the kind of a file by its path."""
    last = name.rpartition("/")[2]
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(last)), OTHER)


def measure_search(folder: SearchFolder) -> tuple[FolderSize, ...]:
    """Return the sizes of a search by folder and kind, largest first in each folder."""
    folders = [folder.root, *([folder.storage] if folder.storage else [])]
    return tuple(size for each in folders for size in _by_kind(each, list_files(each)))


def _by_kind(folder: AnyPath, files: Iterable[StoredFile]) -> list[FolderSize]:
    counts: Counter[str] = Counter()
    num_bytes: Counter[str] = Counter()
    for file in files:
        kind = kind_of(file.name)
        counts[kind] += 1
        num_bytes[kind] += file.num_bytes
    return [
        FolderSize(kind=kind, place=str(folder), num_files=counts[kind], num_bytes=total)
        for kind, total in num_bytes.most_common()
    ]


def measure_home(home: Home) -> dict[str, int | None]:
    """Return the bytes of each search of a home by name; None if the storage of its trials cannot be listed.

    Each folder is walked once. A home in an object store is listed once.
    """
    names = home.search_names()
    if isinstance(home.root, Path):
        bytes_of = {name: _total(list_files(home.root / "searches" / name)) for name in names}
    else:
        bytes_of = dict.fromkeys(names, 0)
        for file in list_files(home.root / "searches"):
            name = file.name.partition("/")[0]
            if name in bytes_of:
                bytes_of[name] += file.num_bytes
    return {name: _with_storage(num_bytes, home, name) for name, num_bytes in bytes_of.items()}


def _with_storage(num_bytes: int, home: Home, name: str) -> int | None:
    try:
        storage = home.search(name).storage
        return num_bytes if storage is None else num_bytes + _total(list_files(storage))
    except (OSError, ValueError):  # storage without access, for example
        return None


def _total(files: Iterable[StoredFile]) -> int:
    return sum(file.num_bytes for file in files)
