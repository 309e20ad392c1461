"""SQLite database of MLflow: its schema is created in one transaction, and checked before MLflow opens the file.

MLflow itself creates its tables one by one. A process killed meanwhile leaves a half-made database, which MLflow cannot
open again. It also upgrades an older database in the same way, without a backup.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from shlex import quote

import mlflow
from mlflow import MlflowClient

from lkca_search.paths import sqlite_url, unused_path
from lkca_search.tracking.faults import StoreError

_BUSY_SECONDS = 30.0
"""Time to wait for another process that creates the schema."""
_HAS_MEMDB = sqlite3.sqlite_version_info >= (3, 36)
_MEMORY = f"file:/lkca-mlflow-schema?{'vfs=memdb' if _HAS_MEMDB else 'mode=memory&cache=shared'}"
"""Database in memory that all connections of this process share. SQLAlchemy deprecates the second form."""
_REVISIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
_IDENTIFIER = re.compile(r"[\"'](\w+)[\"']")


def prepare_database(file: Path) -> Path | None:
    """Create the schema of MLflow in a SQLite file that lacks it, before MLflow opens the file.

    A half-made database, which contains no runs, is copied and made again.

    Returns:
        The copy of a half-made database; None if the file was absent, empty or complete.

    Raises:
        StoreError: The database belongs to another version of MLflow, or to another program.
        sqlite3.Error: The file cannot be read or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(file)) as database:
        if _is_complete(database, file):
            return None
        copy = _copy(database, file) if _table_names(database) else None
        with transaction(database):
            if _is_complete(database, file):  # made by another process meanwhile
                if copy is not None:
                    copy.unlink()
                return None
            _drop_all(database)
            for statement in _schema():
                database.execute(statement)
    return copy


def has_schema(file: Path) -> bool:
    """Return True if MLflow can open a SQLite file, and False if its schema is missing or half-made.

    The file is not changed. Errors are raised as in `prepare_database`.
    """
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as database:
        return _is_complete(database, file)


def connect(file: Path) -> sqlite3.Connection:
    """Connect to a SQLite file. Statements outside `transaction` take effect at once."""
    return sqlite3.connect(file, isolation_level=None, timeout=_BUSY_SECONDS)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Hold the only write lock; commit at the end of the block, or roll back after an error."""
    database.execute("BEGIN EXCLUSIVE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # SQLite itself rolls back if the disk is full
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _is_complete(database: sqlite3.Connection, file: Path) -> bool:
    """Return True if MLflow can open the database, and False if its schema is missing or half-made."""
    tables = _table_names(database)
    if not tables:
        return False
    found = (
        database.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
    )
    revision = found[0] if found else None
    known, latest = _revisions()
    if revision in latest:
        return True
    if not any(_has_rows(database, table) for table in tables & {"experiments", "runs"}) and tables <= _mlflow_tables():
        return False  # MLflow adds the first experiment once the schema is complete
    if "experiments" not in tables:
        elsewhere = "set MLFLOW_TRACKING_URI to another file, or to a server"
        raise StoreError(f"the SQLite file {file} belongs to another program than MLflow", elsewhere)
    backup = f"cp {quote(str(file))} {quote(f'{file}.backup')}"
    if revision is None or revision in known:
        cause = f"MLflow's database {file} has the schema of an older MLflow"
        raise StoreError(cause, f"back it up and upgrade it: {backup} && mlflow db upgrade {quote(sqlite_url(file))}")
    cause = f"MLflow's database {file} has the schema of a newer MLflow than the installed {mlflow.__version__}"
    raise StoreError(cause, f"back it up and upgrade MLflow: {backup} && pip install --upgrade mlflow")


def _table_names(database: sqlite3.Connection) -> set[str]:
    rows = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return {name for (name,) in rows}


def _has_rows(database: sqlite3.Connection, table: str) -> bool:
    return database.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None


def _copy(database: sqlite3.Connection, file: Path) -> Path:
    """Copy a database to an unused name in its folder."""
    copy = Path(str(unused_path(file, ".half-made-")))
    with closing(sqlite3.connect(copy)) as target:
        database.backup(target)
    return copy


def _drop_all(database: sqlite3.Connection) -> None:
    for kind in ("trigger", "view", "table"):
        rows = database.execute("SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE 'sqlite%'", [kind])
        for (name,) in rows.fetchall():
            database.execute(f'DROP {kind} "{name}"')


@cache
def _schema() -> tuple[str, ...]:
    """Return the statements that create MLflow's schema. MLflow makes it in memory, in half the time of a file."""
    with closing(sqlite3.connect(_MEMORY, uri=True)) as database:  # the database exists while a connection is open
        MlflowClient(tracking_uri=f"sqlite+pysqlite:///{_MEMORY}&uri=true").search_experiments()
        return tuple(line for line in database.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;"))


@cache
def _mlflow_tables() -> set[str]:
    """Return the names of MLflow's tables, and those of tables that exist only while the schema is made."""
    names = {match[1] for line in _schema() if (match := re.match(r'CREATE TABLE "?(\w+)', line))}
    revisions = "".join(path.read_text() for path in _REVISIONS.glob("*.py"))
    dropped = set(re.findall(r"drop_table\(\s*[\"'](\w+)[\"']", revisions))
    return names | dropped | {f"_alembic_tmp_{name}" for name in names | dropped}


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Return all revisions of the schema that the installed MLflow defines, and the latest ones."""
    known: set[str] = set()
    earlier: set[str] = set()
    for path in _REVISIONS.glob("*.py"):
        text = path.read_text()
        for name, found in (("revision", known), ("down_revision", earlier)):
            line = re.search(rf"^{name}\b[^=\n]*=(.*)$", text, re.MULTILINE)
            found.update(_IDENTIFIER.findall(line[1]) if line else ())
    return frozenset(known), frozenset(known - earlier)
