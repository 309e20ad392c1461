"""Home and folders of searches."""

from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import Home, TrialFolder
from lkca_search.paths import write_atomically
from tests.support.records import CELL, make_search


@pytest.mark.parametrize("name", ["a", "2024", "scarcity_cifar10", "a.b-c_D", "x" * 100])
def test_the_folder_of_a_search_has_its_name(name: str, tmp_path: Path) -> None:
    folder = Home(root=tmp_path).search(name)
    assert folder.root == tmp_path / "searches" / name
    assert folder.name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/b", "/a", "a\\b", ".hidden", "-option", "a b", "a\n", "ä", "a\0", "x" * 101, "~", "a:b"],
)
def test_a_name_that_is_not_a_valid_folder_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="the name of a search must start with a letter or digit") as caught:
        Home(root=tmp_path).search(name)
    assert repr(name) in str(caught.value)


def test_the_home_is_set_by_the_environment_and_by_default_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value, root in (("there", tmp_path / "there"), ("", tmp_path / "lkca_runs")):
        monkeypatch.setenv("LKCA_SEARCH_HOME", value)
        assert Home.from_environment().root == root
    monkeypatch.delenv("LKCA_SEARCH_HOME")
    assert Home.from_environment().root == tmp_path / "lkca_runs"


def test_an_unknown_search_is_an_error_with_the_existing_names() -> None:
    home = Home.from_environment()
    with pytest.raises(SearchError, match=r"there is no search 'c' in .*; searches there: none"):
        home.started_search("c")
    make_search("b")
    make_search("a")
    home.search("c").root.mkdir()
    assert [folder.name for folder in home.searches()] == ["a", "b"]
    assert home.started_search("a").name == "a"
    with pytest.raises(SearchError, match=r"there is no search 'c' in .*; searches there: a, b"):
        home.started_search("c")


def test_the_record_of_a_trial_is_that_of_the_last_finished_attempt(tmp_path: Path) -> None:
    folder = TrialFolder(root=tmp_path / CELL / "3")
    assert folder.record is None
    assert folder.attempts() == []
    attempts = [folder.attempt(driver=driver, attempt=attempt) for driver, attempt in ((1, 1), (1, 2), (2, 3), (10, 4))]
    for attempt in reversed(attempts):
        attempt.mkdir(parents=True)
    assert folder.attempts() == attempts
    assert folder.record is None
    for attempt in (attempts[1], attempts[3]):
        write_atomically(attempt / "record.json", b"{}")
        assert folder.record == attempt / "record.json"
