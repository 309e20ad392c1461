"""Differences between the submitter's versions and the cluster's, and the error that lists them."""

import json

import pytest

from lkca_search.errors import SearchError
from lkca_search.search.jobs.versions import (
    MISSING,
    PACKAGES,
    SUBMITTED_WITH,
    check_versions,
    find_differences,
    installed_versions,
)

INSTALLED = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.14.1+cu128", "numpy": "2.4.1"}


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
def test_ray_must_have_an_equal_version_and_other_packages_an_equal_minor_release(
    package: str, submitted: str, differs: bool
) -> None:
    differences = find_differences({**INSTALLED, package: submitted}, INSTALLED)
    assert differences == ([(package, submitted, INSTALLED[package])] if differs else [])


def test_a_package_that_one_side_lacks_is_a_difference() -> None:
    assert find_differences({"mlflow": "3.17.2"}, INSTALLED) == [("mlflow", "3.17.2", MISSING)]


def test_this_environment_has_every_compared_package_and_no_difference_from_itself() -> None:
    installed = installed_versions()
    assert installed.keys() == {"python", *PACKAGES}
    assert MISSING not in installed.values()
    check_versions({SUBMITTED_WITH: json.dumps(installed)})
    check_versions({})


def test_the_error_is_a_table_of_the_differences_alone() -> None:
    installed = installed_versions()
    with pytest.raises(SearchError) as caught:
        check_versions({SUBMITTED_WITH: json.dumps({**installed, "ray": "2.9.3", "python": "3.99.0"})})
    rule, header, *rows = str(caught.value).splitlines()
    assert rule.endswith("nothing was started:")
    assert header.split() == ["submitted", "with", "the", "cluster", "has"]
    assert [row.split() for row in rows] == [
        ["python", "3.99.0", installed["python"]],
        ["ray", "2.9.3", installed["ray"]],
    ]
