"""Database of a search's ledger: it belongs to one search, and its URL has no password."""

from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.lease_status import read_lease
from tests.support.postgres import Postgres


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
