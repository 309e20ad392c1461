"""The lease: one driver a search, wherever it runs. It is a row of the ledger that beats while its driver lives.

A driver that comes later watches the beats: it is refused when one falls, and takes over when none has fallen for
`TTL_SECONDS`, by its own clock. Each driver has a number, higher than any before, that stands in every path and every
beat it writes: one that was replaced while it was frozen finds its number gone, and writes nothing more.
"""

import fcntl
import json
import os
import platform
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.search.state.database import Database, choose_database, find_database, first_line

BEAT_SECONDS = 1.0
TTL_SECONDS = 15.0
_SURE_SECONDS = 10.0
"""For so long after a beat that was written, no other driver can have taken over."""
_LOCK = "driver.lock"
_LOCK_SECONDS = 0.5
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_LEASES = Table(
    "lkca_lease",
    MetaData(),
    Column("search", String(100), primary_key=True),
    Column("uid", String(32), nullable=False),
    Column("driver", Integer, nullable=False),  # number of the latest driver; 0 before the first
    Column("beat", Integer, nullable=False),
    Column("beat_time", Float, nullable=False),  # seconds since 1970 on the driver's machine: for show
    Column("holder", String(200)),  # who drives; none while nobody does
    Column("lock", String(200)),  # which lock file, of which running kernel, the holder holds as well
    Column("stop", String(10)),  # how the driver is asked to end
)


class LeaseStatus(NamedTuple):
    """What another process sees of a lease."""

    is_driven: bool
    driver: int
    """Number of the latest driver; 0 before the first."""
    holder: str | None
    """The machine and process of the driver that is at work."""


