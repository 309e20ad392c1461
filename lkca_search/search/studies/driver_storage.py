"""Storage of the studies of the driver that holds a search: reads come from memory, and rows are written together.

Optuna's own cache reads every unfinished trial from the database for each suggestion and each decision of a pruner,
with all its reports. Other processes may have changed them, but a driver holds the lease: nobody else writes. With 256
running trials, one report would read thousands of rows.

New and finished trials are in the database at once. Parameters of a suggestion are written together, and so are
reports: no result is lost with them, since a resumed trial reports all results of its checkpoint again.
"""

import bisect
import copy
import json
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lkca_search.search.studies.stored_trials import UnwrittenRows, read_trial, read_trials

WRITE_SECONDS = 5.0
"""Time between two writes of reports, which programs that read the database beside the driver show."""

STORAGE_FAULTS = (OSError, SQLAlchemyError, StorageInternalError)
"""Errors that a full disk or an unreachable database raises."""


@dataclass(kw_only=True)
class _Trials:
    """Trials of one study, in order of number."""

    numbers: list[int] = field(default_factory=list)
    trials: list[FrozenTrial] = field(default_factory=list)

    def put(self, trial: FrozenTrial) -> None:
        """Add a trial, or replace the one of the same number."""
        index = bisect.bisect_left(self.numbers, trial.number)
        if index < len(self.numbers) and self.numbers[index] == trial.number:
            self.trials[index] = trial
        else:
            self.numbers.insert(index, trial.number)
            self.trials.insert(index, trial)


class DriverStorage(BaseStorage):
    """Storage with the content of a database that no other process changes meanwhile.

    A trial in memory is never changed but replaced: callers keep the state that they have read. `write` must be called
    after a suggestion.
    """

    def __init__(self, database: RDBStorage) -> None:
        """Read nothing yet; the trials of a study are read once, when they are first needed."""
        self._database = database
        self._studies: dict[int, _Trials] = {}
        self._trials: dict[int, tuple[int, FrozenTrial]] = {}
        """Study and present state of each trial, by the database's id of the trial."""
        self._names: dict[int, str] = {}
        self._directions: dict[int, list[StudyDirection]] = {}
        self._first_distributions: dict[tuple[int, str], BaseDistribution] = {}
        """Distribution of the first trial with a parameter, by study and name."""
        self._unwritten = UnwrittenRows(database)
        self._written = time.monotonic()

    def write(self) -> None:
        """Write what the database lacks, in one transaction."""
        self._unwritten.write()
        self._written = time.monotonic()

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study; DuplicatedStudyError if it exists."""
        return self._database.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study with its trials."""
        self._database.delete_study(study_id)
        self._studies.pop(study_id, None)
        self._trials = {key: found for key, found in self._trials.items() if found[0] != study_id}

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study."""
        self._database.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute that a sampler or pruner keeps in a study."""
        self._database.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study; KeyError if there is none."""
        return self._database.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study, which hyperband reads for each report."""
        if study_id not in self._names:
            self._names[study_id] = self._database.get_study_name_from_id(study_id)
        return self._names[study_id]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the direction of each metric."""
        if study_id not in self._directions:
            self._directions[study_id] = self._database.get_study_directions(study_id)
        return self._directions[study_id]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study."""
        return self._database.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes that samplers and pruners keep in a study."""
        return self._database.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies."""
        return self._database.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, and return the database's id of it."""
        self._open(study_id)
        trial_id = self._database.create_new_trial(study_id, template_trial)
        self._add(study_id, read_trial(self._database, trial_id))
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter of an unfinished trial."""
        study_id, trial = self._copy(trial_id)
        self.check_trial_is_updatable(trial_id, trial.state)
        first = self._first_distributions.setdefault((study_id, param_name), distribution)
        check_distribution_compatibility(first, distribution)
        self._unwritten.add_param(trial_id, param_name, param_value_internal, distribution)
        value = distribution.to_external_repr(param_value_internal)
        trial._params = {**trial._params, param_name: value}
        trial._distributions = {**trial._distributions, param_name: distribution}
        self._put(study_id, trial)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set state and values of an unfinished trial; return False if it runs already."""
        self.write()
        is_set = self._database.set_trial_state_values(trial_id, state, values)
        study_id, _ = self._find(trial_id)
        self._put(study_id, read_trial(self._database, trial_id))  # with the times that the database has
        return is_set

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set the value of an unfinished trial at a report."""
        study_id, trial = self._copy(trial_id)
        self.check_trial_is_updatable(trial_id, trial.state)
        if step in trial.intermediate_values:
            self.write()
            self._database.set_trial_intermediate_value(trial_id, step, intermediate_value)
        else:
            self._unwritten.add_report(trial_id, step, intermediate_value)
        trial.intermediate_values = {**trial.intermediate_values, step: float(intermediate_value)}
        self._put(study_id, trial)
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.write()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of an unfinished trial."""
        study_id, trial = self._copy(trial_id)
        self.check_trial_is_updatable(trial_id, trial.state)
        if key in trial.user_attrs:
            self.write()
            self._database.set_trial_user_attr(trial_id, key, value)
        else:
            self._unwritten.add_user_attr(trial_id, key, value)
        trial._user_attrs = {**trial._user_attrs, key: json.loads(json.dumps(value))}
        self._put(study_id, trial)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute that a sampler or pruner keeps in an unfinished trial."""
        study_id, trial = self._copy(trial_id)
        self.check_trial_is_updatable(trial_id, trial.state)
        if key in trial.system_attrs:
            self.write()
            self._database.set_trial_system_attr(trial_id, key, value)
        else:
            self._unwritten.add_system_attr(trial_id, key, value)
        trial._system_attrs = {**trial._system_attrs, key: json.loads(json.dumps(value))}
        self._put(study_id, trial)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the present state of a trial. The caller may change its fields."""
        return self._copy(trial_id)[1]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study in order of number. Without `deepcopy`, the caller must not change them."""
        trials = self._open(study_id).trials
        found = trials[:] if states is None else [trial for trial in trials if trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the database's id of a trial; KeyError if there is none."""
        opened = self._open(study_id)
        index = bisect.bisect_left(opened.numbers, trial_number)
        if index == len(opened.numbers) or opened.numbers[index] != trial_number:
            raise KeyError(f"no trial {trial_number} in study {study_id}")
        return opened.trials[index]._trial_id

    def remove_session(self) -> None:
        """Close the session with the database."""
        self._database.remove_session()

    def _open(self, study_id: int) -> _Trials:
        if study_id not in self._studies:
            self._studies[study_id] = _Trials()
            for trial in read_trials(self._database, study_id):
                self._add(study_id, trial)
        return self._studies[study_id]

    def _find(self, trial_id: int) -> tuple[int, FrozenTrial]:
        if trial_id not in self._trials:
            raise KeyError(f"trial {trial_id} must be of a study that was read")
        return self._trials[trial_id]

    def _copy(self, trial_id: int) -> tuple[int, FrozenTrial]:
        study_id, trial = self._find(trial_id)
        copied = copy.copy(trial)
        for name in ("_params", "_distributions", "_user_attrs", "_system_attrs", "intermediate_values"):
            setattr(copied, name, dict(getattr(trial, name)))
        return study_id, copied

    def _add(self, study_id: int, trial: FrozenTrial) -> None:
        self._put(study_id, trial)
        for name, distribution in trial.distributions.items():
            self._first_distributions.setdefault((study_id, name), distribution)

    def _put(self, study_id: int, trial: FrozenTrial) -> None:
        self._trials[trial._trial_id] = study_id, trial
        self._studies[study_id].put(trial)
