"""The command `doctor`: a sound machine has no problem, and each planted problem is named with its remedy."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from lkca_search.environment.checkout import read_commit
from lkca_search.errors import UserError
from lkca_search.layout import Home
from lkca_search.training.device import describe_gpu
from tests.support.processes import Command, parsed
from tests.support.records import make_record, make_search
from tests.support.tracking.database import copy_fresh_database


@pytest.fixture(autouse=True)
def _sound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LKCA_SEARCH_CACHE", "LKCA_DATA_DIR", "LKCA_SEARCH_LEDGER", "TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LKCA_GIT_COMMIT", "1234")
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "1.0")  # the disk of this machine may be full
    read_commit.cache_clear()  # a process reads its commit once
    yield
    read_commit.cache_clear()


def test_a_sound_machine_has_no_problem_and_nothing_is_made(command: Command) -> None:
    home = Home.from_environment().root
    found = {check["name"]: check["value"] for check in parsed(command("doctor", "--json"))}
    assert found["home"].startswith(f"{home}, ")
    assert found["home"].endswith(" GB free, not made yet")
    assert found["cluster"] == "Ray is started on this machine"
    assert found["code"] == "1234"
    assert "torch 2." in found["versions"]
    assert found["Python"].startswith("3.")
    assert found["clock"].endswith(" UTC")
    assert found["ports"].startswith("5000 is ")
    assert found["data found"].startswith("digits")
    assert isinstance(home, Path)
    assert not home.exists()
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    assert "!" not in out
    assert out.endswith("\nno problem found\n")


@pytest.mark.parametrize(
    ("variable", "value", "name", "words"),
    [
        ("LKCA_SEARCH_HOME", "{file}", "home", ["LKCA_SEARCH_HOME must be a folder", "{file}"]),
        ("LKCA_SEARCH_HOME", "{file}/below", "home", ["{file}", "Not a directory", "move the file"]),
        ("LKCA_SEARCH_HOME", "/proc/x", "home", ["LKCA_SEARCH_HOME must", "/proc: Operation not supp", "choose a"]),
        ("LKCA_SEARCH_CACHE", "{file}", "datasets", ["LKCA_SEARCH_CACHE must be a folder", "{file}"]),
        ("LKCA_DATA_DIR", "/nosuch", "LKCA_DATA_DIR", ["got /nosuch, which does not exist"]),
        (
            "RAY_ADDRESS",
            "http://head:8265",
            "cluster",
            ["submit SPACE --address http://head:8265", "unset RAY_ADDRESS"],
        ),
        ("RAY_local_fs_capacity_threshold", "0.000001", "temporary files", ["because Ray starts no worker"]),
        ("LKCA_SEARCH_LEDGER", "postgresql://u@127.0.0.1:1/d", "ledger", ["LKCA_SEARCH_LEDGER must respond"]),
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:1", "MLflow", ["http://127.0.0.1:1 does not respond"]),
        ("MLFLOW_TRACKING_URI", "sqlite:///{file}.db", "MLflow", ["belongs to another program than MLflow"]),
        ("LKCA_SEARCH_LEDGER", "mysql://u@h/d", "ledger", ["must be postgresql://USER@HOST/DATABASE"]),
    ],
)
def test_a_planted_problem_is_named_with_its_remedy_and_the_exit_code_is_1(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    name: str,
    words: list[str],
) -> None:
    (tmp_path / "file").write_text("")
    with closing(sqlite3.connect(tmp_path / "file.db")) as database:
        database.execute("create table others (x)")
    monkeypatch.setenv(variable, value.format(file=tmp_path / "file"))
    code, out, err = command("doctor", "--json")
    assert (code, err) == (1, "")
    problems = {check["name"]: check["problem"] for check in json.loads(out) if check["problem"] is not None}
    for word in words:
        assert word.format(file=tmp_path / "file") in problems[name]
    assert set(problems) <= {name, "datasets", "MLflow"}  # they lie in the home
    assert f"! {name}: " in command("doctor").out


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU")
def test_a_gpu_that_torch_cannot_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "version"
    assert describe_gpu(driver) == "none"
    driver.write_text("")
    with pytest.raises(UserError, match="torch must be able to use the GPU of this machine, got "):
        describe_gpu(driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert describe_gpu(driver) == "none"


def test_a_store_of_mlflow_is_checked_and_never_changed(command: Command) -> None:
    database = Home.from_environment().mlflow_database
    copy_fresh_database(database)
    found = {check["name"]: check["value"] for check in parsed(command("doctor", "--json"))}
    assert found["MLflow"] == "the store responds, experiment 'lkca-search' not made yet"
    with closing(sqlite3.connect(database)) as half_made:
        half_made.execute("delete from alembic_version")
        half_made.execute("delete from experiments")
        half_made.commit()
    content = database.read_bytes()
    found = {check["name"]: check["value"] for check in parsed(command("doctor", "--json"))}
    assert found["MLflow"] == f"{database} is half-made; the next run makes it again"
    assert database.read_bytes() == content
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_with_a_name_the_files_of_the_search_are_checked_and_never_changed(command: Command) -> None:
    folder = make_search("made", [make_record(0), make_record(1)])
    found = {check["name"]: check["value"] for check in parsed(command("doctor", "made", "--json"))}
    assert found["search made"] == "no damage found"
    record = folder.records()[make_record(1).trial_id]
    assert isinstance(record, Path)
    record.write_bytes(b"")
    code, out, err = command("doctor", "made", "--json")
    assert (code, err) == (1, "")
    (problem,) = [check["problem"] for check in json.loads(out) if check["problem"] is not None]
    assert problem.startswith(f"{record} is damaged: ")
    assert "lkca-search repair made" in problem
    assert record.read_bytes() == b""
    assert "there is no search 'nowhere'" in command("doctor", "nowhere").err
