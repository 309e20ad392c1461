"""The storage of a driver has the content of its database, and reads nothing from it while trials run."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, event

from lkca_search.layout import SearchFolder
from lkca_search.records.record import State
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.simulation.simulator import simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.state.database import Database
from lkca_search.search.studies import driver_storage
from lkca_search.search.studies.driver_storage import WRITE_SECONDS, DriverStorage
from lkca_search.search.studies.stored_trials import read_trial, read_trials
from lkca_search.search.studies.study import Storage, Study, open_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.tracker import Tracker
from tests.support.search.toy import DIGITS


def make_spec(*, trials: int = 8, **search: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"family": ("lkca",)},
            "parameters": {
                "kernel_size": {"choice": (3, 5, 7)},
                "depth": {"int": (1, 3)},
                "patch_size": {"value": 2},
                "learning_rate": {"float": (1e-4, 1e-1), "log": True},
            },
            "training": {"steps": 20, "reports": 4},
            "search": {"trials_per_cell": trials, **search},
        }
    )


def open_ledger(root: Path, spec: SearchSpec, storage: Storage) -> Ledger:
    (root / "toy").mkdir(parents=True, exist_ok=True)
    return Ledger(SearchFolder(root=root / "toy"), spec, DIGITS, 10, Tracker(), storage=storage)


@pytest.fixture
def database(tmp_path: Path) -> RDBStorage:
    return open_storage(Database.sqlite(tmp_path / "ledger.db"))


def study_id_of(database: RDBStorage, spec: SearchSpec) -> int:
    """Return the id of the study of the first cell."""
    return database.get_study_id_from_name(cells(spec)[0].key)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    statements: list[str] = []

    def add(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", add)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", add)


@contextmanager
def counted_writes() -> Iterator[list[str]]:
    """Yield a list with the last statement of each transaction that writes."""
    writes: list[str] = []
    with counted_statements() as statements:

        def add(connection: Any) -> None:
            written = [each for each in statements if each.startswith(("INSERT", "UPDATE"))]
            statements.clear()
            writes.extend(written[-1:])

        event.listen(Engine, "commit", add)
        try:
            yield writes
        finally:
            event.remove(Engine, "commit", add)


def count(action: Callable[[], Any]) -> int:
    with counted_statements() as statements:
        action()
    return len(statements)


def fields(trial: FrozenTrial) -> dict[str, Any]:
    """Return the fields of a trial as texts, in which nan is equal to itself; the order of its parameters counts."""
    parts = vars(trial).items()
    texts = {name: repr(sorted(value.items()) if isinstance(value, dict) else value) for name, value in parts}
    return {**texts, "_params": repr(list(trial.params.items()))}


def sorted_fields(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    return [fields(trial) for trial in sorted(trials, key=lambda trial: trial.number)]


def test_trials_are_read_as_optuna_reads_them(database: RDBStorage) -> None:
    study = optuna.create_study(storage=database, directions=["maximize", "minimize"], study_name="two")
    other = optuna.create_study(storage=database, study_name="other")
    distributions = {
        "kernel_size": CategoricalDistribution((3, "x", None)),
        "depth": IntDistribution(1, 9, step=2),
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    }
    params = {"learning_rate": 0.1 + 0.2 - 0.25, "depth": 3, "kernel_size": None}
    reports = {2: math.nan, 1: math.inf, 5: -math.inf, 3: 0.1}
    trial = create_trial(
        state=TrialState.COMPLETE,
        values=[math.inf, 0.3],
        params=params,
        distributions=distributions,
        user_attrs={"gap": True},
        system_attrs={"a": [1, {"b": 2}]},
    )
    study.add_trial(trial)
    study.enqueue_trial({"depth": 5})
    pruned = create_trial(
        state=TrialState.PRUNED, value=0.5, params=params, distributions=distributions, intermediate_values=reports
    )
    other.add_trial(pruned)
    other.add_trial(create_trial(state=TrialState.FAIL))
    other.ask()
    for name in ("two", "other"):
        study_id = database.get_study_id_from_name(name)
        expected = database.get_all_trials(study_id)
        assert sorted_fields(read_trials(database, study_id)) == sorted_fields(expected)
        ids = [database.get_trial_id_from_study_id_trial_number(study_id, trial.number) for trial in expected]
        assert [fields(read_trial(database, trial_id)) for trial_id in ids] == [*map(fields, expected)]


@pytest.mark.parametrize("pruner", ["hyperband", "median", "none"])
def test_memory_and_database_are_equal_after_every_suggestion_and_end_and_when_reports_are_written(
    database: RDBStorage, pruner: str
) -> None:
    spec = make_spec(sampler="tpe", pruner=pruner)
    study = Study(database, spec, cells(spec)[0])
    assert isinstance(study.storage, DriverStorage)

    def check() -> None:
        stored = database.get_all_trials(study_id_of(database, spec))
        assert sorted_fields(study.trials()) == sorted_fields(stored)

    for index in range(6):
        numbers = [study.ask()[0], study.ask()[0]]
        check()
        for report, number in ((1, numbers[0]), (1, numbers[1]), (2, numbers[0])):
            study.report(number, report, index / 10 + report / 7)
            if report == 1:
                study.write()
                check()
        for number in numbers:
            study.tell(number, *_outcome(index, number))
            check()


def test_a_suggestion_is_written_in_two_transactions_and_reports_in_one_whatever_their_numbers(
    database: RDBStorage,
) -> None:
    spec = make_spec(sampler="tpe", pruner="hyperband")
    study = Study(database, spec, cells(spec)[0])
    with counted_writes() as writes:
        number, chosen = study.ask()
        assert len(chosen) > 3
        assert len(writes) == 2
        writes.clear()
        study.report(number, 1, 0.1)
        study.report(number, 2, 0.2)
        assert not writes
        study.write()
        assert len(writes) == 1
    stored = database.get_all_trials(study_id_of(database, spec))
    assert stored[number].intermediate_values == {1: 0.1, 2: 0.2}


def test_reports_are_written_after_some_seconds_at_the_latest(
    database: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(sampler="random", pruner="none")
    study = Study(database, spec, cells(spec)[0])
    number, _ = study.ask()
    study.report(number, 1, 0.1)
    trial_id = database.get_trial_id_from_study_id_trial_number(study_id_of(database, spec), number)
    assert not database.get_trial(trial_id).intermediate_values
    passed = time.monotonic() + WRITE_SECONDS
    monkeypatch.setattr(driver_storage.time, "monotonic", lambda: passed)
    study.report(number, 2, 0.2)
    assert database.get_trial(trial_id).intermediate_values == {1: 0.1, 2: 0.2}


def test_another_range_of_a_parameter_and_a_report_of_a_finished_trial_are_refused(database: RDBStorage) -> None:
    spec = make_spec(sampler="random", pruner="none")
    study = Study(database, spec, cells(spec)[0])
    number, _ = study.ask()
    study_id = study_id_of(database, spec)
    added = database.create_new_trial(study_id)
    reopened = DriverStorage(database)
    first = reopened.get_trial_id_from_study_id_trial_number(study_id, number)
    with pytest.raises(ValueError, match="dynamic value space"):
        reopened.set_trial_param(added, "kernel_size", 0, CategoricalDistribution((9, 11)))
    reopened.set_trial_state_values(first, TrialState.FAIL)
    with pytest.raises(RuntimeError, match="has already finished"):
        reopened.set_trial_intermediate_value(first, 1, 0.5)


def _outcome(index: int, number: int) -> Any:
    return [(State.COMPLETE, (index / 3,)), (State.PRUNED, ()), (State.FAIL, ())][(index + number) % 3]


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "hyperband"), ("qmc", "median"), ("random", "none")])
def test_suggestions_and_prunings_are_those_with_the_cache_of_optuna(tmp_path: Path, sampler: str, pruner: str) -> None:
    found = []
    for name, wrap in (("ours", lambda storage: storage), ("optuna", get_storage)):
        storage = open_storage(Database.sqlite(tmp_path / f"{name}.db"))
        ledger = open_ledger(tmp_path / name, make_spec(trials=24, sampler=sampler, pruner=pruner), wrap(storage))
        records = simulate(ledger, ToyTraining(), num_slots=3).records
        found.append([(record.trial_id, record.spec.configuration, record.state, record.value) for record in records])
    assert found[0] == found[1]


def test_statements_per_trial_do_not_grow_with_trials_that_run_or_are_finished(
    tmp_path: Path, database: RDBStorage
) -> None:
    ledger = open_ledger(tmp_path, make_spec(trials=60, sampler="tpe", pruner="hyperband"), database)
    worker = ToyTraining()

    def measure() -> tuple[int, int, int]:
        started: list[Any] = []
        counts = [count(lambda: started.append(ledger.assign()))]
        messages = list(worker(started[0]))
        counts.append(count(lambda: ledger.on_message(started[0].trial_id, messages[0])))
        counts.append(count(lambda: ledger.finish(started[0].trial_id)))
        return counts[0], counts[1], counts[2]

    for _ in range(12):  # TPE begins after ten trials
        measure()
    first = measure()
    for _ in range(8):
        assignment = ledger.assign()
        assert assignment is not None
        ledger.on_message(assignment.trial_id, next(worker(assignment)))
    for _ in range(12):
        measure()
    assert measure() == first
    assert first[1] <= 10  # one report, and the value of a rung


def test_a_ledger_is_opened_with_the_same_number_of_statements_for_any_number_of_trials(
    tmp_path: Path, database: RDBStorage
) -> None:
    counts = []
    for trials in (4, 40):
        spec = make_spec(trials=trials, sampler="random")
        simulate(open_ledger(tmp_path, spec, database), ToyTraining())
        counts.append(count(lambda spec=spec: open_ledger(tmp_path, spec, database)))
    assert counts[0] == counts[1]
