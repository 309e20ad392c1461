"""Home of searches, folders of searches and of datasets, as arguments and the environment name them."""

from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder, local_data_dir
from lkca_search.paths import AnyPath, parse_path
from lkca_search.records.stored_spec import read_spec
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


def find_folder(search: str | Path, *, home: str | Path | None = None) -> SearchFolder:
    """Return the folder of a started search by its name, path or URL, as `load_search` does."""
    text = str(search)
    if isinstance(search, str) and "/" not in text and text not in (".", ".."):
        return open_home(home).started_search(text)
    root: AnyPath = parse_path(text) if "://" in text else expand_user(text).absolute()
    folder = SearchFolder(root=root)
    if not folder.spec.exists():
        rule = "a search must be a name, or the path or URL of a folder with a file spec.json"
        raise SearchError(f"{rule}, got {text}")
    return folder.with_storage(read_spec(folder).storage)


def local_data_dirs(home: Home) -> "DataDirs":
    """Return the folders of datasets on this machine."""
    from lkca_search.training.images import DataDirs

    return DataDirs(cache=home.datasets, data_dir=local_data_dir())
