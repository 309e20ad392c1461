"""Restoration of a cell's Optuna study from the files of its trials.

Records are durable and complete, so a study that is lost, damaged or older than the records can be made again. Every
number that has a record or a folder gets its trial back: finished trials from their records, and unfinished ones with
the values stored at the start of their attempts. No later trial can take such a number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from lkca_search.records.objectives import trial_values
from lkca_search.records.record import Record, State
from lkca_search.search.studies.samplers import make_pruner
from lkca_search.search.studies.starts import START_ATTR, starts_of
from lkca_search.search.studies.stored_trials import renumber_trial, reopen_trials
from lkca_search.search.studies.study import GAP_ATTR, Storage, Study, open_in_memory_storage
from lkca_search.spec.cells import Cell, num_reports
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange
from lkca_search.spec.search_spec import SearchSpec

_PRUNERS_WITHOUT_STATE = ("none", "curves", "median", "percentile", "threshold", "wilcoxon")
"""Pruners that compute each decision from reports. Others store attributes of trials, which must be made again."""


@dataclass(frozen=True, kw_only=True)
class CellFiles:
    """Files of the trials of one cell."""

    records: Mapping[int, Record]
    """Record of each finished trial by number."""
    started: frozenset[int]
    """Numbers of all trials with a folder."""
    read_configuration: Callable[[int], Configuration | None]
    """Function that returns the configuration of an unfinished trial from its folder; None if it has none."""


@dataclass(kw_only=True)
class Restoration:
    """Changes to a study that make it match the files of its cell."""

    added: dict[int, FrozenTrial] = field(default_factory=dict)
    """Trials that the study lacks, by number."""
    reopened: list[FrozenTrial] = field(default_factory=list)
    """Finished trials of the study without a record. They are trained again with the same values."""
    rewritten: list[FrozenTrial] = field(default_factory=list)
    """Finished trials of the study with another state or other parameters than their records."""
    without_values: list[int] = field(default_factory=list)
    """Unfinished trials whose values are lost. The sampler suggests values for the same number again."""

    @property
    def is_empty(self) -> bool:
        """True if the study matches the files."""
        return not (self.added or self.reopened or self.rewritten)

    def describe(self, cell: str) -> str:
        """Return the changes as one line."""
        num_recorded = sum(trial.state.is_finished() for trial in self.added.values())
        num_gaps = sum(GAP_ATTR in trial.user_attrs for trial in self.added.values())
        counts = (
            (num_recorded, "adopted from records"),
            (len(self.added) - num_recorded - num_gaps - len(self.without_values), "unfinished, with their values"),
            (len(self.without_values), "unfinished, with values suggested again"),
            (num_gaps, "numbers without files"),
            (len(self.rewritten), "corrected from records"),
            (len(self.reopened), "without a record, to be trained again"),
        )
        return f"ledger of {cell}: {', '.join(f'{count} {what}' for count, what in counts if count)}"


def restore_study(storage: Storage, spec: SearchSpec, cell: Cell, files: CellFiles) -> tuple[Study, Restoration]:
    """Open the study of a cell, make it match the files of the cell, and return it with the changes."""
    study = Study(storage, spec, cell)
    trials = study.trials()
    restoration = compare_study(study, trials, spec, cell, files)
    known = {trial.number for trial in trials}
    if not restoration.is_empty:
        study_id = storage.get_study_id_from_name(cell.key)
        reopen_trials(storage, restoration.reopened, keep_params=True)
        reopen_trials(storage, restoration.rewritten, keep_params=False)
        has_holes = bool(known) and len(known) <= max(known)
        for number, trial in restoration.added.items():
            trial_id = storage.create_new_trial(study_id, trial)
            if has_holes:
                renumber_trial(storage, trial_id, number)
        study = Study(storage, spec, cell)  # the first one has cached the old trials
        study.continue_sequence(num_added=len(restoration.added))
    _complete_unfinished(study, spec, cell, files)
    return study, restoration


def compare_study(
    study: Study, trials: Sequence[FrozenTrial], spec: SearchSpec, cell: Cell, files: CellFiles
) -> Restoration:
    """Return the changes that make the trials of a study match the files of its cell. Nothing is written."""
    restoration = Restoration()
    known = {trial.number: trial for trial in trials}
    for number in range(max([*known, *files.records, *files.started], default=-1) + 1):
        frozen, record = known.get(number), files.records.get(number)
        if frozen is None:
            restoration.added[number] = _make_trial(number, spec, cell, files, restoration)
        elif frozen.state.is_finished() and record is None and not study.is_left_out(frozen):
            restoration.reopened.append(frozen)
        elif frozen.state.is_finished() and record is not None:
            params = sampled_params(record.spec.configuration, spec, cell)
            if frozen.state.name != record.state or frozen.params != params:
                restoration.rewritten.append(frozen)
    return restoration


def sampled_params(configuration: Configuration, spec: SearchSpec, cell: Cell) -> dict[str, Scalar]:
    """Return the parameters that a sampler chose, from the configuration of a trial of a cell."""
    params: dict[str, Scalar] = {}

    def choose(name: str, domain: Domain) -> Scalar:
        if isinstance(domain, Fixed):
            return domain.value
        value: Scalar = getattr(configuration, name)
        if isinstance(domain, Choice):
            value = next((level for level in domain.choice if level == value), value)
        if value is not None and _contains(distribution_of(domain), value):
            params[name] = value
        return value

    spec.space.walk(choose, cell.levels)
    return params


def distribution_of(domain: Choice | IntRange | FloatRange) -> BaseDistribution:
    """Return Optuna's distribution of a domain, as `suggest_value` creates it."""
    match domain:
        case Choice():
            return CategoricalDistribution(domain.choice)
        case IntRange():
            values = domain.values()
            return IntDistribution(values[0], values[-1], step=domain.step, log=domain.log)
        case FloatRange():
            return FloatDistribution(*domain.bounds, log=domain.log)


