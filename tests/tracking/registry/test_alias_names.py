"""Aliases are accepted by MLflow, and no two cells of a search have one alias."""

import re

import pytest

from lkca_search.spec.cells import Cell
from lkca_search.tracking.registry.alias_names import name_aliases, name_champion

VALID = re.compile(r"[A-Za-z0-9_-]{1,255}")


def aliases(*levels: dict[str, str | float | bool]) -> list[str]:
    cells = [Cell(levels=each) for each in levels]
    named = name_aliases(cells)
    assert list(named) == [cell.key for cell in cells]
    found = list(named.values())
    assert all(VALID.fullmatch(alias) for alias in found)
    assert len({alias.lower() for alias in found}) == len(found)
    return found


def test_an_alias_is_made_of_the_levels_of_its_cell() -> None:
    found = aliases({"family": "lkca", "data_fraction": 0.1}, {"family": "my_lab.Net", "data_fraction": 1.0}, {})
    assert found == ["lkca-0_1", "my_lab_Net-1_0", "all"]


@pytest.mark.parametrize("level", ["latest", "LATEST", "v1", "V12", "champion", "champion-cifar10"])
def test_an_alias_that_mlflow_or_a_champion_has_is_not_taken(level: str) -> None:
    (found,) = aliases({"family": level})
    assert re.fullmatch(f"{level}-[0-9a-f]{{16}}", found)


def test_equal_aliases_of_two_cells_end_with_a_hash() -> None:
    first, second, other = aliases({"family": "a.b"}, {"family": "A_b"}, {"family": "c"})
    assert (first[:4], second[:4], other) == ("a_b-", "A_b-", "c")


def test_a_long_alias_is_shortened_to_what_mlflow_stores() -> None:
    found = aliases({"family": "x" * 400}, {"family": "x" * 401})
    assert [len(alias) for alias in found] == [255, 255]


def test_the_champion_of_one_of_several_datasets_is_named_after_it() -> None:
    assert name_champion(None) == "champion"
    assert name_champion("my birds/2") == "champion-my_birds_2"
