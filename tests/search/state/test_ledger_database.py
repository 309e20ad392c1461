"""Database of a search's ledger: it belongs to one search, and its URL has no password."""

import shutil
import socket
from os import dup
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.lease_status import read_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.space_file import read_space_file
from tests.support.postgres import Postgres
from tests.support.space_files import VALID


def test_a_ledger_of_another_search_is_refused(folder: SearchFolder) -> None:
    with hold_lease(folder):
        pass
    write_atomically(folder.uid, b"0" * 32)
    with pytest.raises(SearchError, match=r"belongs to another search .*; give one of them another --name"):
        with hold_lease(folder):
            pass


def test_two_searches_cannot_share_a_storage(folder: SearchFolder, tmp_path: Path) -> None:
    here = SearchFolder(root=folder.root, storage=tmp_path / "storage" / folder.name)
    with hold_lease(here):
        pass
    elsewhere = SearchFolder(root=tmp_path / "other" / folder.name, storage=here.storage)
    if find_database(folder).file is None:  # the same ledger: this is the same search in a new home
        with hold_lease(elsewhere) as lease:
            assert lease.driver == 2
        return
    with pytest.raises(SearchError, match=r"belongs to another search"), hold_lease(elsewhere):
        pass


def test_a_search_whose_storage_is_not_mounted_is_refused_and_nothing_is_written(
    folder: SearchFolder, tmp_path: Path
) -> None:
    disk, unmounted = tmp_path / "disk", tmp_path / "unmounted"
    storage = disk / folder.name
    folder, space = SearchFolder(root=folder.root, storage=storage), tmp_path / "space.yaml"
    space.write_text(VALID)
    with hold_lease(folder):
        commit_space_file(folder, read_space_file(space))
    disk.rename(unmounted)
    with pytest.raises(SearchError, match=r"must be there, got no folder .*: mount its disk"), hold_lease(folder):
        pass
    assert not disk.exists()
    unmounted.rename(disk)
    with hold_lease(folder) as lease:
        assert lease.driver == 2
    shutil.rmtree(storage)
    storage.mkdir()  # the user states that the trials are lost
    with hold_lease(folder) as lease:
        assert lease.driver == 3


def test_a_connection_to_a_server_whose_machine_is_lost_ends_within_seconds(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    folder = Home(root=tmp_path).search("linked")
    with hold_lease(folder):
        engine = find_database(folder).engine()
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            with socket.socket(fileno=dup(driver.fileno())) as link:
                assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
                assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        engine.dispose()


def test_trials_that_are_missing_in_the_ledger_are_refused(folder: SearchFolder) -> None:
    folder.trial("cell/0").attempt(driver=1, attempt=1).mkdir(parents=True)
    with pytest.raises(SearchError, match=r"has 1 trials, and the ledger .* has none of them; give the ledger with wh"):
        with hold_lease(folder):
            pass


def test_the_url_of_the_ledger_is_stored_in_the_folder(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Home(root=tmp_path).search("noted")
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", postgres.url)
    with hold_lease(folder):
        pass
    monkeypatch.delenv("LKCA_SEARCH_LEDGER")
    assert find_database(folder).url == postgres.url.replace("postgresql://", "postgresql+psycopg://")
    assert read_lease(folder).driver == 1
    with hold_lease(folder) as lease:
        assert lease.driver == 2


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("postgresql://me:secret@host/db", "without a password, got one in .*; set PGPASSWORD or PGPASSFILE"),
        ("postgresql://me@host/db?password=secret", "without a password, got one in .*; set PGPASSWORD or PGPASSFILE"),
        ("mysql://me@host/db", "must be postgresql://USER@HOST/DATABASE, got 'mysql://me@host/db'"),
        ("host/db", "must be postgresql://USER@HOST/DATABASE, got 'host/db'"),
        ("postgresql://me@127.0.0.1:1/db", "the ledger's database cannot be opened: .*refused"),
    ],
)
def test_an_invalid_url_of_a_ledger_is_refused_without_printing_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, rule: str
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_LEDGER", url)
    with pytest.raises(SearchError, match=rule) as caught, hold_lease(Home(root=tmp_path).search("bad")):
        pass
    assert "secret" not in str(caught.value)
