"""Optuna studies of a search, one per cell, stored in the ledger's database."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from lkca_search.errors import Problem
from lkca_search.records.record import State
from lkca_search.search.studies.algorithms.grid_sampler import GridSampler
from lkca_search.search.studies.algorithms.infeasible_failures import InfeasibleFailures
from lkca_search.search.studies.samplers import describe, make_pruner, make_sampler
from lkca_search.search.studies.starts import START_ATTR, starts_of
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import Cell, cells, grid_points, num_reports
from lkca_search.spec.components import LEARNS_FROM_FAILURES
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.search_spec import SearchSpec

if TYPE_CHECKING:
    from lkca_search.search.state.database import Database
    from lkca_search.search.studies.driver_storage import DriverStorage

Storage = optuna.storages.BaseStorage
StoredTrial = FrozenTrial
Params = tuple[tuple[str, Scalar], ...]
"""Sampled parameters and their values, sorted by name. Equal `Params` in a cell mean equal configurations."""
_DUPLICATE_ATTR = "repeats"
"""User attribute of a trial that duplicates an earlier one: the number of the earlier trial."""
GAP_ATTR = "gap"
"""User attribute of a trial of a restored study whose number has neither a record nor a folder."""


def open_storage(database: "Database") -> optuna.storages.RDBStorage:
    """Open the Optuna storage in a ledger's database, and create its tables if they do not exist."""
    optuna.logging.set_verbosity(logging.WARNING)
    arguments = {"connect_args": database.connect_args, "pool_pre_ping": True}
    return optuna.storages.RDBStorage(database.url, engine_kwargs=arguments)


def open_in_memory_storage() -> Storage:
    """Create a storage in memory, for simulations and checks."""
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna.storages.InMemoryStorage()


