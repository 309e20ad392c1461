"""A ledger that was deleted, damaged or replaced by an older copy in the middle of a search: the search ends exact."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import text

from cluster.local.ports import free_port
from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import Record, State, read_records
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import LeaseTiming, hold_lease
from lkca_search.search.studies.study import open_storage
from lkca_search.tracking.tracker import Tracker, TrialStart
from tests.support.postgres import Postgres, running_postgres
from tests.support.search.toy import DIGITS, make_messages, make_spec, train, train_all

TIMING = LeaseTiming(heartbeat_seconds=0.2, ttl_seconds=1.0, valid_seconds=0.7)
CELLS = ("family=lkca", "family=vit")
NUM_TRIALS = 8
"""Trials per cell."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with running_postgres(Path("/tmp") / f"lkca-pg-lost-{os.getpid()}", free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object]]:
    """Return a function with the configuration of every trial of a search that nothing disturbs, by its sampler."""

    @cache
    def run(sampler: str) -> dict[str, object]:
        folder = Home(root=tmp_path_factory.mktemp("calm")).search(f"calm-{sampler}")
        drive(folder, train_all, sampler=sampler)
        return configurations(folder)

    return run


@pytest.fixture(params=["sqlite", "postgresql"])
def lost(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """Return the folder of a search that has not started, with its ledger on SQLite or PostgreSQL."""
    if request.param == "postgresql":
        monkeypatch.setenv("LKCA_SEARCH_LEDGER", request.getfixturevalue("postgres").url)
    return Home(root=tmp_path / "home").search(f"lost-{abs(hash(request.node.name))}")


class Starts(Tracker):
    """Tracker that counts the starts of each trial."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def trial_started(self, start: TrialStart) -> None:
        self.counts[start.trial_id] += 1


@contextmanager
def opened_storage(folder: SearchFolder) -> Iterator[RDBStorage]:
    storage = open_storage(find_database(folder))
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def drive(folder: SearchFolder, work: Callable[[Ledger], Any], **search: Any) -> tuple[Starts, list[str]]:
    """Run one driver: hold the lease, open the ledger, work; return its starts and what it notified."""
    starts, lines = Starts(), list[str]()
    spec = make_spec(**{"trials_per_cell": NUM_TRIALS, **search})
    with hold_lease(folder, timing=TIMING, notify=lines.append) as lease, opened_storage(folder) as storage:
        ledger = Ledger(
            folder, spec, DIGITS, 10, starts, driver=lease.driver, ensure_lease=lease.ensure, storage=storage
        )
        lines += ledger.restored
        work(ledger)
    return starts, lines


def train_some(count: int, in_flight: int = 0) -> Callable[[Ledger], None]:
    """Return work that finishes `count` trials and leaves others in flight, after one report each."""

    def work(ledger: Ledger) -> None:
        for _ in range(count):
            assignment = ledger.assign()
            assert assignment is not None
            train(ledger, assignment)
        started: list[Assignment] = [each for _ in range(in_flight) if (each := ledger.assign()) is not None]
        for each in started:
            ledger.on_message(each.trial_id, next(make_messages(each)))

    return work


def configurations(folder: SearchFolder) -> dict[str, object]:
    return {record.trial_id: (record.spec.configuration, record.spec.seed) for record in read_records(folder)}


def assert_exact(folder: SearchFolder) -> None:
    """Check that every cell has its budget, that each trial is recorded once, and that the studies have the same."""
    records = read_records(folder)
    assert Counter(record.cell for record in records) == dict.fromkeys(CELLS, NUM_TRIALS)
    assert len(list(folder.trials.glob("*/*/attempt-*/record.json"))) == len(records)
    assert studies(folder) == studies_of_records(records)


def studies(folder: SearchFolder) -> dict[str, tuple[str, dict[str, object], dict[int, float], list[float] | None]]:
    """Return state, parameters, reports and values of every trial in the studies, by id."""
    with opened_storage(folder) as storage:
        return {
            f"{cell}/{trial.number}": (trial.state.name, trial.params, trial.intermediate_values, trial.values)
            for cell in CELLS
            for trial in storage.get_all_trials(storage.get_study_id_from_name(cell))
        }


def studies_of_records(records: list[Record]) -> dict[str, object]:
    names = ("kernel_size", "learning_rate")
    return {
        record.trial_id: (
            record.state.name,
            {name: value for name in names if (value := getattr(record.spec.configuration, name)) is not None}
            if record.cell == CELLS[0]
            else {"learning_rate": record.spec.configuration.learning_rate},
            {index: result.val_accuracy for index, result in enumerate(record.curve, start=1)},
            [record.value] if record.state is State.COMPLETE else None,
        )
        for record in records
    }


def copy_ledger(folder: SearchFolder) -> Callable[[], None]:
    """Copy the ledger; return a function that replaces it by the copy."""
    database = find_database(folder)
    if database.file is not None:
        copy = Path(shutil.copy(database.file, database.file.with_suffix(".copy")))
        return lambda: (shutil.copy(copy, database.file), None)[1]
    tables = ("studies", "study_directions", "study_user_attributes", "study_system_attributes", "trials")
    tables += ("trial_values", "trial_params", "trial_intermediate_values", "trial_user_attributes", "lkca_lease")
    engine = database.engine()
    with engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"CREATE TABLE copy_{table} AS TABLE {table}"))
    engine.dispose()

    def restore() -> None:
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {', '.join(tables)} CASCADE"))
            for table in tables:
                connection.execute(text(f"INSERT INTO {table} SELECT * FROM copy_{table}"))
        engine.dispose()

    return restore


def delete_ledger(folder: SearchFolder) -> None:
    database = find_database(folder)
    if database.file is not None:
        database.file.unlink()
        return
    engine = database.engine()
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {database.schema_name} CASCADE"))
    engine.dispose()


def corrupt_ledger(folder: SearchFolder) -> None:
    """Overwrite pages of an SQLite file; on PostgreSQL, delete every second trial and the first study."""
    database = find_database(folder)
    if database.file is not None:
        content = bytearray(database.file.read_bytes())
        content[4096:40_960] = os.urandom(36_864)
        database.file.write_bytes(content)
        return
    engine = database.engine()
    with engine.begin() as connection:
        connection.execute(
            text("SET session_replication_role = replica")
        )  # rows of other tables stay, as after a fault
        connection.execute(text("DELETE FROM trials WHERE number % 2 = 1"))
        connection.execute(text("DELETE FROM studies WHERE study_id = (SELECT min(study_id) FROM studies)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("lost", "damage", "sampler"),
    [
        *(("sqlite", "deleted", sampler) for sampler in ("random", "tpe", "qmc")),
        *(("sqlite", damage, "tpe") for damage in ("corrupted", "older")),
        *(("postgresql", damage, "tpe") for damage in ("deleted", "corrupted", "older")),
    ],
    indirect=["lost"],
)
def test_a_search_whose_ledger_is_lost_in_the_middle_ends_exact(
    lost: SearchFolder, calm: Callable[[str], dict[str, object]], damage: str, sampler: str
) -> None:
    drive(lost, train_some(4), sampler=sampler)
    restore = copy_ledger(lost)
    drive(lost, train_some(5), sampler=sampler)
    before = {path: path.read_bytes() for path in lost.trials.glob("*/*/*/record.json")}
    {"deleted": lambda: delete_ledger(lost), "corrupted": lambda: corrupt_ledger(lost), "older": restore}[damage]()
    starts, lines = drive(lost, train_all, sampler=sampler)
    assert len(before) == 9
    assert {path: path.read_bytes() for path in before} == before
    assert not starts.counts.keys() & {f"{path.parts[-4]}/{path.parts[-3]}" for path in before}
    assert any("adopted from records" in line or "without a record" in line for line in lines), lines
    assert_exact(lost)
    # With one worker, a restored study has what the lost one had, so the sampler continues with the same suggestions.
    assert configurations(lost) == calm(sampler)


@pytest.mark.parametrize(
    ("lost", "damage", "sampler"),
    [
        *(("sqlite", "deleted", "random"), ("sqlite", "older", "tpe")),
        *(("postgresql", "deleted", "tpe"), ("postgresql", "older", "random")),
    ],
    indirect=["lost"],
)
def test_trials_in_flight_continue_with_their_values_after_the_ledger_is_lost(
    lost: SearchFolder, calm: Callable[[str], dict[str, object]], damage: str, sampler: str
) -> None:
    drive(lost, train_some(3), sampler=sampler)
    restore = copy_ledger(lost)
    drive(lost, train_some(4, in_flight=3), sampler=sampler)
    delete_ledger(lost) if damage == "deleted" else restore()
    values = {path.parent.parent: path.read_text() for path in lost.trials.glob("*/*/*/start.json")}
    assert len(values) == 3
    drive(lost, train_all, sampler=sampler)
    assert_exact(lost)
    by_id = {record.trial_id: record for record in read_records(lost)}
    for folder, start in values.items():
        record = by_id[f"{folder.parent.name}/{folder.name}"]
        assert TrialStart.model_validate_json(start).spec.configuration == record.spec.configuration
        assert record.attempt == 2
    if sampler == "random":
        assert configurations(lost) == calm(sampler)


def test_a_trial_in_flight_whose_values_are_lost_keeps_its_number_and_starts_afresh(lost: SearchFolder) -> None:
    drive(lost, train_some(3, in_flight=1))
    (start,) = lost.trials.glob("*/*/*/start.json")
    checkpoint = start.with_name("checkpoint-00000010.pt")
    checkpoint.write_bytes(b"of other values, perhaps")
    start.write_bytes(b'{"trial_id": ')
    delete_ledger(lost)
    _, lines = drive(lost, lambda ledger: None)
    assert any("1 unfinished, with values suggested again" in line for line in lines)
    assert not checkpoint.exists()
    assert checkpoint.with_name("checkpoint-00000010.pt.damaged-1").exists()
    drive(lost, train_all)
    assert_exact(lost)


def test_a_number_without_a_record_or_folder_is_used_once_and_leaves_the_budget_exact(lost: SearchFolder) -> None:
    drive(lost, train_some(12))
    shutil.rmtree(Path(str(lost.trial(f"{CELLS[0]}/2").root)))
    delete_ledger(lost)
    _, lines = drive(lost, lambda ledger: None)
    assert any("1 numbers without files" in line for line in lines)
    starts, _ = drive(lost, train_all)
    assert starts.counts.keys() & {f"{CELLS[0]}/2"}
    assert_exact(lost)


def test_drivers_after_a_lost_ledger_have_higher_numbers_than_all_in_the_folders(lost: SearchFolder) -> None:
    for _ in range(3):
        drive(lost, train_some(1))
    assert lost.latest_driver() == 3
    delete_ledger(lost)
    with hold_lease(lost, timing=TIMING) as lease:
        assert lease.driver == 4
    uid = lost.uid.read_text()
    with hold_lease(lost, timing=TIMING) as lease:
        assert lease.driver == 5
    assert lost.uid.read_text() == uid


def test_an_intact_ledger_is_not_restored(lost: SearchFolder) -> None:
    drive(lost, train_some(5, in_flight=2))
    _, lines = drive(lost, train_some(3))
    assert lines == []


def test_an_empty_ledger_given_anew_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    """A wrong URL must not start a second ledger of a search: two drivers could then run at once."""
    folder = Home(root=tmp_path / "home").search("own")
    drive(folder, train_some(2))
    with pytest.raises(SearchError, match="has none of them; give the ledger with which the search was started"):
        with hold_lease(folder, postgres.url, timing=TIMING):
            pass
    assert not folder.ledger_url.exists()
    with hold_lease(folder, timing=TIMING) as lease:
        assert lease.driver == 2


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median", "curves"])
def test_a_restored_study_is_the_study_that_was_lost(tmp_path: Path, pruner: str) -> None:
    folder = Home(root=tmp_path / "home").search("same")

    names = ("number", "state", "params", "distributions", "intermediate_values", "values", "system_attrs")

    def stored() -> list[list[object]]:
        with opened_storage(folder) as storage:
            ids = [storage.get_study_id_from_name(cell) for cell in CELLS]
            trials = [trial for study in ids for trial in storage.get_all_trials(study)]
        return [[getattr(trial, name) for name in names] for trial in trials]

    drive(folder, train_all, pruner=pruner)
    before = stored()
    delete_ledger(folder)
    drive(folder, lambda ledger: None, pruner=pruner)
    assert stored() == before


def test_a_trial_whose_record_is_gone_is_trained_again_with_its_values(lost: SearchFolder, tmp_path: Path) -> None:
    drive(lost, train_all)
    before = configurations(lost)
    path = lost.records()[f"{CELLS[1]}/3"]
    path.rename(path.with_name("record.json.damaged-1"))
    starts, lines = drive(lost, train_all)
    assert starts.counts == {f"{CELLS[1]}/3": 1}
    assert "1 without a record, to be trained again" in lines[0]
    assert_exact(lost)
    assert configurations(lost) == before
