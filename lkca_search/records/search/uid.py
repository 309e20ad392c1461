"""Unique id of a search: the same in its folder, its storage, its ledger and its MLflow run."""

import re

from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.finding import DamagedError, Finding, read_stored_bytes, repair_command

SEARCH_UID = "lkca.search_uid"
"""MLflow tag of a search's runs with its unique id."""
_UID = re.compile(rb"[0-9a-f]{32}")


def read_uid(folder: SearchFolder) -> str | None:
    """Return the unique id of a search; None if its file is missing or damaged."""
    return scan_uid(folder.uid, folder)[0]


def uid_or_name(folder: SearchFolder) -> str:
    """Return the unique id of a search; its name if the id is missing or damaged."""
    return read_uid(folder) or folder.name


def scan_uid(path: AnyPath, folder: SearchFolder) -> tuple[str | None, Finding | None]:
    """Return the unique id in a file, None if there is none, and the damage of the file, if any."""
    try:
        content = read_stored_bytes(path, remedy=repair_command(folder.name))
    except DamagedError as error:
        return None, error.finding
    except FileNotFoundError:
        return None, None
    if _UID.fullmatch(content):
        return content.decode(), None
    damage = f"must be an id of 32 hexadecimal digits, got {len(content)} other bytes"
    return None, Finding(place=str(path), damage=damage, remedy=repair_command(folder.name))
