"""Versions of two sides: which differences matter, and how they are told."""

import json

import pytest

from lkca_search.errors import SearchError
from lkca_search.search.jobs.versions import (
    MISSING,
    PACKAGES,
    SUBMITTED_WITH,
    check_versions,
    differences,
    installed_versions,
)

HERE = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.14.1+cu128", "numpy": "2.4.1"}


@pytest.mark.parametrize(
    ("package", "submitted", "differs"),
    [
        ("python", "3.11.9", False),
        ("python", "3.12.7", True),
        ("ray", "2.60.0", False),
        ("ray", "2.60.1", True),
        ("torch", "2.14.0+cpu", False),
        ("torch", "2.13.1+cu128", True),
        ("numpy", "2.4", False),
        ("numpy", "1.4.1", True),
        ("numpy", MISSING, True),
    ],
)
def test_ray_must_be_equal_and_the_rest_up_to_the_minor_release(package: str, submitted: str, differs: bool) -> None:
    found = differences({**HERE, package: submitted}, HERE)
    assert found == ([(package, submitted, HERE[package])] if differs else [])


def test_what_one_side_lacks_differs() -> None:
    assert differences({"mlflow": "3.17.2"}, HERE) == [("mlflow", "3.17.2", MISSING)]


def test_this_environment_agrees_with_itself_and_has_all_that_is_compared() -> None:
    here = installed_versions()
    assert here.keys() == {"python", *PACKAGES}
    assert MISSING not in here.values()
    check_versions({SUBMITTED_WITH: json.dumps(here)})
    check_versions({})


def test_a_difference_is_told_in_a_table_of_what_differs_alone() -> None:
    here = installed_versions()
    with pytest.raises(SearchError) as caught:
        check_versions({SUBMITTED_WITH: json.dumps({**here, "ray": "2.9.3", "python": "3.99.0"})})
    rule, header, *rows = str(caught.value).splitlines()
    assert rule.endswith("nothing was started:")
    assert header.split() == ["submitted", "with", "the", "cluster", "has"]
    assert [row.split() for row in rows] == [["python", "3.99.0", here["python"]], ["ray", "2.9.3", here["ray"]]]
