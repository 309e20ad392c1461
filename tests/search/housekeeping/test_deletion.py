"""Deletion of a search: everything is freed, the looks stay, and an interrupted deletion is completed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import list_paths, write_atomically
from lkca_search.search.housekeeping.deletion import delete_search, plan_deletion
from lkca_search.search.housekeeping.files import list_files
from lkca_search.search.housekeeping.renaming import find_renamed
from lkca_search.search.state.database import Database, find_database
from lkca_search.search.state.driver_lock import read_mark
from lkca_search.search.state.lease import hold_lease
from tests.support.search.killed import kill_points
from tests.support.search.stored import contents, make_stored_search, trained

Make = Callable[[str], SearchFolder]
COMMAND = "lkca-search delete made --yes"


def delete(home: Home, name: str = "made") -> None:
    delete_search(plan_deletion(name, home), home, command=COMMAND, notify=print)


def has_schema(database: Database) -> bool:
    if database.file is not None:
        return False
    engine = database.engine()
    try:
        return database.schema_name in inspect(engine).get_schema_names()
    finally:
        engine.dispose()


def test_a_deleted_search_leaves_nothing_but_its_looks_and_its_name_is_free(make: Make, home: Home) -> None:
    folder, other = make("made"), make("other")
    before, looks = trained(other), contents(home.root / "test_looks")
    assert len(looks) == 2
    plan = plan_deletion("made", home)
    on_disk = sum(file.num_bytes for each in (folder.root, folder.storage) if each for file in list_files(each))
    assert plan.num_bytes == on_disk + (plan.ledger.num_bytes if plan.ledger else 0)
    assert (plan.num_looks, plan.driver, plan.is_resumed) == (1, None, False)
    assert trained(folder), "a plan changes nothing"
    database = find_database(folder)
    assert has_schema(database) == (database.file is None)
    delete(home)
    assert not has_schema(database)
    assert not folder.root.exists()
    assert not (folder.storage and folder.storage.exists())
    assert home.search_names() == ["other"]
    assert trained(other) == before
    assert contents(home.root / "test_looks") == looks
    again = make("made")
    assert trained(again)
    assert len(list_paths(home.root, "test_looks/*/*.json")) == 3


def test_a_running_search_is_not_deleted_and_the_error_has_the_command_that_stops_it(make: Make, home: Home) -> None:
    folder = make("made")
    before = trained(folder)
    with hold_lease(folder):
        plan = plan_deletion("made", home)
        assert f"process {os.getpid()}" in str(plan.driver)
        with pytest.raises(SearchError, match="stop it: lkca-search stop made"):
            delete_search(plan, home, command=COMMAND, notify=print)
    assert trained(folder) == before


def test_a_deletion_that_is_killed_at_any_step_is_completed_by_the_same_command(tmp_path: Path) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made", f"storage={tmp_path / 'storage'}")
    before, num_gated = trained(folder), 0
    for point in kill_points(tmp_path, lambda: delete(home)):
        assert len(contents(home.root / "test_looks")) == 1
        if folder.root.exists():
            if read_mark(folder) is None and not folder.spec.exists():
                assert contents(folder.root) == {}, "an empty folder is left"
            elif read_mark(folder) is None:
                with hold_lease(home.search("made")):
                    assert trained(folder) == before, point
            else:
                with pytest.raises(SearchError, match=f"`{COMMAND}` was interrupted; repeat that command"):
                    hold_lease(folder).__enter__()
                num_gated += 1
            delete(home)
        assert not folder.root.exists(), point
        assert not (tmp_path / "storage" / "made").exists(), point
    assert num_gated > 10


def test_a_search_whose_spec_is_lost_is_deleted(make: Make, home: Home) -> None:
    folder = make("made")
    for spec in folder.specs[:1]:
        spec.unlink()
    (folder.root / "ledger.db").unlink(missing_ok=True)
    delete(home)
    assert not folder.root.exists()


def test_an_edited_spec_does_not_lead_a_command_to_a_folder_of_others(tmp_path: Path) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made")
    (tmp_path / "documents" / "made").mkdir(parents=True)
    precious = tmp_path / "documents" / "made" / "thesis.tex"
    precious.write_text("x")
    edited = {**json.loads(folder.spec.read_bytes()), "storage": str(tmp_path / "documents")}
    write_atomically(folder.spec, json.dumps(edited).encode())
    for command in (lambda: plan_deletion("made", home), lambda: find_renamed("made", "other", home)):
        with pytest.raises(SearchError, match=r"must have its own files only, got .*thesis\.tex; correct `storage`"):
            command()
    assert precious.read_text() == "x"


def test_a_link_in_a_search_is_removed_and_its_target_stays(tmp_path: Path) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made")
    target = tmp_path / "elsewhere"
    (target / "inside").mkdir(parents=True)
    assert isinstance(folder.root, Path)
    (folder.root / "link").symlink_to(target)
    moved = tmp_path / "moved"
    folder.root.rename(moved)
    folder.root.symlink_to(moved)
    delete(home)
    assert (target / "inside").is_dir()
    assert not folder.root.is_symlink()
    assert not moved.exists()