def _make_trial(number: int, spec: SearchSpec, cell: Cell, files: CellFiles, restoration: Restoration) -> FrozenTrial:
    record = files.records.get(number)
    if record is not None:
        return _finished_trial(record, spec, cell)
    if number not in files.started:
        return _unfinished_trial(number, {}, spec, user_attrs={GAP_ATTR: True})
    configuration = files.read_configuration(number)
    if configuration is None:
        restoration.without_values.append(number)
        return _unfinished_trial(number, {}, spec)
    return _unfinished_trial(number, sampled_params(configuration, spec, cell), spec)


def _finished_trial(record: Record, spec: SearchSpec, cell: Cell) -> FrozenTrial:
    params = sampled_params(record.spec.configuration, spec, cell)
    reports = _reports(record, spec)
    values = list(trial_values(record, spec.search)) or None
    if record.state is State.PRUNED and reports:
        values = [reports[max(reports)]]  # as `Study.tell` stores it
    return FrozenTrial(
        number=record.number,
        state=TrialState[record.state],
        value=None,
        values=values,
        datetime_start=datetime.fromtimestamp(record.started),
        datetime_complete=datetime.fromtimestamp(record.finished),
        params=params,
        distributions=_distributions(params, spec),
        user_attrs={},
        system_attrs={**_start_attrs(record.number, cell, spec), **_pruner_attrs(record.number, cell, reports, spec)},
        intermediate_values=reports,
        trial_id=-1,
    )


def _unfinished_trial(
    number: int, params: dict[str, Scalar], spec: SearchSpec, *, user_attrs: dict[str, bool] | None = None
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params=params,
        distributions=_distributions(params, spec),
        user_attrs=dict(user_attrs or {}),
        system_attrs={},
        intermediate_values={},
        trial_id=-1,
    )


def _distributions(params: Mapping[str, Scalar], spec: SearchSpec) -> dict[str, BaseDistribution]:
    domains = ((name, spec.parameters[name]) for name in params)
    return {name: distribution_of(domain) for name, domain in domains if not isinstance(domain, Fixed)}


def _contains(distribution: BaseDistribution, value: Scalar) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:  # not one of the choices
        return False


def _reports(record: Record, spec: SearchSpec) -> dict[int, float]:
    """Return what the trial reported to its study: nothing with several metrics, which Optuna does not support."""
    if len(spec.search.metrics) > 1:
        return {}
    return {index: result.value(spec.search.metrics[0]) for index, result in enumerate(record.curve, start=1)}


def _start_attrs(number: int, cell: Cell, spec: SearchSpec) -> dict[str, dict[str, Scalar]]:
    starts = starts_of(spec, cell)
    return {START_ATTR: starts[number]} if number < len(starts) else {}


def _pruner_attrs(number: int, cell: Cell, reports: Mapping[int, float], spec: SearchSpec) -> dict[str, float]:
    """Return the attributes that the pruner stored in a trial: successive halving stores the value at each rung.

    They depend only on the trial's own reports, so the pruner makes them again in a study without other trials.
    """
    if spec.search.pruner.name in _PRUNERS_WITHOUT_STATE or not reports:
        return {}
    storage = open_in_memory_storage()
    pruner = make_pruner(spec.search.pruner, num_reports=num_reports(spec, cell))
    study = optuna.create_study(
        storage=storage, study_name=cell.key, directions=list(spec.search.directions), pruner=pruner
    )
    trial_id = study.ask()._trial_id
    for index, value in reports.items():
        storage.set_trial_intermediate_value(trial_id, index, value)
        trial = storage.get_trial(trial_id)
        trial.number = number  # hyperband chooses the bracket by the name of the study and this number
        pruner.prune(study, trial)
    return dict(storage.get_trial(trial_id).system_attrs)


def _complete_unfinished(study: Study, spec: SearchSpec, cell: Cell, files: CellFiles) -> None:
    """Add the parameters and reports of recorded trials that the study has as unfinished."""
    storage = study.storage
    for trial in study.trials():
        record = files.records.get(trial.number)
        if record is None or trial.state.is_finished():
            continue
        params = sampled_params(record.spec.configuration, spec, cell)
        distributions = _distributions(params, spec)
        for name in params.keys() - trial.params.keys():
            internal = distributions[name].to_internal_repr(params[name])
            storage.set_trial_param(trial._trial_id, name, internal, distributions[name])
        for index, value in _reports(record, spec).items():
            if index not in trial.intermediate_values:
                storage.set_trial_intermediate_value(trial._trial_id, index, value)
    study.write()
