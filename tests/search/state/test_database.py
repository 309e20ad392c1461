"""Tests of the choice of a ledger's database, without a server."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home
from lkca_search.paths import write_atomically
from lkca_search.search.state.damage import scan_files
from lkca_search.search.state.database import choose_database
from lkca_search.search.state.lease_status import read_lease
from lkca_search.search.studies.study import open_storage


def test_a_psycopg_that_cannot_be_imported_is_reported_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # import then raises ImportError, as without libpq
    with pytest.raises(SearchError, match=r"needs psycopg: pip install 'psycopg\[binary\]'"):
        choose_database(Home(root=tmp_path).search("toy"), "postgresql://me@127.0.0.1/ledger").engine()


def test_an_address_of_a_server_is_no_damage_where_psycopg_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Home(root=tmp_path).search("toy")
    write_atomically(folder.ledger_url, b"postgresql://me@127.0.0.1/ledger")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert scan_files(folder) == []
    with pytest.raises(SearchError, match="needs psycopg"):
        read_lease(folder)


@pytest.mark.parametrize(
    "name", ["%41", "a?q=1", "a#b", "a b", "{x}", "{", "100%", "".join(map(chr, range(0x30, 0x7F)))]
)
def test_the_ledger_of_a_home_with_any_name_is_in_that_home(name: str, tmp_path: Path) -> None:
    folder = Home(root=tmp_path / name).search("toy")
    Path(str(folder.root)).mkdir(parents=True)
    database = choose_database(folder, None)
    open_storage(database).create_new_study([optuna.study.StudyDirection.MAXIMIZE], "cell")
    with closing(sqlite3.connect(Path(str(folder.root)) / "ledger.db")) as ledger:
        assert ledger.execute("SELECT study_name FROM studies").fetchall() == [("cell",)]
    assert [path.name for path in tmp_path.iterdir()] == [name]
