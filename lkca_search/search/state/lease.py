"""Lease of a search: at most one driver per search, on any machine.

The lease is a row of the ledger's database that the driver renews every second. A later driver observes the renewals:
it is refused if one arrives, and takes over if none arrives for `TTL_SECONDS`, measured by its own clock. Each driver
has a number, higher than all before it. The number is part of each path and each renewal that the driver writes.
A driver that was replaced while it was frozen finds another number in the row and writes nothing more.

No lock of a library is used, because such a lock belongs to a connection or to a file on one machine. It would not
stop the writes of a frozen driver, or it would need a service besides SQLite, PostgreSQL and the disk.
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from sqlalchemy import Engine, update
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.errors import Interrupted, SearchError
from lkca_search.faults import first_line
from lkca_search.layout import SearchFolder
from lkca_search.search.state.database import Database, choose_database, is_stored, store_url
from lkca_search.search.state.driver_lock import LOCK_FILE, check_mark, hold_lock
from lkca_search.search.state.lease_row import LOST, match_row
from lkca_search.search.state.lease_status import LEASES, TTL_SECONDS, read_lease, read_row
from lkca_search.search.state.ledger_file import replace_if_damaged


@dataclass(frozen=True, kw_only=True)
class LeaseTiming:
    """Times of a lease. `valid_seconds` must be shorter than `ttl_seconds` by more than one heartbeat."""

    heartbeat_seconds: float = 1.0
    """Time between two renewals."""
    ttl_seconds: float = TTL_SECONDS
    """Time without a renewal after which another driver may take over."""
    valid_seconds: float = 10.0
    """Time after a renewal during which no other driver can have taken over."""


DEFAULT_TIMING = LeaseTiming()


class Lease:
    """Lease that this driver holds. A thread renews it."""

    def __init__(self, engine: Engine, name: str, driver: int, timing: LeaseTiming = DEFAULT_TIMING) -> None:
        """Start to renew the lease of the search `name`."""
        self.driver = driver
        """Number of this driver: one more than that of the latest before it."""
        self.stop_request: str | None = None
        """Stop requested by another process, read at the last renewal; None if there was none."""
        self.may_wait = True
        """False if `ensure` must not wait for a database that does not respond, because the driver stops now."""
        self._engine = engine
        self._own_row = (LEASES.c.search == name, LEASES.c.driver == driver)
        self._name = name
        self._timing = timing
        self._is_lost = False
        self._error = "its database does not respond"
        self._valid_until = time.monotonic() + timing.valid_seconds
        self._give_up_time = math.inf
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Return if no other driver can have taken over; call this before each commit.

        If the database does not respond, wait for it up to `ttl_seconds`, once for all calls during an outage.

        Raises:
            Interrupted: Another driver took over, or the lease could not be renewed.
        """
        while not self._is_lost and time.monotonic() >= self._valid_until:
            self._give_up_time = min(self._give_up_time, time.monotonic() + self._timing.ttl_seconds)
            if not self.may_wait or time.monotonic() >= self._give_up_time:
                raise Interrupted(f"the lease on search {self._name!r} could not be renewed: {self._error}")
            time.sleep(self._timing.heartbeat_seconds / 10)
        if self._is_lost:
            reason = "was taken over by another driver, because this one did not renew its lease in time"
            raise Interrupted(f"search {self._name!r} {reason}")

    def release(self) -> None:
        """Stop the renewals, and free the lease for the next driver. Another call has no effect.

        A database that does not respond is waited for up to `ttl_seconds`: the next driver then waits as long.
        """
        self._end.set()
        self._thread.join(self._timing.ttl_seconds)

    def _run(self) -> None:
        self._renew()
        with suppress(SQLAlchemyError):  # the next driver then waits until the lease expires
            with self._engine.begin() as connection:
                connection.execute(update(LEASES).where(*self._own_row).values(holder=None, stop=None))
        self._engine.dispose()

    def _renew(self) -> None:
        while not self._end.wait(self._timing.heartbeat_seconds):
            started = time.monotonic()
            try:
                with self._engine.begin() as connection:
                    renewal = update(LEASES).where(*self._own_row)
                    renewal = renewal.values(beat=LEASES.c.beat + 1, beat_time=time.time())
                    row = connection.execute(renewal.returning(LEASES.c.stop)).first()
            except SQLAlchemyError as error:  # no connection, or a full disk
                self._error = first_line(error)
                continue
            if row is None:
                self._is_lost = True
                return
            self.stop_request, self._valid_until = row.stop, started + self._timing.valid_seconds
            self._give_up_time = math.inf


