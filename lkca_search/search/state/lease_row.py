"""Row of a search's lease: created by the first driver, matched by the unique id, and restored if it was lost."""

import shlex
import uuid
from pathlib import Path

from sqlalchemy import Engine, insert, update
from sqlalchemy.exc import IntegrityError

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import set_aside, write_atomically
from lkca_search.records.search.uid import scan_uid
from lkca_search.search.state.lease_status import LEASES, read_row

LOST = "a driver whose lease was lost"
"""Holder of a lease that is restored from the trial folders."""


def match_row(engine: Engine, folder: SearchFolder, *, can_restore: bool) -> str | None:
    """Match the uid of ledger, folder and storage; return a line if the row of the lease was lost and is restored.

    The first driver creates the uid. A ledger that lacks the search or its latest drivers was lost, or is an older
    copy: its number of the latest driver is raised to the largest one in the trial folders.

    Raises:
        SearchError: The uids differ, the ledger may be another one than that of the search, or its storage is missing.
    """
    uids = (folder.uid, *([folder.storage / "uid"] if folder.storage else []))
    known = [scan_uid(path, folder)[0] for path in uids]
    # The storage gives the uid only if that of the folder is damaged: without one, this is another search.
    restored = known[-1] if folder.uid.exists() else None
    uid = known[0] or restored or uuid.uuid4().hex
    row = {"search": folder.name, "uid": uid, "driver": 0, "beat": 0, "beat_time": 0.0}
    try:
        with engine.begin() as connection:
            connection.execute(insert(LEASES).values(row))
    except IntegrityError:
        pass  # the row exists
    stored = read_row(engine, folder.name)
    if stored.driver:
        _check_storage(folder)
    latest = folder.latest_driver()
    if stored.driver == 0 and latest and not can_restore:
        raise SearchError(
            f"search {folder.name!r} has {len(folder.drivers())} trials, and the ledger {engine.url} has none of them; "
            "give the ledger with which the search was started"
        )
    for path, found in zip(uids, known, strict=True):
        if found is not None and found != stored.uid:
            raise SearchError(
                f"the ledger {engine.url} belongs to another search {folder.name!r} than {path.parent}; "
                "give one of them another --name, or move it"
            )
        if found is None and path.exists():
            set_aside(path)
        if found is None:
            write_atomically(path, stored.uid.encode())
    if stored.driver >= latest:
        return None
    # Another machine may still run the latest driver, whose row this is again: its renewals are then observed.
    unchanged = (LEASES.c.search == folder.name, LEASES.c.driver == stored.driver, LEASES.c.beat == stored.beat)
    with engine.begin() as connection:
        connection.execute(update(LEASES).where(*unchanged).values(driver=latest, holder=LOST, lock=None))
    return (
        f"the ledger has {stored.driver} as the number of the latest driver, and the trial folders have {latest}: it "
        "was lost or is an older copy, and is restored from the records"
    )


def _check_storage(folder: SearchFolder) -> None:
    """Raise SearchError if a search that was started lacks the storage of its trials: its disk may not be mounted.

    All trials would count as lost. They would be trained again, and hidden when the disk is mounted.
    """
    storage = folder.storage
    if isinstance(storage, Path) and folder.spec.exists() and not storage.exists():
        rule = f"the storage of search {folder.name!r} must be there, got no folder {storage}: mount its disk"
        make = f"mkdir -p {shlex.quote(str(storage))}"
        raise SearchError(f"{rule}; only if its trials are lost, make the folder, and they are trained again: {make}")
