"""Listing of the folder of all trials: their attempts and records, and those of replicates, found in one walk."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lkca_search.paths import AnyPath, is_set_aside

RECORD = "record.json"
"""Name of the file with the result of a trial or replicate, in the folder of the attempt that finished it."""
LOST = "lost"
"""Name of the file of an attempt that has lost its worker: its trial waits for the next attempt."""
_ATTEMPT = "attempt-"
_ATTEMPT_NAME = re.compile(r"attempt-(\d+)-\d+")
_REPLICATE = re.compile(r"draw=.*,seed=.*")


@dataclass(frozen=True, kw_only=True)
class RecordListing:
    """Attempts and records of all trials, or of all replicates, by their ids."""

    records: dict[str, AnyPath]
    """Path of each record by the id of its trial or replicate. Of two, it is that of the later attempt."""
    set_aside: list[AnyPath]
    """Damaged records that were renamed."""
    drivers: dict[str, int]
    """Number of the driver of the latest attempt of everything that was started."""
    lost: set[str]
    """Ids of those whose latest attempt has lost its worker."""


@dataclass(frozen=True, kw_only=True)
class TrialListing:
    """Content of the folder of all trials at one time."""

    trials: RecordListing
    replicates: RecordListing

    @property
    def latest_driver(self) -> int:
        """Largest driver number of all attempts at trials and replicates; 0 if there is none."""
        return max([*self.trials.drivers.values(), *self.replicates.drivers.values()], default=0)


def list_trials(trials: AnyPath) -> TrialListing:
    """Walk the folder of all trials, CELL/NUMBER/ATTEMPT and CELL/NUMBER/REPLICATE/ATTEMPT; an object store is listed.

    Folders without permission and files in the place of folders are left out.
    """
    found = {
        is_replicate: RecordListing(records={}, set_aside=[], drivers={}, lost=set()) for is_replicate in (False, True)
    }
    walk = _walk_disk(trials) if isinstance(trials, Path) else _walk_store(trials)
    for folder_id, attempt, names in walk:
        listing = found[folder_id.count("/") > 1]
        if match := _ATTEMPT_NAME.fullmatch(attempt):
            listing.drivers[folder_id] = int(match[1])
            (listing.lost.add if LOST in names else listing.lost.discard)(folder_id)
        for name in names:
            if name == RECORD:
                listing.records[folder_id] = trials / f"{folder_id}/{attempt}/{name}"
            elif name.startswith(RECORD) and is_set_aside(path := trials / f"{folder_id}/{attempt}/{name}"):
                listing.set_aside.append(path)
    return TrialListing(trials=found[False], replicates=found[True])


_Walk = Iterator[tuple[str, str, Iterable[str]]]
"""Id of a trial or replicate, name of an attempt, and names of the files in it. Attempts of one id are in order."""


def _walk_disk(trials: Path) -> _Walk:
    # os.scandir takes a fifth of the time of pathlib's glob, which makes a path for each folder.
    root = str(trials)
    for cell in _names(root):
        for number in _names(f"{root}/{cell}"):
            trial_id = f"{cell}/{number}"
            for name in _names(f"{root}/{trial_id}"):
                if name.startswith(_ATTEMPT):
                    yield trial_id, name, _names(f"{root}/{trial_id}/{name}")
                elif _REPLICATE.fullmatch(name):
                    replicate_id = f"{trial_id}/{name}"
                    for attempt in _names(f"{root}/{replicate_id}"):
                        if attempt.startswith(_ATTEMPT):
                            yield replicate_id, attempt, _names(f"{root}/{replicate_id}/{attempt}")


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _walk_store(trials: AnyPath) -> _Walk:
    assert not isinstance(trials, Path)
    from pyarrow import fs  # a fifth of a second, for object stores alone

    selector = fs.FileSelector(trials.path, recursive=True, allow_not_found=True)
    files: dict[tuple[str, str], set[str]] = {}
    for info in trials.filesystem.get_file_info(selector):
        parts = info.path[len(trials.path) + 1 :].rstrip("/").split("/")
        # Some stores list files only, not the folders that contain them.
        depth = 3 if len(parts) > 2 and _REPLICATE.fullmatch(parts[2]) else 2
        if len(parts) > depth and parts[depth].startswith(_ATTEMPT):
            files.setdefault(("/".join(parts[:depth]), parts[depth]), set()).update(parts[depth + 1 : depth + 2])
    for (folder_id, attempt), names in sorted(files.items()):
        yield folder_id, attempt, sorted(names)
