"""Tests of the choice of a ledger's database, without a server."""

import sys
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home
from lkca_search.search.state.database import choose_database


def test_a_psycopg_that_cannot_be_imported_is_reported_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # import then raises ImportError, as without libpq
    with pytest.raises(SearchError, match=r"needs psycopg: pip install 'psycopg\[binary\]'"):
        choose_database(Home(root=tmp_path).search("toy"), "postgresql://me@127.0.0.1/ledger")
