"""Note of a search on the MLflow store that has its runs, for a command that finds none in another store."""

from contextlib import suppress

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.spec.base import FrozenModel
from lkca_search.tracking.connection import is_default_store, tracking_uri, without_login


class LoggedStore(FrozenModel):
    """MLflow store that has received runs of a search."""

    uri: str | None
    """URI without user and password; None for the database in the home."""


def note_store(folder: SearchFolder, home: Home) -> None:
    """Write the store of this process as the one that has the search's runs. Without the note, no store is named."""
    present = _present(home)
    if _read(folder) != present:
        with suppress(OSError):
            write_atomically(_file(folder), present.model_dump_json().encode())


def explain_no_run(folder: SearchFolder, home: Home) -> str:
    """Return the reason why the store of this process has no run of a search, and the commands that mend it."""
    noted = _read(folder)
    if noted is None or noted == _present(home):
        return f"it has no run of this search; run `lkca-search sync {folder.name}`"
    place, step = "the database of the home", "unset MLFLOW_TRACKING_URI"
    if noted.uri is not None:
        is_server = noted.uri.startswith(("http://", "https://"))
        place = f"the MLflow server {noted.uri}" if is_server else noted.uri
        step = f"{'start it again, and ' if is_server else ''}set MLFLOW_TRACKING_URI={noted.uri}"
    return (
        f"it has no run of this search, whose runs are in {place}. Either {step}; or send all runs and models to this "
        f"store too, by `lkca-search sync {folder.name}`"
    )


def _present(home: Home) -> LoggedStore:
    return LoggedStore(uri=None if is_default_store() else without_login(tracking_uri(home)))


def _read(folder: SearchFolder) -> LoggedStore | None:
    try:
        return LoggedStore.model_validate_json(_file(folder).read_bytes())
    except (OSError, ValueError):
        return None


def _file(folder: SearchFolder) -> AnyPath:
    return folder.root / "mlflow_store.json"
