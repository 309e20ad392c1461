"""Tests of the schema of MLflow's SQLite database: created completely or not at all, and checked before use."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import alembic.command
import mlflow
import pytest
from alembic.config import Config
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstSchema
from sqlalchemy import create_engine

from lkca_search.layout import Home
from lkca_search.paths import sqlite_url
from lkca_search.tracking.database import prepare_database
from lkca_search.tracking.experiment import open_client
from lkca_search.tracking.faults import StoreError, describe_fault
from tests.support.tracking.database import copy_fresh_database
from tests.support.tracking.forked import StoreForks
from tests.support.tracking.recorded import assert_stored, make_record, open_store, read_stored

NUM_KILLS = 20


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreForks]:
    with StoreForks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


def execute(file: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as database:
        rows = [database.execute(statement).fetchall() for statement in statements][-1]
        database.commit()
    return rows


def schema_of(file: Path) -> list[tuple[object, ...]]:
    """Return type, name and words of the tables, indexes and triggers. MLflow's order of constraints varies."""
    rows = execute(file, "SELECT type, name, coalesce(sql, '') FROM sqlite_master")
    return sorted((kind, name, *sorted(str(sql).replace(",", " ").split())) for kind, name, sql in rows)


def assert_usable(root: Path) -> None:
    """Assert that a home's store opens, receives a trial, and that nothing was set aside."""
    open_store(root).finish(make_record())
    assert_stored(read_stored(f"sqlite:///{root}/mlflow.db"), make_record())
    assert not list(root.glob("*.half-made-*"))


def test_the_schema_is_the_one_that_mlflow_creates(tmp_path: Path) -> None:
    copy_fresh_database(tmp_path / "theirs.db")
    assert prepare_database(tmp_path / "folder" / "ours.db") is None
    assert schema_of(tmp_path / "folder" / "ours.db") == schema_of(tmp_path / "theirs.db")
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["ours.db"]


def test_a_complete_database_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    copy_fresh_database(file)
    before = file.read_bytes()
    assert prepare_database(file) is None
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    ["BEGIN", "CREATE TABLE", 'CREATE TABLE "runs"', "INSERT INTO", "CREATE INDEX", "COMMIT"],
)
def test_a_kill_at_any_statement_leaves_no_half_made_database(
    statement: str, forks: StoreForks, tmp_path: Path
) -> None:
    forks.start(tmp_path, kill_at=statement)
    assert forks.wait() == [-9]
    assert_usable(tmp_path)


@pytest.mark.slow
def test_kills_while_a_fresh_home_is_made_leave_no_half_made_database(forks: StoreForks, tmp_path: Path) -> None:
    seconds, was_complete = 0.005, []
    for number in range(NUM_KILLS):
        root = tmp_path / str(number)
        pid = forks.start(root)
        time.sleep(seconds)
        forks.kill(pid)
        was_complete.append((root / "mlflow.db").exists() and (root / "mlflow.db").stat().st_size > 0)
        seconds *= 0.6 if was_complete[-1] else 1.5  # close to the moment of the commit, however busy the machine is
        assert_usable(root)
    assert len(set(was_complete)) == 2


@pytest.mark.parametrize("num_tables", [1, 8, 30])
def test_a_database_that_mlflow_left_half_made_is_kept_and_made_again(
    num_tables: int, forks: StoreForks, tmp_path: Path
) -> None:
    file = tmp_path / "mlflow.db"
    tmp_path.mkdir(exist_ok=True)
    pid = forks.start(tmp_path, by_mlflow=True)
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
    while True:
        try:
            if file.exists() and execute(file, count)[0][0] >= num_tables:  # type: ignore[operator]
                break
        except sqlite3.OperationalError:
            pass
    forks.kill(pid)
    (found,) = execute(file, count)
    store = open_store(tmp_path)
    copy = tmp_path / "mlflow.db.half-made-1"
    assert execute(copy, count) == [found]
    assert str(copy) in store.notices[0]
    store.finish(make_record())
    assert_stored(read_stored(f"sqlite:///{file}"), make_record())
    assert open_store(tmp_path).notices == ()


