"""Changes to stored trials for which Optuna has no function. They use the tables of its storage directly."""

from collections.abc import Sequence
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, update

_BATCH = 500
"""Trials per statement; databases limit the number of its variables."""


def reopen_trials(storage: BaseStorage, trials: Sequence[FrozenTrial], *, keep_params: bool) -> None:
    """Make finished trials unfinished, without values, reports and attributes; remove parameters too if stated."""
    tables: list[Any] = [
        models.TrialValueModel,
        models.TrialIntermediateValueModel,
        models.TrialSystemAttributeModel,
        *([] if keep_params else [models.TrialParamModel]),
    ]
    for start in range(0, len(trials), _BATCH):
        ids = [trial._trial_id for trial in trials[start : start + _BATCH]]
        with _database(storage).engine.begin() as connection:
            for table in tables:
                connection.execute(delete(table).where(table.trial_id.in_(ids)))
            columns = models.TrialModel.__table__
            reopened = update(columns).where(columns.c.trial_id.in_(ids))
            connection.execute(reopened.values(state=TrialState.RUNNING, datetime_complete=None))


def renumber_trial(storage: BaseStorage, trial_id: int, number: int) -> None:
    """Set the number of a trial that fills a gap: Optuna numbers a new trial by the count of earlier ones."""
    with _database(storage).engine.begin() as connection:
        columns = models.TrialModel.__table__
        connection.execute(update(columns).where(columns.c.trial_id == trial_id).values(number=number))


def _database(storage: BaseStorage) -> RDBStorage:
    assert isinstance(storage, RDBStorage), "only a database outlives the driver that filled it"
    return storage
