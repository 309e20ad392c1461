"""Name and home folder of the user.

In many containers a process has a user id with neither. Ray, MLflow and torch request both, some of them when they are
imported. Workers inherit the variables.
"""

import getpass
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lkca_search.errors import UserError


def ensure_user() -> None:
    """Set USER and HOME if the user has no name or home folder; the home is then a private folder in TMPDIR."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises OSError
        os.environ["USER"] = f"uid-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        with suppress(OSError):  # without a folder for temporary files, a later step fails with its reason
            os.environ["HOME"] = str(_private_folder())


def expand_user(path: str) -> Path:
    """Return the path with the home of a user in place of `~` or `~NAME`; UserError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        name = path.partition("/")[0]
        raise UserError(f"~NAME must be a user of this machine, got {name} in {path}; write the whole path") from error


def _private_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"lkca-search-home-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # another user has made it
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    return folder