def test_an_empty_file_gets_the_schema(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert_usable(tmp_path)


def test_six_processes_can_open_a_fresh_home_at_once(forks: StoreForks, tmp_path: Path) -> None:
    for number in range(6):
        forks.start(tmp_path, uid=f"search {number}")
    assert forks.wait() == [0] * 6
    assert all(read_stored(f"sqlite:///{tmp_path}/mlflow.db", uid=f"search {number}") for number in range(6))
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow_artifacts"}


@pytest.mark.parametrize(
    ("revision", "version", "command"),
    [("97727af70f4d", "an older MLflow", "mlflow db upgrade"), ("ffffffffffff", "a newer MLflow", "pip install")],
)
def test_the_schema_of_another_version_is_left_alone(revision: str, version: str, command: str, tmp_path: Path) -> None:
    file = tmp_path / "my runs" / "mlflow.db"
    copy_fresh_database(file)
    execute(file, f"UPDATE alembic_version SET version_num = '{revision}'", "DROP TABLE model_versions")
    before = file.read_bytes()
    with pytest.raises(StoreError, match=version) as caught:
        open_client(Home(root=file.parent))
    assert f"cp '{file}' '{file}.backup' && {command}" in caught.value.fault.remedy
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before


@pytest.mark.slow
def test_the_printed_command_upgrades_an_older_database(tmp_path: Path) -> None:
    file = tmp_path / "a home" / "mlflow.db"
    file.parent.mkdir()
    engine = create_engine(sqlite_url(file))
    FirstSchema.metadata.create_all(engine)
    migrations = Config()
    migrations.set_main_option("script_location", str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    with engine.begin() as connection:
        migrations.attributes["connection"] = connection
        alembic.command.upgrade(migrations, "c48cb773bb87")  # a version of 2020
    execute(file, "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (0, 'Default', 'active')")
    with pytest.raises(StoreError, match="an older MLflow") as caught:
        open_store(file.parent)
    printed = caught.value.fault.remedy.partition(": ")[2].replace("mlflow ", f"{sys.executable} -m mlflow ")
    subprocess.run(["sh", "-c", printed], check=True, capture_output=True)
    assert file.with_name("mlflow.db.backup").exists()
    open_store(file.parent).finish(make_record())
    assert_stored(read_stored(sqlite_url(file)), make_record())


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    execute(file, "CREATE TABLE studies (name)", "CREATE TABLE alembic_version (version_num)")
    with pytest.raises(StoreError, match="belongs to another program"):
        prepare_database(file)
    assert len(schema_of(file)) == 2


@pytest.mark.parametrize(
    ("content", "cause"), [(b"no database" * 500, "is damaged"), (None, "cannot be written"), (b"", "do not fit")]
)
def test_a_file_that_cannot_be_used_is_one_line(
    content: bytes | None, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(root=tmp_path)
    if content is None:
        home.mlflow_database.mkdir()
    elif content:
        home.mlflow_database.write_bytes(content)
    else:
        monkeypatch.setattr("lkca_search.tracking.database.connect", _connect_to_full_disk)
    with pytest.raises(sqlite3.Error) as caught:
        open_client(home)
    line = str(describe_fault(caught.value, home))
    assert cause in line
    assert str(home.mlflow_database) in line
    assert "\n" not in line
    assert os.listdir(tmp_path) in (["mlflow.db"], [])


def _connect_to_full_disk(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA max_page_count = 50")  # SQLite then reports a full disk
    return connection


def test_the_default_experiment_is_there(tmp_path: Path) -> None:
    prepare_database(tmp_path / "mlflow.db")
    (experiment,) = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    assert experiment.name == "Default"