class Study:
    """Optuna study of one cell.

    Each sampler is seeded by search seed, cell and trial number, so suggestions do not depend on a driver's restarts.
    """

    def __init__(self, storage: Storage, spec: SearchSpec, cell: Cell) -> None:
        """Create the study in the storage, or load it."""
        self._spec = spec
        self._cell = cell
        self._driver_storage = _open_for_driver(storage)
        self.storage = self._driver_storage or storage
        """Storage through which the trials of this study are changed while it is open."""
        self._study = optuna.create_study(
            storage=self.storage,
            study_name=cell.key,
            directions=list(spec.search.directions),
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=make_pruner(spec.search.pruner, num_reports=num_reports(spec, cell)),
        )
        self._points = grid_points(spec, cell) if spec.search.sampler.name == "grid" else None
        self._running: dict[int, Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._starts = starts_of(spec, cell)
        trials = self.trials()
        self._num_trials = len(trials)
        self._failed = {
            trial.number for trial in trials if trial.state is TrialState.FAIL and not self.is_left_out(trial)
        }
        """Numbers of the trials whose training failed."""
        self._update_user_attrs()

    @property
    def is_exhausted(self) -> bool:
        """True if every point of a grid was suggested. Further suggestions would be duplicates."""
        return self._points is not None and self._num_trials >= len(self._points)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the cell in order of number, including duplicates."""
        return self._study.get_trials(deepcopy=False)

    def is_duplicate(self, trial: FrozenTrial) -> bool:
        """Return True if a trial duplicates an earlier one and is therefore not trained."""
        return _DUPLICATE_ATTR in trial.user_attrs

    def is_gap(self, trial: FrozenTrial) -> bool:
        """Return True if a restored study has the trial only because later numbers exist."""
        return GAP_ATTR in trial.user_attrs

    def is_left_out(self, trial: FrozenTrial) -> bool:
        """Return True if a trial is finished and has no record: it is a duplicate, or fills a gap."""
        return trial.state.is_finished() and (self.is_duplicate(trial) or self.is_gap(trial))

    def close_gap(self, number: int) -> None:
        """Finish a trial that fills a gap; it is never trained."""
        self._study.tell(number, state=TrialState.FAIL)

    def continue_sequence(self, num_added: int) -> None:
        """Continue a quasi-random sequence after the points of trials that were added from their records.

        The sampler stores the number of its latest point in the study. The first trial has no point of the sequence.
        """
        if self._spec.search.sampler.name != "qmc" or not num_added:
            return
        trial, sampler = self.trials()[-1], self._sampler(self._num_trials)
        space = sampler.infer_relative_search_space(self._study, trial)
        if space:
            sampler.sample_relative(self._study, trial, space)
        study_id = self._study._study_id
        for key, latest in self.storage.get_study_system_attrs(study_id).items():
            if key.startswith("qmc:"):
                self.storage.set_study_system_attr(study_id, key, max(latest - 1, self._num_trials - 2))

    def enqueue_trial(self, params: Mapping[str, Scalar]) -> None:
        """Enqueue values for the next trial that has no enqueued values yet."""
        self._study.enqueue_trial(dict(params))

    def ask(self) -> tuple[int, dict[str, Scalar]]:
        """Start a trial, and return its number and its factor levels and parameters."""
        self._study.sampler = self._sampler(self._num_trials)
        trial = self._study.ask()
        self._num_trials = max(self._num_trials, trial.number + 1)
        self._reported[trial.number] = set()
        return trial.number, self._suggest(trial)

    def resume(self, trial: FrozenTrial) -> dict[str, Scalar]:
        """Resume a running trial of a dead driver, and suggest the parameters that it does not have yet."""
        self._study.sampler = self._sampler(trial.number)
        self._reported[trial.number] = set(trial.intermediate_values)
        return self._suggest(Trial(self._study, trial._trial_id))

    def params(self, number: int) -> Params:
        """Return the sampled parameters of a trial."""
        return params_of(self._running.get(number) or self.trials()[number])

    def tell_duplicate(self, number: int, of: int) -> None:
        """Finish a trial that duplicates the trial `of`: copy its result, or fail it if there is none yet."""
        earlier = self.trials()[of]
        self._running[number].set_user_attr(_DUPLICATE_ATTR, of)
        state = State[earlier.state.name] if earlier.state.is_finished() else State.FAIL
        self.tell(number, state, earlier.values or ())
        self._failed.discard(number)  # the earlier trial counts

    def report(self, number: int, index: int, value: float) -> bool:
        """Report the value of a trial at its report `index`, and return True if the pruner stops it.

        The same report after a restart has no effect.
        """
        # Optuna supports neither reports nor pruning with several objectives.
        if index in self._reported[number] or len(self._spec.search.metrics) > 1:
            return False
        trial = self._running[number]
        trial.report(value, index)
        self._reported[number].add(index)
        return bool(trial.should_prune())  # some pruners return a value of numpy

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """Finish a trial. The values, one per metric, are stored only if the trial is complete."""
        self._study.tell(number, list(values) if state is State.COMPLETE else None, state=TrialState[state])
        if state is State.FAIL:
            self._failed.add(number)
        self._running.pop(number, None)
        self._reported.pop(number, None)

    def _suggest(self, trial: Trial) -> dict[str, Scalar]:
        if trial.number < len(self._starts):
            start = self._starts[trial.number]
            self._study._storage.set_trial_system_attr(trial._trial_id, START_ATTR, start)
            trial = Trial(self._study, trial._trial_id)
        self._running[trial.number] = trial
        _ = trial.relative_params  # Optuna samples these lazily; sample them now, with the trial's own sampler

        def choose(name: str, domain: Domain) -> Scalar:
            # A seed per parameter: after a restart, stored parameters consume no random numbers.
            self._study.sampler = self._sampler(trial.number, name)
            return suggest_value(trial, name, domain)

        chosen = self._spec.space.walk(choose, self._cell.levels)
        self.write()
        return chosen

    def write(self) -> None:
        """Write what the database lacks of suggestions and reports."""
        if self._driver_storage is not None:
            self._driver_storage.write()

    def _sampler(self, number: int, name: str | None = None) -> BaseSampler:
        search = self._spec.search
        seed = derive_seed(search.seed, "sampler", self._cell.key)
        if self._points is not None:
            return GridSampler(points=self._points, seed=seed)
        sampler: BaseSampler = make_sampler(search.sampler, seed=seed, number=number, name=name)
        if self._failed and search.sampler.name in LEARNS_FROM_FAILURES:
            return InfeasibleFailures(sampler, self._failed)
        return sampler

    def _update_user_attrs(self) -> None:
        """Store sampler, pruner and all Optuna versions that ran the study as its user attributes."""
        search, count, stored = self._spec.search, num_reports(self._spec, self._cell), self._study.user_attrs
        versions = [version for version in stored.get("optuna_version", "").split(", ") if version]
        current = {
            "sampler": describe("sampler", search.sampler, num_reports=count),
            "pruner": describe("pruner", search.pruner, num_reports=count),
            "optuna_version": ", ".join(dict.fromkeys([*versions, optuna.__version__])),
        }
        for name, value in current.items():
            if stored.get(name) != value:
                self._study.set_user_attr(name, value)


def _open_for_driver(storage: Storage) -> "DriverStorage | None":
    """Return the storage of a driver on a database; None for a storage in memory."""
    if not isinstance(storage, optuna.storages.RDBStorage):
        return None
    from lkca_search.search.studies.driver_storage import DriverStorage  # SQLAlchemy, which a plan does not need

    return DriverStorage(storage)


def params_of(trial: Trial | FrozenTrial) -> Params:
    """Return the sampled parameters of a trial."""
    return tuple(sorted(trial.params.items()))


def find_suggestion_problems(spec: SearchSpec) -> Iterator[Problem]:
    """Yield a problem if the sampler fails at its first suggestion: some samplers do not support some domains."""
    try:
        Study(open_in_memory_storage(), spec, cells(spec)[0]).ask()
    except Exception as error:
        name = spec.search.sampler.name
        yield Problem(("search", "sampler"), f"sampler {name} cannot suggest: {type(error).__name__}: {error}")


def suggest_value(trial: Trial, name: str, domain: Domain) -> Scalar:
    """Suggest a value of a domain by the matching `suggest_` method of the trial."""
    match domain:
        case Fixed():
            return domain.value
        case Choice():
            chosen = trial.suggest_categorical(name, list(domain.choice))
            assert chosen is not None
            return chosen
        case IntRange():
            values = domain.values()  # the last value is below the upper bound if the step does not reach it
            return trial.suggest_int(name, values[0], values[-1], step=domain.step, log=domain.log)
        case FloatRange():
            return trial.suggest_float(name, *domain.bounds, log=domain.log)
