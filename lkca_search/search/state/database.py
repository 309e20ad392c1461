"""Database of a search's ledger: SQLite in the search's folder, or a PostgreSQL server, which survives the machine."""

import hashlib
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, MetaData, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from lkca_search.errors import SearchError
from lkca_search.faults import first_line
from lkca_search.layout import SearchFolder
from lkca_search.paths import set_aside, sqlite_url, write_atomically
from lkca_search.records.finding import DamagedError, Finding, read_stored_bytes
from lkca_search.spec.base import FrozenModel

LEDGER_VARIABLE = "LKCA_SEARCH_LEDGER"
LEDGER_FILE = "ledger.db"
"""Name of the SQLite file in the folder of a search."""
_SQLITE_TIMEOUT_SECONDS = 60
_CONNECT_TIMEOUT_SECONDS = 10
_LINK_OPTIONS = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""Options of libpq that end a connection about 10 s after the server's machine is lost. Linux alone takes 15 minutes
or more, longer than a server needs to start elsewhere."""


class Database(FrozenModel):
    """Address of one search's ledger. On PostgreSQL, each search has its own schema in the database."""

    url: str
    """URL in SQLAlchemy's form, without a password. PostgreSQL reads the password from PGPASSWORD or PGPASSFILE."""
    schema_name: str | None
    """Schema of the search on PostgreSQL; None on SQLite."""
    file: Path | None
    """Database file on SQLite; None on PostgreSQL."""

    @classmethod
    def sqlite(cls, file: Path) -> "Database":
        """Return the SQLite database in a file."""
        return cls(url=sqlite_url(file), schema_name=None, file=file)

    @property
    def connect_args(self) -> dict[str, Any]:
        """Arguments of each connection."""
        if self.file is not None:
            return {"timeout": _SQLITE_TIMEOUT_SECONDS}
        options = {"options": f"-csearch_path={self.schema_name}", "connect_timeout": _CONNECT_TIMEOUT_SECONDS}
        return {**options, **_LINK_OPTIONS}

    def engine(self) -> Engine:
        """Create an engine for the tables of this search; SearchError if the package of the database is missing."""
        if self.file is None:
            _check_psycopg()
        return create_engine(self.url, connect_args=self.connect_args, pool_pre_ping=True)

    def create(self, tables: MetaData) -> None:
        """Create the search's schema and its tables if they do not exist.

        Raises:
            SearchError: The database cannot be opened.
        """
        engine = self.engine()
        try:
            with engine.begin() as connection:
                if self.schema_name is not None:
                    # Two processes could create the schema at the same time. The lock ends with this transaction.
                    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(self.schema_name))))
                    connection.execute(CreateSchema(self.schema_name, if_not_exists=True))
                tables.create_all(connection)
        except SQLAlchemyError as error:
            raise SearchError(f"the ledger's database cannot be opened: {self.url}: {first_line(error)}") from error
        finally:
            engine.dispose()

    def check_connection(self) -> None:
        """Raise SQLAlchemyError if the server does not respond; do nothing on SQLite, which has none."""
        if self.file is None:
            _connect_once(self.engine())

    def exists(self) -> bool:
        """Return False if the ledger certainly does not exist: on SQLite, if its file is missing."""
        return self.file is None or self.file.exists()


def find_database(folder: SearchFolder) -> Database:
    """Return the ledger's database that the latest driver used; by default SQLite in the search's folder."""
    return _parse_database(folder, _stored_url(folder))


def choose_database(folder: SearchFolder, url: str | None) -> Database:
    """Return the ledger's database for a new driver. `store_url` stores its URL in the search's folder.

    Args:
        folder: Folder of the search.
        url: URL of the database; by default that in LKCA_SEARCH_LEDGER, otherwise that of the latest driver.

    Raises:
        SearchError: The URL is not a PostgreSQL URL or contains a password, or SQLite is used with an object store.
    """
    url_text = url or os.environ.get(LEDGER_VARIABLE)
    return _parse_database(folder, url_text) if url_text else find_database(folder)


