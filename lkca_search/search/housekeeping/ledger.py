"""Ledger of a search that is removed, renamed, archived or restored: its schema on PostgreSQL, its row of the lease."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import DropSchema

from lkca_search.errors import SearchError
from lkca_search.faults import first_line
from lkca_search.layout import SearchFolder
from lkca_search.search.state.database import Database, choose_database, find_database
from lkca_search.search.state.lease_status import LEASES
from lkca_search.spec.base import FrozenModel

_STUDIES = "studies"
"""Optuna's table of studies."""
_NO_DRIVER = {"beat": 0, "beat_time": 0.0, "holder": None, "lock": None, "stop": None}
"""Values of a lease that nobody holds."""


class SchemaSize(FrozenModel):
    """Schema of a search on PostgreSQL."""

    place: str
    """URL of the database and name of the schema."""
    num_bytes: int
    """Bytes of its tables and indices."""


def find_schema(folder: SearchFolder) -> SchemaSize | None:
    """Return the schema of a search's ledger; None if the ledger is SQLite, or the schema does not exist.

    Raises:
        SearchError: The address of the ledger is damaged, or the database does not respond.
    """
    database = find_database(folder)
    if database.file is not None or database.schema_name is None:
        return None
    with _opened(database) as engine, engine.connect() as connection:
        if not inspect(connection).has_schema(database.schema_name):
            return None
        size = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
        size += "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relkind = 'r'"
        num_bytes = connection.execute(text(size), {"schema": database.schema_name}).scalar_one()
    return SchemaSize(place=f"{database.url}, schema {database.schema_name}", num_bytes=int(num_bytes))


def drop_ledger(folder: SearchFolder) -> None:
    """Remove the schema of a search on PostgreSQL. A SQLite file is removed with the search's folder."""
    database = find_database(folder)
    if database.file is None and database.schema_name is not None:
        with _opened(database) as engine, engine.begin() as connection:
            connection.execute(DropSchema(database.schema_name, cascade=True, if_exists=True))


def check_schema_is_free(folder: SearchFolder, *, new_name: str) -> None:
    """Raise SearchError if the database of a search has studies under another name.

    A run that was refused leaves a schema without studies, which takes no name.
    """
    database = find_database(folder)
    if database.file is None:
        schema = _schema_of(database, folder, new_name)
        with _opened(database) as engine, engine.connect() as connection:
            _check_without_studies(connection, schema, database, new_name)


def clear_schema(database: Database, name: str) -> None:
    """Remove what a refused run has left on PostgreSQL under a name that a restored search gets.

    Raises:
        SearchError: The database does not respond, or has the studies of a search with this name.
    """
    if database.file is None:
        with _opened(database) as engine, engine.begin() as connection:
            schema = str(database.schema_name)
            _check_without_studies(connection, schema, database, name)
            connection.execute(DropSchema(schema, cascade=True, if_exists=True))


def rename_ledger(folder: SearchFolder, *, old_name: str) -> None:
    """Give the ledger in a search's folder the name of the folder, which was `old_name`; a repeated call does nothing.

    On PostgreSQL, the schema and the row of the lease change in one transaction. The lease is free afterwards.

    Raises:
        SearchError: The database does not respond, or has studies under the name of the folder.
    """
    database = find_database(folder)
    if not database.exists():
        return
    with _opened(database) as engine, engine.begin() as connection:
        if database.file is None:
            schema, old_schema = str(database.schema_name), _schema_of(database, folder, old_name)
            if inspect(connection).has_schema(old_schema):
                _check_without_studies(connection, schema, database, folder.name)
                connection.execute(DropSchema(schema, cascade=True, if_exists=True))
                quote = connection.dialect.identifier_preparer.quote
                connection.execute(text(f"ALTER SCHEMA {quote(old_schema)} RENAME TO {quote(schema)}"))
        if inspect(connection).has_table(LEASES.name, schema=database.schema_name):
            row = update(LEASES).where(LEASES.c.search == old_name)
            connection.execute(row.values(search=folder.name, **_NO_DRIVER))


def _schema_of(database: Database, folder: SearchFolder, name: str) -> str:
    """Return the schema of a search with another name in the same database."""
    return str(choose_database(SearchFolder(root=folder.root.parent / name), database.url).schema_name)


def _check_without_studies(connection: Connection, schema: str, database: Database, name: str) -> None:
    if inspect(connection).has_table(_STUDIES, schema=schema):
        rule = f"the new name must be free, and {database.url} has the studies of a search {name!r}"
        raise SearchError(f"{rule} (schema {schema}); choose another name")


def copy_ledger(folder: SearchFolder, target: Path) -> bool:
    """Write a copy of a search's SQLite ledger without a driver; return False if there is none, as on PostgreSQL.

    Two copies of one ledger have the same bytes, whatever drivers and commands have held its lease in between.
    """
    database = find_database(folder)
    if database.file is None or not database.exists():
        return False
    with closing(sqlite3.connect(database.file)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    values = {**_NO_DRIVER, "driver": folder.latest_driver()}
    with _opened(Database.sqlite(target)) as engine, engine.begin() as connection:
        if inspect(connection).has_table(LEASES.name):
            connection.execute(update(LEASES).values(values))
    return True


@contextmanager
def _opened(database: Database) -> Iterator[Engine]:
    """Yield an engine; a fault of the database in the block is a SearchError."""
    engine = database.engine()
    try:
        yield engine
    except SQLAlchemyError as error:
        rule = f"the ledger's database must respond and allow the change, got: {first_line(error)} ({database.url})"
        raise SearchError(f"{rule}; mend that, then repeat the command") from error
    finally:
        engine.dispose()
