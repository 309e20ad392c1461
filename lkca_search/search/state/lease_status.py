"""Lease of a search, as read by other processes: the table of leases, and requests to stop the driver."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, select, update
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.search.state.database import find_database
from lkca_search.search.state.driver_lock import can_observe, is_locked

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
