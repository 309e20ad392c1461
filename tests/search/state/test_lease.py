"""Tests of the lease: one driver per search, on SQLite and PostgreSQL, on one machine and on several."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.search.state import driver_lock
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import Lease, LeaseTiming, hold_lease
from lkca_search.search.state.lease_status import LEASES, LeaseStatus, read_lease, write_stop_request
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.space_file import read_space_file
from tests.support.postgres import Postgres
from tests.support.space_files import VALID

TIMING = LeaseTiming(ttl_seconds=3.0, valid_seconds=2.0)
DRIVE = """
import errno, fcntl, sys, time
from pathlib import Path
from lkca_search.search.state import driver_lock
from lkca_search.search.state.lease import LeaseTiming, hold_lease
from lkca_search.layout import SearchFolder
driver_lock.BOOT_ID = Path(sys.argv[2])
def no_locks(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")
if "no-locks" in sys.argv:
    fcntl.flock = no_locks
with hold_lease(SearchFolder(root=Path(sys.argv[1])), timing=LeaseTiming(ttl_seconds=3.0, valid_seconds=2.0)) as lease:
    print(lease.driver, flush=True)
    while True:
        time.sleep(0.2)
        lease.ensure()
"""
"""Driver that only holds its lease. A file names the kernel of its machine."""


class Driver:
    """Driver in a process of its own, on this machine or on one that seems to be another."""

    def __init__(self, folder: SearchFolder, *, kernel: str = "", has_locks: bool = True) -> None:
        root = Path(str(folder.root))
        boot = root.parent / f"boot-{kernel}"
        boot.parent.mkdir(parents=True, exist_ok=True)
        boot.write_text(kernel)
        command = [sys.executable, "-c", DRIVE, str(root), str(boot if kernel else driver_lock.BOOT_ID)]
        command += [] if has_locks else ["no-locks"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def driver(self) -> int:
        """Return the number of this driver once it holds the lease, or -1 if it was refused."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline() or -1)

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


def move_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the lock files of other processes on the shared disk from this process."""
    monkeypatch.setattr(driver_lock, "LOCK_FILE", "another.lock")


def test_a_lease_is_held_inside_its_context_and_each_driver_has_the_next_number(folder: SearchFolder) -> None:
    assert read_lease(folder) == LeaseStatus(False, 0, None)
    for number in (1, 2, 3):
        with hold_lease(folder, timing=TIMING) as lease:
            assert lease.driver == number
            status = read_lease(folder)
            assert status[:2] == (True, number)
            assert f"process {os.getpid()} on " in str(status.holder)
        assert read_lease(folder) == LeaseStatus(False, number, None)


def test_reading_a_lease_writes_nothing(folder: SearchFolder) -> None:
    read_lease(folder)
    assert not folder.root.exists()


def test_a_lease_is_released_after_an_error(folder: SearchFolder) -> None:
    with pytest.raises(KeyError), hold_lease(folder, timing=TIMING):
        raise KeyError
    assert not read_lease(folder).is_held


def test_a_second_driver_is_refused_with_the_process_of_the_first(folder: SearchFolder) -> None:
    rule = (
        rf"search '{folder.name}' is being driven by another driver \(process {os.getpid()} on .*\); "
        rf"wait until it ends, or stop it: lkca-search stop {folder.name}"
    )
    with hold_lease(folder, timing=TIMING):
        with pytest.raises(SearchError, match=rule), hold_lease(folder, timing=TIMING):
            pass


def test_a_driver_on_another_machine_is_detected_by_its_renewals(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="other") as other:
        assert other.driver() == 1
        move_to_another_machine(monkeypatch)
        assert read_lease(folder)[:2] == (True, 1)
        with pytest.raises(SearchError, match="being driven by another driver"), hold_lease(folder, timing=TIMING):
            pass


def test_a_driver_that_was_killed_on_this_machine_is_replaced_at_once(folder: SearchFolder) -> None:
    with Driver(folder) as first:
        assert first.driver() == 1
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert not read_lease(folder).is_held
        started = time.monotonic()
        with hold_lease(folder, timing=TIMING) as lease:
            assert lease.driver == 2
            assert time.monotonic() - started < TIMING.ttl_seconds


def test_a_driver_that_was_killed_on_another_machine_is_replaced_when_its_lease_expires(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="other") as first:
        assert first.driver() == 1
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    move_to_another_machine(monkeypatch)
    started = time.monotonic()
    with hold_lease(folder, timing=TIMING) as lease:
        assert time.monotonic() - started >= TIMING.ttl_seconds
        assert lease.driver == 2


def test_one_of_several_simultaneous_drivers_replaces_a_dead_one(folder: SearchFolder) -> None:
    with Driver(folder, kernel="dead") as first:
        assert first.driver() == 1
    # Four machines share one lock file, so at most one of them can hold it.
    drivers = [Driver(folder, kernel=f"machine-{number}") for number in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            numbers = sorted(pool.map(lambda driver: driver.driver(), drivers))
        assert numbers == [-1, -1, -1, 2]
        losers = [driver for driver in drivers if driver.process.poll() is not None]
        assert all("is being driven by another driver" in driver.process.stderr.read() for driver in losers)  # type: ignore[union-attr]
    finally:
        for driver in drivers:
            driver.__exit__()


def test_a_frozen_driver_that_was_replaced_is_interrupted_before_it_commits(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="other") as frozen:
        assert frozen.driver() == 1
        frozen.process.send_signal(signal.SIGSTOP)
        move_to_another_machine(monkeypatch)
        with hold_lease(folder, timing=TIMING) as lease:
            assert lease.driver == 2
            frozen.process.send_signal(signal.SIGCONT)
            _, errors = frozen.process.communicate(timeout=30)
            assert "was taken over by another driver, because this one did not renew its lease in time" in errors
            assert read_lease(folder)[:2] == (True, 2)
            lease.ensure()


def test_a_stop_request_reaches_the_running_driver_and_not_the_next(folder: SearchFolder) -> None:
    with pytest.raises(SearchError, match="is not running"):
        write_stop_request(folder, "now")
    with hold_lease(folder, timing=TIMING) as lease:
        assert write_stop_request(folder, "later") == 1
        time.sleep(2.5 * TIMING.heartbeat_seconds)
        assert lease.stop_request == "later"
    with hold_lease(folder, timing=TIMING) as lease:
        time.sleep(2.5 * TIMING.heartbeat_seconds)
        assert lease.stop_request is None


def test_a_driver_survives_a_short_outage_of_its_database(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    with hold_lease(Home(root=tmp_path).search("patient"), timing=LeaseTiming(valid_seconds=1.5)) as lease:
        postgres.stop()
        time.sleep(2.0)
        postgres.start()
        started = time.monotonic()
        lease.ensure()
        assert time.monotonic() - started < 10


def test_a_driver_is_interrupted_by_a_long_outage_of_its_database(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    timing = LeaseTiming(ttl_seconds=2.0, valid_seconds=1.0)
    with hold_lease(Home(root=tmp_path).search("cut-off"), timing=timing) as lease:
        postgres.stop()
        try:
            time.sleep(1.5)
            with pytest.raises(Interrupted, match=r"lease on search 'cut-off' could not be renewed: .*refused"):
                lease.ensure()
        finally:
            postgres.start()


def test_an_outage_is_waited_for_once_and_not_at_all_by_a_driver_that_stops_now(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    timing = LeaseTiming(ttl_seconds=2.0, valid_seconds=1.0)
    with hold_lease(Home(root=tmp_path).search("once"), timing=timing) as lease:
        postgres.stop()
        try:
            time.sleep(1.2)
            lease.may_wait = False
            assert seconds_until_interrupted(lease) < 0.5
            lease.may_wait = True
            assert seconds_until_interrupted(lease) > 1.0
            assert seconds_until_interrupted(lease) < 0.5
        finally:
            postgres.start()
        time.sleep(3.0)
        lease.ensure()


def test_a_driver_ends_although_its_database_stands_still(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    timing = LeaseTiming(heartbeat_seconds=0.2, ttl_seconds=2.0, valid_seconds=1.0)
    folder, started = Home(root=tmp_path).search("still"), time.monotonic()
    try:
        with hold_lease(folder, timing=timing) as lease:
            postgres.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            with pytest.raises(Interrupted, match="could not be renewed"):
                lease.ensure()
        assert time.monotonic() - started < 15
    finally:
        postgres.send_signal(signal.SIGCONT)


def seconds_until_interrupted(lease: Lease) -> float:
    started = time.monotonic()
    with pytest.raises(Interrupted, match="could not be renewed"):
        lease.ensure()
    return time.monotonic() - started


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_has_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(number))
    folder = Home(root=tmp_path).search("lockless")
    with hold_lease(folder, timing=TIMING) as lease:
        assert (lease.driver, read_lease(folder)[:2]) == (1, (True, 1))
    assert not read_lease(folder).is_held


def no_locks(number: int) -> Callable[..., None]:
    """Return a replacement of `flock` on a file system without locks."""

    def flock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


def test_without_locks_in_the_file_system_the_lease_alone_admits_one_driver(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    with Driver(folder, has_locks=False) as first:
        assert first.driver() == 1
        assert read_lease(folder)[:2] == (True, 1)
        with pytest.raises(SearchError, match="being driven by another driver"), hold_lease(folder, timing=TIMING):
            pass
    started = time.monotonic()
    with hold_lease(folder, timing=TIMING) as lease:  # the first was killed
        assert lease.driver == 2
        assert time.monotonic() - started >= TIMING.ttl_seconds


def test_a_provisional_lease_of_a_search_that_is_refused_leaves_nothing(folder: SearchFolder, tmp_path: Path) -> None:
    folder = SearchFolder(root=folder.root, storage=tmp_path / "storage" / folder.name)
    with hold_lease(folder, timing=TIMING, is_provisional=True):
        folder.trials.mkdir(parents=True)
    assert not folder.root.exists()
    assert not folder.storage.exists()  # type: ignore[union-attr]
    with hold_lease(folder, timing=TIMING, is_provisional=True):
        commit_space_file(folder, read_space_file(write_space(tmp_path)))
    assert {path.name for path in folder.root.iterdir()} >= {"uid", "spec.json", "driver.lock"}
    with hold_lease(folder, timing=TIMING, is_provisional=True) as lease:
        assert lease.driver == 3 if find_database(folder).file is None else lease.driver == 2


def test_a_provisional_lease_keeps_the_trials_of_a_search_without_a_spec(folder: SearchFolder) -> None:
    with hold_lease(folder, timing=TIMING, is_provisional=True):
        folder.trial("cell/0").attempt(driver=1, attempt=1).mkdir(parents=True)
    assert find_database(folder).exists()
    assert folder.drivers() == {"cell/0": 1}


def write_space(folder: Path) -> Path:
    path = folder / "space.yaml"
    path.write_text(VALID)
    return path


def test_an_expired_lease_of_another_machine_is_not_held(folder: SearchFolder) -> None:
    with hold_lease(folder, timing=TIMING):
        pass
    engine = find_database(folder).engine()
    with engine.begin() as connection:
        connection.execute(update(LEASES).values(holder="gone", lock="elsewhere", beat_time=time.time() - 60))
    engine.dispose()
    assert not read_lease(folder).is_held
