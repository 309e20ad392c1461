"""Renaming of a search: everything keeps its content and its links, and an interrupted renaming is completed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import read_records
from lkca_search.records.rounds import read_rounds
from lkca_search.records.search.looks import read_looks
from lkca_search.records.search.uid import read_uid
from lkca_search.search.housekeeping.renaming import complete_renaming, rename_search
from lkca_search.search.state.driver_lock import read_mark
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.lease_status import read_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.space_file import read_space_file
from tests.support.records import SPACE
from tests.support.search.killed import kill_points
from tests.support.search.stored import TEST_HASH, contents, make_stored_search, num_studies, trained

Make = Callable[[str], SearchFolder]
COMMAND = "lkca-search rename made new"


def rename(home: Home, new_name: str = "new") -> SearchFolder:
    folder = rename_search("made", new_name, home, command=COMMAND, notify=print)
    complete_renaming(folder)
    return home.search(new_name)


def check_renamed(folder: SearchFolder, before: dict[str, bytes], *, num_drivers: int) -> None:
    """Assert that the search has the same content, and that the next driver finds everything of the earlier ones."""
    assert trained(folder) == before
    assert read_mark(folder) is None
    lines: list[str] = []
    with hold_lease(folder, notify=lines.append) as lease:
        assert lease.driver > num_drivers
    assert lines == [], "nothing was lost"
    assert num_studies(folder) == 2


def test_a_renamed_search_keeps_its_content_its_studies_its_seals_and_its_looks(make: Make, home: Home) -> None:
    folder = make("made")
    before, looks = trained(folder), contents(home.root / "test_looks")
    uid, num_drivers, seals = read_uid(folder), read_lease(folder).driver, [each.seal for each in read_rounds(folder)]
    new = rename(home)
    assert (read_uid(new), home.search_names(), folder.root.exists()) == (uid, ["new"], False)
    assert not (folder.storage and folder.storage.exists())
    check_renamed(new, before, num_drivers=num_drivers)
    assert [each.seal for each in read_rounds(new)] == seals
    assert {record.search for record in read_records(new)} == {"new"}
    assert contents(home.root / "test_looks") == looks
    (look,) = read_looks(home, TEST_HASH).looks
    assert (look.search, look.uid) == ("new", uid)
    other = make("made")
    assert read_uid(other) != uid, "the old name is free"
    assert trained(new) == before


def test_the_space_file_resumes_a_search_under_its_new_name(tmp_path: Path) -> None:
    home = Home.from_environment()
    make_stored_search("made")
    folder = rename(home)
    space = tmp_path / "made.yaml"
    space.write_text(SPACE)
    parsed = read_space_file(space, ["factors.family=[lkca]", "search.trials_per_cell=3"])
    with hold_lease(folder):
        commit_space_file(folder, parsed)


def test_a_renaming_that_is_killed_at_any_step_is_completed_by_the_same_command(tmp_path: Path) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made", f"storage={tmp_path / 'storage'}")
    before, num_drivers, num_gated = trained(folder), read_lease(folder).driver, 0
    for point in kill_points(tmp_path, lambda: rename(home)):
        names = home.search_names()
        assert names in (["made"], ["new"]), point
        present = home.search(names[0])
        if read_mark(present) is not None:
            num_gated += 1
            with pytest.raises(SearchError, match=f"`{COMMAND}` was interrupted; repeat that command"):
                hold_lease(present).__enter__()
        if names == ["made"] or read_mark(present) is not None:
            rename(home)
        check_renamed(home.search("new"), before, num_drivers=num_drivers)
    assert num_gated >= 4


@pytest.mark.parametrize(
    ("new_name", "rule"),
    [
        ("made", "the new name must differ from the old one, got 'made'"),
        ("other", "the new name must be free, got .*other, which exists; choose another name"),
        ("../x", "the name of a search must start with a letter or digit"),
        ("a" * 101, "at most 100 characters"),
    ],
)
def test_a_name_that_is_taken_or_not_valid_is_refused_and_nothing_changes(new_name: str, rule: str) -> None:
    home = Home.from_environment()
    folder = make_stored_search("made")
    make_stored_search("other")
    before = contents(home.root)
    with pytest.raises(SearchError, match=rule):
        rename(home, new_name)
    assert contents(home.root) == before
    assert read_mark(folder) is None


def test_a_running_search_is_not_renamed(make: Make, home: Home) -> None:
    folder = make("made")
    with hold_lease(folder), pytest.raises(SearchError, match="stop it: lkca-search stop made"):
        rename(home)
    assert home.search_names() == ["made"]


def test_a_search_that_is_being_deleted_or_renamed_to_another_name_is_refused_with_the_command_to_repeat() -> None:
    home = Home.from_environment()
    make_stored_search("made")
    rename_search("made", "new", home, command=COMMAND, notify=print)
    with pytest.raises(SearchError, match=f"`{COMMAND}` was interrupted; repeat it first"):
        rename_search("new", "newer", home, command="", notify=print)
