"""One driver a search, wherever it runs: on SQLite and on PostgreSQL, on one machine and on several."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from cluster.local.ports import free_port
from lkca_search.errors import Interrupted, SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.search.state import lease as lease_module
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import _LEASES, BEAT_SECONDS, LeaseStatus, hold, look, write_stop_request
from tests.support.postgres import Postgres, running_postgres

TTL_SECONDS = 3.0
DRIVE = """
import sys, time
from pathlib import Path
from lkca_search.search.state import lease
from lkca_search.layout import SearchFolder
lease.TTL_SECONDS, lease._SURE_SECONDS = 3.0, 2.0
lease._BOOT_ID = Path(sys.argv[2])
with lease.hold(SearchFolder(root=Path(sys.argv[1]))) as held:
    print(held.driver, flush=True)
    while True:
        time.sleep(0.2)
        held.ensure()
"""
"""A driver that does nothing, on a machine whose kernel is named by a file."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    # Below the system's own folder: a server that is not root must be able to reach it.
    folder = Path("/tmp") / f"lkca-pg-{os.getpid()}"
    with running_postgres(folder, free_port()) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    name = f"search-{abs(hash(request.node.name))}"
    if request.param == "postgresql":
        monkeypatch.setenv("LKCA_SEARCH_LEDGER", request.getfixturevalue("postgres").url)
    monkeypatch.setattr(lease_module, "TTL_SECONDS", TTL_SECONDS)
    monkeypatch.setattr(lease_module, "_SURE_SECONDS", 2.0)
    return Home(root=tmp_path / "home").search(name)


