"""What a search was submitted with, and what the cluster has: compared before anything is touched.

Only the standard library is imported here: the cluster may lack anything else.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from lkca_search.errors import SearchError

SUBMITTED_WITH = "LKCA_SUBMITTED_WITH"
"""The variable by which the submitter's versions travel, as JSON."""
MISSING = "not installed"
PACKAGES = ("ray", "torch", "torchvision", "optuna", "mlflow", "pyarrow", "numpy")
"""What is compared besides Python: what trains, what stores, and what talks to the cluster."""

_SIGNIFICANT = {"ray": None}
"""How many numbers of a version must be the same: all of Ray's; of the others two, which is the minor release."""


class Difference(NamedTuple):
    """A version that differs by too much."""

    package: str
    submitted: str
    here: str


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of PACKAGES in this environment."""
    return {"python": platform.python_version(), **{package: _installed(package) for package in PACKAGES}}


def differences(submitted: Mapping[str, str], here: Mapping[str, str]) -> list[Difference]:
    """Return what differs by too much; a package that one side lacks does, too."""
    pairs = [Difference(package, text, here.get(package, MISSING)) for package, text in submitted.items()]
    return [
        pair for pair in pairs if _significant(pair.package, pair.submitted) != _significant(pair.package, pair.here)
    ]


def check_versions(environment: Mapping[str, str]) -> None:
    """Compare with what the search was submitted with, if it was; SearchError, with a table, where versions differ."""
    if SUBMITTED_WITH not in environment:
        return
    found = differences(json.loads(environment[SUBMITTED_WITH]), installed_versions())
    if found:
        rows = [("", "submitted with", "the cluster has"), *found]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        rule = "Ray must be the same on both sides, and all else up to the minor release"
        raise SearchError("\n".join([f"{rule}; nothing was started:", *table]))


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def _significant(package: str, text: str) -> tuple[str, ...]:
    return tuple(text.split("+")[0].split(".")[: _SIGNIFICANT.get(package, 2)])