def store_url(folder: SearchFolder, url: str | None) -> None:
    """Store the URL of the ledger's database in the search's folder, if it is new; arguments as `choose_database`."""
    url_text = url or os.environ.get(LEDGER_VARIABLE)
    if url_text and not is_stored(folder, url):
        if folder.ledger_url.exists() and not _is_intact(folder):
            set_aside(folder.ledger_url)
        write_atomically(folder.ledger_url, url_text.encode())


def is_stored(folder: SearchFolder, url: str | None) -> bool:
    """Return True if the database of a new driver is that of the latest driver; arguments as `choose_database`."""
    url_text = url or os.environ.get(LEDGER_VARIABLE)
    if not url_text:
        return True
    return _is_intact(folder) and _stored_url(folder) == url_text


def _is_intact(folder: SearchFolder) -> bool:
    try:
        _parse_database(folder, _stored_url(folder))
    except SearchError:
        return False
    return True


def _stored_url(folder: SearchFolder) -> str | None:
    """Return the stored URL; None if the ledger is SQLite. DamagedError if the file cannot be decoded."""
    remedy = f"give the URL of the search's database again: --ledger URL or {LEDGER_VARIABLE}"
    try:
        content = read_stored_bytes(folder.ledger_url, remedy=remedy)
        text = content.decode("ascii")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text = ""
    if not text.startswith("postgresql"):
        damage = f"must be the URL of the ledger's database, got {len(content)} other bytes"
        raise DamagedError(Finding(place=str(folder.ledger_url), damage=damage, remedy=remedy))
    return text


def check_server(url: str) -> None:
    """Connect to the server of ledgers at a URL; SearchError if that fails. Nothing is stored there."""
    server = _parse_postgresql_url(url)
    _check_psycopg()
    engine = create_engine(server, connect_args={"connect_timeout": _CONNECT_TIMEOUT_SECONDS})
    try:
        _connect_once(engine)
    except SQLAlchemyError as error:
        hint = f"start it, or correct {LEDGER_VARIABLE}"
        raise SearchError(f"the server of {LEDGER_VARIABLE} must respond, got: {first_line(error)}; {hint}") from error


def _connect_once(engine: Engine) -> None:
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _parse_database(folder: SearchFolder, url_text: str | None) -> Database:
    if url_text is None:
        if not isinstance(folder.root, Path):
            rule = f"SQLite must be on a disk, and the search is in an object store, {folder.root}"
            raise SearchError(f"{rule}; set {LEDGER_VARIABLE} to postgresql://USER@HOST/DATABASE")
        return Database.sqlite(folder.root / LEDGER_FILE)
    url = _parse_postgresql_url(url_text)
    slug = re.sub(r"[^a-z0-9]+", "_", folder.name.lower())[:40]
    digest = hashlib.sha256(folder.name.encode()).hexdigest()[:8]
    return Database(url=url.render_as_string(), schema_name=f"lkca_{slug}_{digest}", file=None)


def _parse_postgresql_url(url_text: str) -> URL:
    is_set = os.environ.get(LEDGER_VARIABLE) == url_text
    rule = f"{LEDGER_VARIABLE if is_set else '--ledger'} must be postgresql://USER@HOST/DATABASE"
    try:
        url = make_url(url_text)
    except ArgumentError as error:
        raise SearchError(f"{rule}, got {url_text!r}") from error
    if url.password is not None or "password" in url.query:
        hidden = url.render_as_string().split("?")[0]
        raise SearchError(f"{rule} without a password, got one in {hidden}; set PGPASSWORD or PGPASSFILE instead")
    if url.get_backend_name() != "postgresql":
        without = f"{'unset' if is_set else 'omit'} it to keep the ledger as SQLite in the search's folder"
        raise SearchError(f"{rule}, got {url_text!r}; {without}")
    return url.set(drivername="postgresql+psycopg")


def _check_psycopg() -> None:
    try:
        import_module("psycopg")
    except ImportError as error:  # not installed, or installed without the library of PostgreSQL
        raise SearchError(f"a ledger on PostgreSQL needs psycopg: pip install 'psycopg[binary]' ({error})") from error
