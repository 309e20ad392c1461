"""Integrity of a ledger's SQLite file. A damaged file is set aside, and the ledger is restored from the records."""

from collections.abc import Callable

from sqlalchemy.exc import DatabaseError

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import set_aside
from lkca_search.records.finding import Finding, repair_command
from lkca_search.search.state.database import Database

_HEADER = b"SQLite format 3\0"
_SIDE_FILES = ("-journal", "-wal", "-shm")
"""Suffixes of SQLite's own files. Beside another database, they would be applied to it."""
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def find_header_damage(database: Database) -> str | None:
    """Return the damage of a ledger's file, from its first bytes; None on PostgreSQL, or if it seems intact.

    A file of 0 bytes is a database without tables to SQLite, as a missing one.
    """
    if database.file is None:
        return None
    try:
        with database.file.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return "must be a file, got a folder"
    return None if header in (b"", _HEADER) else f"must be a SQLite database, got other content ({header[:8]!r})"


def find_damage(database: Database) -> str | None:
    """Return the damage that SQLite finds in a ledger's file; None on PostgreSQL, or if it is intact.

    Raises:
        SQLAlchemyError: The file cannot be read now; it may be intact.
    """
    damage = find_header_damage(database)
    if database.file is None or damage is not None or not database.file.exists():
        return damage
    engine = database.engine()
    try:
        with engine.connect() as connection:
            (line,) = connection.exec_driver_sql("PRAGMA quick_check(1)").one()
        return None if line == "ok" else f"must pass SQLite's check, got {str(line).splitlines()[-1]}"
    except DatabaseError as error:
        if str(getattr(error.orig, "sqlite_errorname", "")).startswith(_DAMAGED):
            return f"must pass SQLite's check, got {error.orig}"
        raise
    finally:
        engine.dispose()


def ledger_finding(folder: SearchFolder, place: str, damage: str) -> Finding:
    """Return the finding of a damaged ledger. Its studies can be restored from the records."""
    return Finding(place=place, damage=damage, remedy=repair_command(folder.name))


def replace_if_damaged(
    folder: SearchFolder, database: Database, *, is_locked: bool, notify: Callable[[str], None]
) -> None:
    """Set a damaged ledger aside, so that the next one is restored from the records.

    Args:
        folder: Folder of the search.
        database: Database of the ledger; nothing is done on PostgreSQL.
        is_locked: True if the caller holds the lock file, so that no driver uses the ledger.
        notify: Called with a line if the ledger is set aside.

    Raises:
        SearchError: The ledger is damaged, and the file system has no locks: another machine may use the ledger.
    """
    damage = find_damage(database)
    if damage is None or database.file is None:
        return
    if not is_locked:
        rule = f"the ledger {database.file} {damage}, and its file system has no locks"
        raise SearchError(f"{rule}: make sure that search {folder.name!r} is not running, then move the file away")
    for suffix in _SIDE_FILES:
        side = database.file.with_name(f"{database.file.name}{suffix}")
        if side.exists():
            set_aside(side)
    kept = set_aside(database.file)
    notify(f"the ledger {database.file} {damage}: it is kept as {kept.name} and restored from the records")
