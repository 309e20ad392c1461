"""Register of looks at test images: every sealed round counts once, also after its search is deleted."""

import shutil
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import list_paths, write_atomically
from lkca_search.records.rounds import read_rounds, round_file
from lkca_search.records.search.looks import LookHistory, read_looks, register_looks
from lkca_search.reporting.content import make_report
from tests.support.records import make_search
from tests.support.search_results import law, make_search_results

TEST_HASH = "t" * 64
RESULTS = make_search_results(law())


def home() -> Home:
    return Home.from_environment()


def seal_rounds(folder: SearchFolder, numbers: Sequence[int], *, opened: float = 1000.0, **changes: str) -> None:
    """Write sealed rounds into the folder of a search, without a look in the register."""
    for number in numbers:
        update = {"number": number, "opened": opened + number, **changes}
        sealed = RESULTS.rounds[0].model_copy(update=update).sealed()
        write_atomically(folder.rounds / round_file(number), sealed.model_dump_json().encode())


def confirmed_search(name: str, numbers: Sequence[int], *, opened: float = 1000.0, **changes: str) -> SearchFolder:
    folder = make_search(name)
    seal_rounds(folder, numbers, opened=opened, **changes)
    register_looks(folder, home())
    return folder


def delete(folder: SearchFolder) -> None:
    assert isinstance(folder.root, Path)
    shutil.rmtree(folder.root)


def count_rounds(history: LookHistory) -> list[tuple[str, int, bool]]:
    """Return name, number of rounds and presence of each search."""
    return [(name, number, uid in history.present) for (name, uid), number in history.num_rounds.items()]


def last_caveat() -> str:
    """Return the sentence of a report on the use of its test images."""
    return make_report(RESULTS, history=read_looks(home(), TEST_HASH)).caveats[-1]


def test_the_rounds_of_all_searches_on_the_same_test_images_are_counted() -> None:
    confirmed_search("b", [1, 2, 3], opened=2000.0)
    confirmed_search("a", [1], opened=3000.0)
    confirmed_search("elsewhere", [1, 2], test_hash="u" * 64)
    make_search("unconfirmed")
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("b", 3, True), ("a", 1, True)]
    assert last_caveat() == (
        "These test images, at this image size, were used in 4 rounds of 2 searches in this home: b (3 rounds) and a. "
        "p-values are corrected for the rounds of one search, not for the choice of a search among several."
    )


def test_a_deleted_search_is_still_counted_also_if_its_name_is_used_again() -> None:
    delete(confirmed_search("a", [1, 2]))
    confirmed_search("a", [1], opened=5000.0)
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("a", 2, False), ("a", 1, True)]
    assert "3 rounds of 2 searches in this home: a (2 rounds, deleted) and a." in last_caveat()


def test_a_single_search_is_the_only_user() -> None:
    confirmed_search("a", [1, 2])
    assert last_caveat() == "No other search in this home has used these test images at this image size."


def test_a_round_that_was_sealed_before_the_register_is_counted_and_then_registered() -> None:
    folder = make_search("old")
    seal_rounds(folder, [1, 2])
    assert not home().test_looks(TEST_HASH).exists()
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("old", 2, True)]
    assert not home().test_looks(TEST_HASH).exists(), "reading writes nothing"
    register_looks(folder, home())
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("old", 2, True)]
    delete(folder)
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("old", 2, False)]


def test_a_look_is_written_once_and_never_changed() -> None:
    folder = confirmed_search("a", [1])
    register = home().test_looks(TEST_HASH)
    assert isinstance(register, Path)
    (before,) = (path.stat().st_ino for path in register.iterdir())
    register_looks(folder, home())
    assert [path.stat().st_ino for path in register.iterdir()] == [before]


def test_a_round_that_is_deleted_and_sealed_again_is_two_looks() -> None:
    folder = confirmed_search("a", [1])
    (folder.rounds / round_file(1)).unlink()
    seal_rounds(folder, [1], opened=9000.0)
    register_looks(folder, home())
    assert len(read_rounds(folder)) == 1
    assert count_rounds(read_looks(home(), TEST_HASH)) == [("a", 2, True)]


def test_several_drivers_may_register_at_the_same_time() -> None:
    folders = [make_search(f"search-{number}") for number in range(8)]
    for folder in folders:
        seal_rounds(folder, [1, 2])
    with ThreadPool(8) as pool:
        pool.map(lambda folder: register_looks(folder, home()), folders * 4)
    assert sorted(count_rounds(read_looks(home(), TEST_HASH))) == [(folder.name, 2, True) for folder in folders]
    assert len(list_paths(home().test_looks(TEST_HASH), "*")) == 16


@pytest.mark.parametrize("damaged", ["search", "register"])
def test_what_cannot_be_read_is_named_and_the_rest_is_counted(damaged: str) -> None:
    confirmed_search("a", [1])
    confirmed_search("b", [1])
    if damaged == "search":
        folder = make_search("c")
        write_atomically(folder.rounds / round_file(1), b"{")
        name = "c"
    else:
        path = list_paths(home().test_looks(TEST_HASH), "*")[0]
        write_atomically(path, b"{")
        name = path.name
    history = read_looks(home(), TEST_HASH)
    assert {search for search, _, _ in count_rounds(history)} == {"a", "b"}
    assert list(history.unreadable) == [name]
    assert f"{name} cannot be read, so there may be more uses." in last_caveat()
