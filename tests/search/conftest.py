"""Folder and ledger of a toy search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.search.driver.ledger import Ledger
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS, make_spec


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    folder = Home(root=tmp_path / "home").search("toy")
    folder.root.mkdir(parents=True)
    return folder


@pytest.fixture
def open_ledger(folder: SearchFolder) -> Callable[..., Ledger]:
    def open_ledger(tracker: Tracker | None = None, *, in_folder: SearchFolder = folder, **search: Any) -> Ledger:
        return Ledger(in_folder, make_spec(**search), DIGITS, 10, tracker or Tracker())

    return open_ledger
