"""Home of searches, and folders of datasets, as arguments and the environment name them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.layout import Home
from lkca_search.user import expand_user

if TYPE_CHECKING:
    from lkca_search.training.images import DataDirs


def open_home(home: str | Path | None) -> Home:
    """Return the home at a path or URL, or that of LKCA_SEARCH_HOME for None.

    Raises:
        SearchError: The path is no folder, or this user cannot read it.
    """
    if home is None:
        return Home.from_environment()
    return Home.at(home if isinstance(home, str) and "://" in home else str(expand_user(str(home))), name="home")


def local_data_dir() -> Path | None:
    """Return the absolute path of LKCA_DATA_DIR, the folder of datasets by name; None if it is not set."""
    folder = os.environ.get("LKCA_DATA_DIR")
    return Path(folder).absolute() if folder else None


def local_data_dirs(home: Home) -> "DataDirs":
    """Return the folders of datasets on this machine."""
    from lkca_search.training.images import DataDirs

    return DataDirs(cache=home.datasets, data_dir=local_data_dir())