@contextmanager
def hold_lease(
    folder: SearchFolder,
    ledger: str | None = None,
    *,
    timing: LeaseTiming = DEFAULT_TIMING,
    is_provisional: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> Iterator[Lease]:
    """Hold the lease of a search for this driver.

    If the latest driver was killed on another machine, wait until its lease expires.

    Args:
        folder: Folder of the search.
        ledger: URL of the ledger's database; by default that of the latest driver (see `choose_database`).
        timing: Times of the lease.
        is_provisional: True if the search may be refused in the block. It then leaves no file behind.
        notify: Called with a line if the ledger was damaged or lost, and is replaced.

    Raises:
        SearchError: Another driver is running, the ledger belongs to another search, or a command that removes or
            renames the search was interrupted.
    """
    with _hold_lock(folder) as lock:
        check_mark(folder)
        database = choose_database(folder, ledger)
        replace_if_damaged(folder, database, is_locked=lock is not None, notify=notify)
        database.create(LEASES.metadata)
        engine = database.engine()
        try:
            # A search of this home with the ledger of its latest driver: if that is empty, it was lost.
            can_restore = folder.uid.exists() and is_stored(folder, ledger)
            if line := match_row(engine, folder, can_restore=can_restore):
                notify(line)
            store_url(folder, ledger)
            driver = _acquire(engine, folder.name, lock, timing, owns_file=database.file is not None)
        except BaseException:
            engine.dispose()
            raise
        lease = Lease(engine, folder.name, driver, timing)
        try:
            check_mark(folder)  # again: the command may have held the lease until now
            yield lease
        finally:
            lease.release()
            if is_provisional and not any(spec.exists() for spec in folder.specs) and not folder.drivers():
                _remove_traces(folder, database)


@contextmanager
def _hold_lock(folder: SearchFolder) -> Iterator[str | None]:
    """Hold the lock file too, and yield its id.

    Object stores and some file systems have no locks: yield None. The lease alone then excludes other drivers.
    """
    if not isinstance(folder.root, Path):
        yield None
        return
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(hold_lock(folder.root))
        except Timeout as error:
            raise _held_error(folder.name, read_lease(folder).holder) from error
        yield lock


def _remove_traces(folder: SearchFolder, database: Database) -> None:
    """Remove the files of a lease. A row on PostgreSQL stays: it takes no name, and the next driver continues it."""
    file = database.file
    files = [folder.uid, folder.ledger_url, *([folder.storage / "uid"] if folder.storage else [])]
    files += [file, file.with_name(f"{file.name}-journal")] if file else []
    folders = [folder.trials, *([folder.storage] if folder.storage else []), folder.root]
    with suppress(OSError):
        for path in files:
            path.unlink(missing_ok=True)
        if isinstance(folder.root, Path):
            (folder.root / LOCK_FILE).unlink(missing_ok=True)
    for path in folders:
        if isinstance(path, Path):
            with suppress(OSError):  # not empty, or missing
                path.rmdir()


def _acquire(engine: Engine, name: str, lock: str | None, timing: LeaseTiming, *, owns_file: bool) -> int:
    """Become the driver, and return its number.

    With `owns_file`, the ledger is a file beside the lock file: the lock alone excludes the driver of a lost lease.
    """
    seen = read_row(engine, name)
    started = time.monotonic()
    # The same lock id means that this process now holds the lock of the latest driver, which is therefore dead.
    locks = (lock, None) if owns_file and seen.holder == LOST else (lock,)
    while seen.holder is not None and not (lock is not None and seen.lock in locks):
        time.sleep(timing.heartbeat_seconds / 4)
        row = read_row(engine, name)
        if row.holder is not None and (row.driver, row.beat) != (seen.driver, seen.beat):
            raise _held_error(name, row.holder)
        if row.holder is None:
            seen = row
        elif time.monotonic() - started >= timing.ttl_seconds:
            break
    driver = int(seen.driver) + 1
    values = {
        "driver": driver,
        "beat": 0,
        "beat_time": time.time(),
        "holder": _describe_process(),
        "lock": lock,
        "stop": None,
    }
    unchanged = (LEASES.c.search == name, LEASES.c.driver == seen.driver, LEASES.c.beat == seen.beat)
    with engine.begin() as connection:
        is_acquired = connection.execute(update(LEASES).where(*unchanged).values(values)).rowcount
    if not is_acquired:
        raise _held_error(name, read_row(engine, name).holder)
    return driver


def _describe_process() -> str:
    """Return this process, its machine, and the Ray job that started it, if any."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("metadata", {}).get("job_submission_id")
    return f"process {os.getpid()} on {socket.gethostname()}{f', job {job}' if job else ''}"


def _held_error(name: str, holder: str | None) -> SearchError:
    driver = f"another driver ({holder})" if holder else "another driver"
    return SearchError(
        f"search {name!r} is being driven by {driver}; wait until it ends, or stop it: lkca-search stop {name}"
    )
