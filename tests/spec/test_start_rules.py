"""Rules of known starts in a space file: each error names the rule, the value and its place."""

from pathlib import Path

import pytest

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.search.state.resume import commit_space_file
from lkca_search.search.studies.space_check import find_space_problems
from tests.support.search.toy import DIGITS
from tests.support.space_files import Space

ERRORS: list[tuple[str, tuple[str | int, ...], str]] = [
    ("[{depht: 2}]", (0, "depht"), "a start must have names of parameters and factors, got 'depht'"),
    ("[{learning_rate: 1.0}]", (0, "learning_rate"), "learning_rate of a start must be a number from 0.0001 to 0.01"),
    ("[{learning_rate: true}]", (0, "learning_rate"), "learning_rate of a start must be a number from"),
    ("[{}, {kernel_size: 4}]", (1, "kernel_size"), "kernel_size of a start must be one of [3, 5, 7], got 4"),
    ("[{patch_size: 2}]", (0, "patch_size"), "patch_size of a start must be left out, since its value is fixed at 2"),
    ("[{family: mlp, kernel_size: 3}]", (0, "family"), "family of a start must be one of the levels ['lkca', "),
    ("[{family: vit, kernel_size: 3}]", (0,), "got no cell that has all of family, kernel_size; give a parameter"),
    ("[{family: vit}]", (0,), "got no cell that has all of family; give a parameter"),
    ("[{learning_rate: 1.0e-3}, {learning_rate: 1.0e-3}]", (1,), "starts of a cell must differ, got 1 equal to 0"),
    (
        "[{learning_rate: 1.0e-3}, {learning_rate: 2.0e-3}, {learning_rate: 3.0e-3}, {learning_rate: 4.0e-3}]",
        (),
        "a cell must have at most trials_per_cell (3) starts, got 4 in family=lkca,data_fraction=0.1",
    ),
]


@pytest.mark.parametrize(("starts", "location", "rule"), ERRORS, ids=lambda value: str(value)[:40])
def test_a_wrong_start_is_an_error_with_its_rule_and_place(
    space: Space, starts: str, location: tuple[str | int, ...], rule: str
) -> None:
    file = space(
        f"search.start={starts}",
        "search.trials_per_cell=3",
    )
    problem, *_ = find_space_problems(file.spec, DIGITS, 10)
    assert problem.location == ("search", "start", *location)
    assert rule in problem.rule


def test_a_resumed_search_may_not_change_its_starts(space: Space, tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "mine")
    commit_space_file(folder, space("search.start=[{learning_rate: 1.0e-3}]"))
    commit_space_file(folder, space("search.start=[{learning_rate: 0.001}]"))
    with pytest.raises(SearchError, match=r"search\.start"):
        commit_space_file(folder, space())
