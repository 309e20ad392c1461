"""The ledger's database: SQLite in the search's folder, or PostgreSQL, where it outlives the machine of its driver."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, MetaData, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.spec.base import FrozenModel

LEDGER_VARIABLE = "LKCA_SEARCH_LEDGER"
_SQLITE = "ledger.db"
_SQLITE_TIMEOUT_SECONDS = 60
_CONNECT_SECONDS = 10


class Database(FrozenModel):
    """Where one search's ledger is. On PostgreSQL every search has a schema of its own in the database."""

    url: str
    """As SQLAlchemy takes it; without a password, which the database's own means supply (PGPASSWORD, PGPASSFILE)."""
    schema_name: str | None
    """The search's own schema, on PostgreSQL."""
    file: Path | None
    """The database file, on SQLite."""

    @classmethod
    def sqlite(cls, file: Path) -> "Database":
        """A database in a file."""
        return cls(url=f"sqlite:///{file}", schema_name=None, file=file)

    @property
    def arguments(self) -> dict[str, Any]:
        """What each connection is made with."""
        if self.file is not None:
            return {"timeout": _SQLITE_TIMEOUT_SECONDS}
        return {"options": f"-csearch_path={self.schema_name}", "connect_timeout": _CONNECT_SECONDS}

    def engine(self) -> Engine:
        """Make an engine, whose tables are this search's alone."""
        return create_engine(self.url, connect_args=self.arguments, pool_pre_ping=True)

    def create(self, tables: MetaData) -> None:
        """Make the search's schema, and tables in it, where they are not; SearchError for a database out of reach."""
        engine = self.engine()
        try:
            with engine.begin() as connection:
                if self.schema_name is not None:
                    # Where there is none yet, two at once would both make it; the lock lasts to the end of this block.
                    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(self.schema_name))))
                    connection.execute(CreateSchema(self.schema_name, if_not_exists=True))
                tables.create_all(connection)
        except SQLAlchemyError as error:
            raise SearchError(f"the ledger's database cannot be opened: {self.url}: {first_line(error)}") from error
        finally:
            engine.dispose()

    def exists(self) -> bool:
        """Whether there may be a ledger: on SQLite, whether there is a file."""
        return self.file is None or self.file.exists()


def find_database(folder: SearchFolder) -> Database:
    """Where a search's ledger is, as its latest driver noted; SQLite in its folder where none noted anything."""
    return _database(folder, folder.ledger_url.read_text() if folder.ledger_url.exists() else None)


def choose_database(folder: SearchFolder, url: str | None) -> Database:
    """Where a driver keeps the ledger: at a URL, else where it is; noted in the folder for all who look.

    The URL is LKCA_SEARCH_LEDGER where none is given.

    SearchError for a URL that names no PostgreSQL, or that holds a password, and for a folder that SQLite cannot use.
    """
    given = url or os.environ.get(LEDGER_VARIABLE)
    if not given:
        return find_database(folder)
    database = _database(folder, given)
    if not folder.ledger_url.exists() or folder.ledger_url.read_text() != given:
        write_atomically(folder.ledger_url, given.encode())
    return database


def _database(folder: SearchFolder, given: str | None) -> Database:
    if given is None:
        if not isinstance(folder.root, Path):
            place = f"an object store, {folder.root}, has no place for SQLite"
            raise SearchError(f"{place}: set {LEDGER_VARIABLE} to postgresql://USER@HOST/DATABASE")
        return Database.sqlite(folder.root / _SQLITE)
    url = _postgresql(given)
    slug = re.sub(r"[^a-z0-9]+", "_", folder.name.lower())[:40]
    digest = hashlib.sha256(folder.name.encode()).hexdigest()[:8]
    return Database(url=url.render_as_string(), schema_name=f"lkca_{slug}_{digest}", file=None)


def _postgresql(given: str) -> URL:
    rule = f"{LEDGER_VARIABLE} must be postgresql://USER@HOST/DATABASE"
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise SearchError(f"{rule}, got {given!r}") from error
    if url.password is not None or "password" in url.query:
        hidden = url.render_as_string().split("?")[0]
        raise SearchError(f"{rule} without a password, which PGPASSWORD or PGPASSFILE supply; got one in {hidden}")
    if url.get_backend_name() != "postgresql":
        raise SearchError(f"{rule}, got {given!r}; without it the ledger is SQLite in the search's folder")
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise SearchError("a ledger on PostgreSQL needs psycopg: pip install 'lkca-search[cluster]'") from error
    return url.set(drivername="postgresql+psycopg")


def first_line(error: BaseException) -> str:
    """What an error of the database says, without the statement that it came from."""
    return str(error).strip().splitlines()[0]
