"""Cache of measured backends: one file per node, shared by all of a user's searches on it.

The first training that needs a layer shape measures it under a lock. All later ones on the node take the same choice,
so that equal trainings stay bit-identical although times vary.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from lkca_search.environment.locks import hold_file_lock
from lkca_search.file_names import MAX_NAME_BYTES, shorten_name
from lkca_search.paths import write_atomically
from lkca_search.records.provenance import LayerBackend, node_name
from lkca_search.spec.base import FrozenModel

_log = logging.getLogger(__name__)
_LOCK_SECONDS = 300.0
"""Time to wait for the measurements of other processes."""
_MAX_ENTRIES = 10_000


class _CacheFile(FrozenModel):
    """Content of a cache file."""

    choices: dict[str, LayerBackend]
    """Choice per device, settings and layer shape."""


def cache_folder() -> Path | None:
    """Return LKCA_BACKEND_CACHE, by default ~/.cache/lkca-search/backends; None if the user has no home directory."""
    if folder := os.environ.get("LKCA_BACKEND_CACHE"):
        return Path(folder)
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "lkca-search" / "backends"


def find_or_measure(key: str, measure: Callable[[], LayerBackend]) -> LayerBackend:
    """Return the choice of this node under a key; measure and store it if there is none.

    A cache that cannot be read or written costs only the time of the measurement.
    """
    folder = cache_folder()
    if folder is None:
        return measure()
    path = folder / f"{shorten_name(quote(node_name(), safe=''), max_bytes=MAX_NAME_BYTES - 64)}.json"
    if found := _read(path).get(key):
        return found
    measured = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_file_lock(path.with_suffix(".lock"), timeout_seconds=_LOCK_SECONDS):
            choices = _read(path)
            measured = choices.get(key) or measure()
            if key not in choices:
                newest = [*choices.items(), (key, measured)][-_MAX_ENTRIES:]
                write_atomically(path, _CacheFile(choices=dict(newest)).model_dump_json(indent=1).encode())
    except OSError as error:
        _log.warning("the measured backend is not stored for later trainings: %s", error)
    return measured or measure()


def _read(path: Path) -> dict[str, LayerBackend]:
    """Return the choices in a file; none if it is missing or damaged, as they can be measured again."""
    try:
        return dict(_CacheFile.model_validate_json(path.read_bytes()).choices)
    except (OSError, ValueError):
        return {}
