"""Lease of a search, as read by other processes: table of leases, running trainings, requests to stop the driver."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, select, update
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.errors import SearchError
from lkca_search.layout import START, SearchFolder, TrialFolder
from lkca_search.records.search.time_left import RunningTraining
from lkca_search.search.state.database import find_database
from lkca_search.search.state.driver_lock import can_observe, is_locked
from lkca_search.trial_listing import RecordListing

TTL_SECONDS = 15.0
"""A driver that has not renewed its lease for this time is considered dead."""

LEASES = Table(
    "lkca_lease",
    MetaData(),
    Column("search", String(100), primary_key=True),
    Column("uid", String(32), nullable=False),
    Column("driver", Integer, nullable=False),  # number of the latest driver; 0 before the first
    Column("beat", Integer, nullable=False),  # number of renewals by this driver
    Column("beat_time", Float, nullable=False),  # time of the last renewal, by the clock of the driver's machine
    Column("holder", String(200)),  # process and machine of the driver; NULL if there is none
    Column("lock", String(200)),  # id of the lock file that the driver holds too
    Column("stop", String(10)),  # requested way to stop the driver
)


class LeaseStatus(NamedTuple):
    """State of a lease, as read by another process."""

    is_held: bool
    """True if a driver is running."""
    driver: int
    """Number of the latest driver; 0 before the first."""
    holder: str | None
    """Process and machine of the running driver."""


def read_lease(folder: SearchFolder) -> LeaseStatus:
    """Read the lease of a search without any effect on its driver."""
    row = _read_if_exists(folder)
    if row is None:
        return LeaseStatus(False, 0, None)
    is_held = row.holder is not None and _is_alive(row, folder)
    return LeaseStatus(is_held, row.driver, row.holder if is_held else None)


def count_unfinished(
    listing: RecordListing, finished: set[str], lease: LeaseStatus
) -> tuple[Counter[str], Counter[str]]:
    """Return the number of running and of cut-off trials per cell, by the latest driver of each started trial.

    A trial that has lost its worker is cut off until its next attempt.
    """
    running: Counter[str] = Counter()
    cut_off: Counter[str] = Counter()
    for trial_id, driver in listing.drivers.items():
        if trial_id not in finished:
            runs = lease.is_held and driver == lease.driver and trial_id not in listing.lost
            (running if runs else cut_off)[trial_id.rpartition("/")[0]] += 1
    return running, cut_off


def running_trainings(folder: SearchFolder, listing: RecordListing, lease: LeaseStatus) -> list[RunningTraining]:
    """Return the unfinished trials, or replicates, of the running driver that have a worker."""
    return [
        RunningTraining(
            cell=trial_id.split("/")[0],
            is_replicate=trial_id.count("/") > 1,
            seconds=_seconds_since_start(folder.trial(trial_id)),
        )
        for trial_id, driver in listing.drivers.items()
        if trial_id not in listing.records and trial_id not in listing.lost and lease.is_held and driver == lease.driver
    ]


def _seconds_since_start(trial: TrialFolder) -> float | None:
    """Return the seconds since the start of the latest attempt; None in an object store, which has another clock."""
    if not isinstance(trial.root, Path):
        return None
    try:
        return max(0.0, time.time() - Path(str(trial.attempts()[-1] / START)).stat().st_mtime)
    except (OSError, IndexError):  # the training has just ended
        return None


def write_stop_request(folder: SearchFolder, how: str) -> int:
    """Request that the driver of a search stops, and return the driver's number.

    Raises:
        SearchError: No driver is running.
    """
    status = read_lease(folder)
    if not status.is_held:
        raise SearchError(f"search {folder.name!r} is not running")
    engine = find_database(folder).engine()
    try:
        with engine.begin() as connection:
            own_row = (LEASES.c.search == folder.name, LEASES.c.driver == status.driver)
            connection.execute(update(LEASES).where(*own_row).values(stop=how))
    finally:
        engine.dispose()
    return status.driver


def read_row(engine: Engine, name: str) -> Any:
    """Return the row of a search's lease, or None if it does not exist."""
    with engine.connect() as connection:
        return connection.execute(select(LEASES).where(LEASES.c.search == name)).first()


def _read_if_exists(folder: SearchFolder) -> Any:
    try:
        database = find_database(folder)
    except SearchError:
        return None  # the address of the ledger is damaged, so no driver can be found
    if not database.exists():
        return None
    engine = database.engine()
    try:
        return read_row(engine, folder.name)
    except SQLAlchemyError:
        return None  # no driver has created the table yet
    finally:
        engine.dispose()


def _is_alive(row: Any, folder: SearchFolder) -> bool:
    """Return True if the holder of a lease seems alive: by its lock on this machine, otherwise by its last renewal."""
    if isinstance(folder.root, Path) and can_observe(row.lock, folder.root):
        is_held = is_locked(folder.root)
        if is_held is not None:
            return is_held
    return bool(time.time() - row.beat_time < TTL_SECONDS)
