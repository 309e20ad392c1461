"""Tests of a default store whose home was moved, copied, or has special characters in its name."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lkca_search.layout import Home
from lkca_search.paths import sqlite_url
from lkca_search.tracking.database import connect
from lkca_search.tracking.runs import attach_report
from tests.support.tracking.database import copy_fresh_database
from tests.support.tracking.recorded import assert_stored, make_record, open_store, read_stored

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "/")


def make_home(root: Path) -> Path:
    copy_fresh_database(root / "mlflow.db")
    open_store(root).finish(make_record())
    return root


def artifact(root: Path, name: str = "space.yaml", *, uid: str = "uid") -> str:
    """Return the content of an artifact of the search, read by MLflow."""
    stored = read_stored(sqlite_url(root / "mlflow.db"), uid=uid)
    assert stored is not None
    client = MlflowClient(tracking_uri=sqlite_url(root / "mlflow.db"))
    return Path(client.download_artifacts(stored.parent.info.run_id, name)).read_text()


def locations(root: Path) -> set[str]:
    """Return all locations in the database of a home."""
    with closing(connect(root / "mlflow.db")) as database:
        rows = database.execute("SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs")
        return {location for (location,) in rows}


@pytest.mark.parametrize(
    "name", [PRINTABLE, "%41", "a?q=1", "a#b", "a b", "ümläut ÿ", "a%", "mlflow.db?mode=ro", "line\nbreak"]
)
def test_a_home_may_have_any_name(name: str, tmp_path: Path) -> None:
    root = tmp_path / "homes" / name
    make_home(root)
    attach_report(Home(root=root), "uid", "report.html", b"page", {})
    assert_stored(read_stored(sqlite_url(root / "mlflow.db")), make_record())
    assert artifact(root) == "a: 1"
    assert artifact(root, "report.html") == "page"
    assert len(list((root / "mlflow_artifacts").rglob("space.yaml"))) == 1
    assert [path.name for path in (tmp_path / "homes").iterdir()] == [name]


def test_artifacts_of_a_moved_home_are_found_and_new_ones_are_in_it(tmp_path: Path) -> None:
    former = make_home(tmp_path / "before %41")
    root = former.rename(tmp_path / "after #2")
    other = open_store(root, uid="other search")
    assert other.notices == (
        f"the home was moved: MLflow now finds the artifacts of {former / 'mlflow_artifacts'} "
        f"in {root / 'mlflow_artifacts'}",
    )
    assert (artifact(root), artifact(root, uid="other search")) == ("a: 1", "a: 1")
    assert not former.exists()
    assert len(list((root / "mlflow_artifacts").rglob("space.yaml"))) == 2
    assert open_store(root).notices == ()


def test_a_copied_home_has_its_own_artifacts_and_leaves_the_original_alone(tmp_path: Path) -> None:
    original = make_home(tmp_path / "original")
    before = locations(original)
    copy = shutil.copytree(original, tmp_path / "copy")
    open_store(copy, uid="other search")
    assert (artifact(copy), artifact(copy, uid="other search")) == ("a: 1", "a: 1")
    assert not any("/original/" in location for location in locations(copy))
    assert len(list((original / "mlflow_artifacts").rglob("space.yaml"))) == 1
    assert locations(original) == before


def test_artifacts_that_were_not_copied_are_found_in_the_original(tmp_path: Path) -> None:
    original = make_home(tmp_path / "original")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(original / "mlflow.db", copy)
    open_store(copy, uid="other search")
    assert (artifact(copy), artifact(copy, uid="other search")) == ("a: 1", "a: 1")
    assert len(list((copy / "mlflow_artifacts").rglob("space.yaml"))) == 1


def test_a_home_that_is_reached_through_a_link_is_not_moved(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    link = tmp_path / "link"
    link.symlink_to(root)
    before = locations(root)
    assert open_store(link).notices == ()
    assert locations(root) == before


def test_experiments_of_others_keep_their_locations(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    client = MlflowClient(tracking_uri=sqlite_url(root / "mlflow.db"))
    theirs = [f"file://{tmp_path}/theirs", f"file://{tmp_path}/theirs/mlflow_artifacts", "s3://bucket/mlflow_artifacts"]
    for number, location in enumerate(theirs):
        client.create_run(client.create_experiment(f"theirs {number}", location))
    moved = root.rename(tmp_path / "moved")
    open_store(moved)
    assert set(theirs) < locations(moved)
