"""Trials in the database of a ledger, read without Optuna, whose import would take longer than the query."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.layout import SearchFolder
from lkca_search.records.record import Record
from lkca_search.search.state.database import find_database

_FINISHED = ("COMPLETE", "PRUNED", "FAIL")
_TRIALS = text(
    "SELECT studies.study_name, trials.number, trials.state FROM trials JOIN studies USING (study_id)"
)  # tables of Optuna's storage


def has_all_trials(folder: SearchFolder, records: Collection[Record]) -> bool:
    """Return True if the ledger has each recorded trial as a finished one, and no unfinished trial.

    A driver that opens such a ledger changes nothing in it. A ledger that cannot be read gives False.
    """
    database = find_database(folder)
    if not database.exists():
        return False
    engine = database.engine()
    try:
        with engine.connect() as connection:
            rows = connection.execute(_TRIALS).all()
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()
    finished = {(name, number) for name, number, state in rows if state in _FINISHED}
    return len(finished) == len(rows) and all((record.cell, record.number) in finished for record in records)