class Driver:
    """A driver in a process of its own, on this machine or on what seems another."""

    def __init__(self, folder: SearchFolder, *, kernel: str = "") -> None:
        root = Path(str(folder.root))
        boot = root.parent / f"boot-{kernel}"
        boot.parent.mkdir(parents=True, exist_ok=True)
        boot.write_text(kernel)
        command = [sys.executable, "-c", DRIVE, str(root), str(boot if kernel else lease_module._BOOT_ID)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def driver(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline() or -1)

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


def on_another_machine(folder: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find no lock of the other's on the shared disk."""
    monkeypatch.setattr(lease_module, "_LOCK", "another.lock")


def test_a_search_is_driven_while_it_is_held_and_each_driver_has_a_number(folder: SearchFolder) -> None:
    assert look(folder) == LeaseStatus(False, 0, None)
    for number in (1, 2, 3):
        with hold(folder) as held:
            assert held.driver == number
            sight = look(folder)
            assert sight[:2] == (True, number)
            assert f"process {os.getpid()} on " in str(sight.holder)
        assert look(folder) == LeaseStatus(False, number, None)


def test_a_look_leaves_no_trace(folder: SearchFolder) -> None:
    look(folder)
    assert not folder.root.exists()


def test_a_search_is_free_again_after_an_error(folder: SearchFolder) -> None:
    with pytest.raises(KeyError), hold(folder):
        raise KeyError
    assert not look(folder).is_driven


def test_a_second_driver_is_refused_and_told_who_drives(folder: SearchFolder) -> None:
    rule = rf"search '{folder.name}' is being driven by another driver \(process {os.getpid()} on .*\); wait for it or"
    with hold(folder), pytest.raises(SearchError, match=rule), hold(folder):
        pass


def test_a_driver_elsewhere_is_seen_by_its_beats_alone(folder: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Driver(folder, kernel="other") as other:
        assert other.driver() == 1
        on_another_machine(folder, monkeypatch)
        assert look(folder)[:2] == (True, 1)
        with pytest.raises(SearchError, match="being driven by another driver"), hold(folder):
            pass


def test_a_driver_killed_on_this_machine_is_followed_at_once(folder: SearchFolder) -> None:
    with Driver(folder) as first:
        assert first.driver() == 1
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert not look(folder).is_driven
        begun = time.monotonic()
        with hold(folder) as held:
            assert held.driver == 2
            assert time.monotonic() - begun < TTL_SECONDS


def test_a_driver_killed_elsewhere_is_followed_when_no_beat_has_fallen_for_long_enough(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="other") as first:
        assert first.driver() == 1
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    on_another_machine(folder, monkeypatch)
    begun = time.monotonic()
    with hold(folder) as held:
        assert time.monotonic() - begun >= TTL_SECONDS
        assert held.driver == 2


def test_of_many_that_come_at_once_after_a_death_one_drives(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="dead") as first:
        assert first.driver() == 1
    drivers = [Driver(folder, kernel=f"machine-{number}") for number in range(4)]
    # Each on a machine of its own: the lock file is the same, so only one may even hold that.
    try:
        with ThreadPoolExecutor(4) as pool:
            numbers = sorted(pool.map(lambda driver: driver.driver(), drivers))
        assert numbers == [-1, -1, -1, 2]
        losers = [driver for driver in drivers if driver.process.poll() is not None]
        assert all("is being driven by another driver" in driver.process.stderr.read() for driver in losers)  # type: ignore[union-attr]
    finally:
        for driver in drivers:
            driver.__exit__()


def test_a_driver_that_was_frozen_and_replaced_writes_nothing_more(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Driver(folder, kernel="other") as frozen:
        assert frozen.driver() == 1
        frozen.process.send_signal(signal.SIGSTOP)
        on_another_machine(folder, monkeypatch)
        with hold(folder) as held:
            assert held.driver == 2
            frozen.process.send_signal(signal.SIGCONT)
            _, errors = frozen.process.communicate(timeout=30)
            assert "was taken over by another driver while this one was not heard of" in errors
            assert look(folder)[:2] == (True, 2)
            held.ensure()


def test_word_is_heard_by_the_driver_it_was_left_for(folder: SearchFolder) -> None:
    with pytest.raises(SearchError, match="is not running"):
        write_stop_request(folder, "now")
    with hold(folder) as held:
        assert write_stop_request(folder, "later") == 1
        time.sleep(2.5 * BEAT_SECONDS)
        assert held.stop == "later"
    with hold(folder) as held:
        time.sleep(2.5 * BEAT_SECONDS)
        assert held.stop is None


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    monkeypatch.setattr(lease_module, "_SURE_SECONDS", 1.5)
    with hold(Home(root=tmp_path).search("patient")) as held:
        postgres.stop()
        time.sleep(2.0)
        postgres.start()
        begun = time.monotonic()
        held.ensure()
        assert time.monotonic() - begun < 10


def test_a_database_that_stays_away_ends_its_driver(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    monkeypatch.setattr(lease_module, "TTL_SECONDS", 2.0)
    monkeypatch.setattr(lease_module, "_SURE_SECONDS", 1.0)
    with hold(Home(root=tmp_path).search("cut-off")) as held:
        postgres.stop()
        try:
            time.sleep(1.5)
            with pytest.raises(Interrupted, match=r"lease on search 'cut-off' could not be renewed: .*refused"):
                held.ensure()
        finally:
            postgres.start()


def test_a_ledger_of_another_search_is_refused(folder: SearchFolder) -> None:
    with hold(folder):
        pass
    write_atomically(folder.uid, b"0" * 32)
    with pytest.raises(SearchError, match=r"belongs to another search named .*; give one of them another --name"):
        with hold(folder):
            pass


def test_two_searches_do_not_share_a_storage(folder: SearchFolder, tmp_path: Path) -> None:
    here = SearchFolder(root=folder.root, storage=tmp_path / "storage" / folder.name)
    with hold(here):
        pass
    elsewhere = SearchFolder(root=tmp_path / "other" / folder.name, storage=here.storage)
    if find_database(folder).file is None:  # the same ledger: it is the same search, in a new home
        with hold(elsewhere) as held:
            assert held.driver == 2
        return
    with pytest.raises(SearchError, match=r"belongs to another search"), hold(elsewhere):
        pass


def test_trials_that_a_ledger_knows_nothing_of_are_refused(folder: SearchFolder) -> None:
    folder.trial("cell/0").attempt(driver=1, attempt=1).mkdir(parents=True)
    with pytest.raises(SearchError, match="1 trials that this ledger knows nothing of: give it the ledger that it was"):
        with hold(folder):
            pass


def test_where_the_ledger_is_stands_in_the_folder(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Home(root=tmp_path).search("noted")
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    with hold(folder):
        pass
    monkeypatch.delenv("LKCA_SEARCH_LEDGER")
    assert find_database(folder).url == postgres.url.replace("postgresql://", "postgresql+psycopg://")
    assert look(folder).driver == 1
    with hold(folder) as held:
        assert held.driver == 2


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("postgresql://me:secret@host/db", "without a password, which PGPASSWORD or PGPASSFILE supply"),
        ("postgresql://me@host/db?password=secret", "without a password, which PGPASSWORD or PGPASSFILE supply"),
        ("mysql://me@host/db", "must be postgresql://USER@HOST/DATABASE, got 'mysql://me@host/db'"),
        ("host/db", "must be postgresql://USER@HOST/DATABASE, got 'host/db'"),
        ("postgresql://me@127.0.0.1:1/db", "the ledger's database cannot be opened: .*refused"),
    ],
)
def test_a_ledger_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, rule: str
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", url)
    with pytest.raises(SearchError, match=rule) as caught, hold(Home(root=tmp_path).search("bad")):
        pass
    assert "secret" not in str(caught.value)


def test_a_row_of_a_machine_that_is_gone_is_not_alive(folder: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(folder):
        pass
    engine = find_database(folder).engine()
    with engine.begin() as connection:
        connection.execute(update(_LEASES).values(holder="gone", lock="elsewhere", beat_time=time.time() - 60))
    engine.dispose()
    assert not look(folder).is_driven