class Lease:
    """The lease of a driver that holds it."""

    def __init__(self, engine: Engine, name: str, driver: int) -> None:
        self.driver = driver
        """Number of this driver: one more than that of the latest before it."""
        self.stop: str | None = None
        """How another process asks this driver to end, as of the last beat."""
        self._engine = engine
        self._mine = (_LEASES.c.search == name, _LEASES.c.driver == driver)
        self._name = name
        self._is_lost = False
        self._error = "its database does not answer"
        self._sure_until = time.monotonic() + _SURE_SECONDS
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def ensure(self) -> None:
        """Return only while no other driver can have taken over; Interrupted where one has, or where that is unknown.

        What a driver commits, it commits after this. A database that is away for a moment is waited for.
        """
        deadline = time.monotonic() + TTL_SECONDS
        while not self._is_lost and time.monotonic() >= self._sure_until:
            if time.monotonic() >= deadline:
                raise Interrupted(f"the lease on search {self._name!r} could not be renewed: {self._error}")
            time.sleep(BEAT_SECONDS / 10)
        if self._is_lost:
            raise Interrupted(f"search {self._name!r} was taken over by another driver while this one was not heard of")

    def release(self) -> None:
        """Stop to beat, and let the next driver in at once."""
        self._end.set()
        self._thread.join()
        try:
            with self._engine.begin() as connection:
                connection.execute(update(_LEASES).where(*self._mine).values(holder=None, stop=None))
        except SQLAlchemyError:
            pass  # the next driver waits until no beat falls
        self._engine.dispose()

    def _beat(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            begun = time.monotonic()
            try:
                with self._engine.begin() as connection:
                    beat = update(_LEASES).where(*self._mine)
                    beat = beat.values(beat=_LEASES.c.beat + 1, beat_time=time.time())
                    row = connection.execute(beat.returning(_LEASES.c.stop)).first()
            except SQLAlchemyError as error:  # a database that is away, or a disk that is full
                self._error = first_line(error)
                continue
            if row is None:
                self._is_lost = True
                return
            self.stop, self._sure_until = row.stop, begun + _SURE_SECONDS


@contextmanager
def hold(folder: SearchFolder, ledger: str | None = None) -> Iterator[Lease]:
    """Hold a search for this driver alone; SearchError if another drives it, or if the ledger is not this search's.

    `ledger` is the URL of the ledger's database, by default where it is (see `choose_database`).
    After a driver that was killed on another machine this waits until none of its beats has fallen for a while.
    """
    with _file_lock(folder) as lock:
        database = choose_database(folder, ledger)
        database.create(_LEASES.metadata)
        engine = database.engine()
        try:
            _claim(engine, database, folder)
            driver = _take(engine, folder.name, lock)
        except BaseException:
            engine.dispose()
            raise
        lease = Lease(engine, folder.name, driver)
        try:
            yield lease
        finally:
            lease.release()


def look(folder: SearchFolder) -> LeaseStatus:
    """Who drives a search now, and how many have so far. Disturbs no driver."""
    row = _read_row(folder)
    if row is None:
        return LeaseStatus(False, 0, None)
    is_driven = row.holder is not None and _may_beat(row, folder)
    return LeaseStatus(is_driven, row.driver, row.holder if is_driven else None)


def write_stop_request(folder: SearchFolder, how: str) -> int:
    """Say to a search's driver how to end, and return its number; SearchError if there is no driver."""
    sight = look(folder)
    if not sight.is_driven:
        raise SearchError(f"search {folder.name!r} is not running")
    engine = find_database(folder).engine()
    try:
        with engine.begin() as connection:
            mine = (_LEASES.c.search == folder.name, _LEASES.c.driver == sight.driver)
            connection.execute(update(_LEASES).where(*mine).values(stop=how))
    finally:
        engine.dispose()
    return sight.driver


def _claim(engine: Engine, database: Database, folder: SearchFolder) -> None:
    """See to it that ledger, folder and storage belong to one search, by its uid; the first to come makes it."""
    known = folder.uid.read_text() if folder.uid.exists() else None
    first = {"search": folder.name, "uid": known or uuid.uuid4().hex, "driver": 0, "beat": 0, "beat_time": 0.0}
    try:
        with engine.begin() as connection:
            connection.execute(insert(_LEASES).values(first))
    except IntegrityError:
        pass  # it is there
    with engine.begin() as connection:
        row = connection.execute(select(_LEASES).where(_LEASES.c.search == folder.name)).one()
    if row.driver == 0 and (started := len(folder.drivers())):
        rule = f"search {folder.name!r} has {started} trials that this ledger knows nothing of"
        raise SearchError(f"{rule}: give it the ledger that it was started with, not {database.url}")
    for uid in (folder.uid, *([folder.storage / "uid"] if folder.storage else [])):
        if not uid.exists():
            write_atomically(uid, row.uid.encode())
        if uid.read_text() != row.uid:
            rule = f"the ledger {database.url} belongs to another search named {folder.name!r} than {uid.parent}"
            raise SearchError(f"{rule}; give one of them another --name, or another place")


def _take(engine: Engine, name: str, lock: str | None) -> int:
    """Become the driver, and return its number."""
    seen = _row(engine, name)
    heard = time.monotonic()
    while seen.holder is not None and not (lock is not None and lock == seen.lock):
        time.sleep(BEAT_SECONDS / 4)
        row = _row(engine, name)
        if row.holder is not None and (row.driver, row.beat) != (seen.driver, seen.beat):
            raise _driven(name, row.holder)
        if row.holder is None:
            seen = row
        elif time.monotonic() - heard >= TTL_SECONDS:
            break
    driver = int(seen.driver) + 1
    mine = {"driver": driver, "beat": 0, "beat_time": time.time(), "holder": _who(), "lock": lock, "stop": None}
    same = (_LEASES.c.search == name, _LEASES.c.driver == seen.driver, _LEASES.c.beat == seen.beat)
    with engine.begin() as connection:
        taken = connection.execute(update(_LEASES).where(*same).values(mine)).rowcount
    if not taken:
        raise _driven(name, _row(engine, name).holder)
    return driver


@contextmanager
def _file_lock(folder: SearchFolder) -> Iterator[str | None]:
    """Hold a file lock as well, where the folder is on disk: the kernel frees it when a process dies.

    Yields what tells this lock from any other, or None where there is none.
    """
    if not isinstance(folder.root, Path):
        yield None
        return
    folder.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.root / _LOCK, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise _driven(folder.name, look(folder).holder) from error
    try:
        yield _lock_id(folder.root)
    finally:
        lock.release()


def _lock_id(root: Path) -> str:
    """The lock file, and the kernel that keeps it: on another machine a lock on a shared disk may mean nothing."""
    kernel = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else platform.node()
    stat = (root / _LOCK).stat()
    return f"{kernel} {stat.st_dev} {stat.st_ino}"


def _may_beat(row: Any, folder: SearchFolder) -> bool:
    """Whether a lease's holder is alive, as far as a look can tell: by its lock on this machine, else by its clock."""
    if row.lock is not None and isinstance(folder.root, Path) and (folder.root / _LOCK).exists():
        if row.lock == _lock_id(folder.root):
            return _is_locked(folder.root / _LOCK)
    return bool(time.time() - row.beat_time < TTL_SECONDS)


def _is_locked(path: Path) -> bool:
    """Whether a process holds a lock file. A look is shared: it never sees another look."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read_row(folder: SearchFolder) -> Any:
    """The lease's row, or None where there is none yet."""
    database = find_database(folder)
    if not database.exists():
        return None
    engine = database.engine()
    try:
        return _row(engine, folder.name)
    except SQLAlchemyError:
        return None  # nobody has held the search yet
    finally:
        engine.dispose()


def _row(engine: Engine, name: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(_LEASES).where(_LEASES.c.search == name)).first()


def _who() -> str:
    """This process, and the Ray job that it is the driver of."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("metadata", {}).get("job_submission_id")
    return f"process {os.getpid()} on {socket.gethostname()}{f', job {job}' if job else ''}"


def _driven(name: str, holder: str | None) -> SearchError:
    by = f"another driver ({holder})" if holder else "another driver"
    return SearchError(f"search {name!r} is being driven by {by}; wait for it or stop it")
