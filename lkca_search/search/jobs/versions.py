"""Package versions of the submitter and of the cluster, compared before the job changes anything.

Only the standard library is imported here: the cluster may lack any other package.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from lkca_search.errors import SearchError

SUBMITTED_WITH = "LKCA_SUBMITTED_WITH"
"""Environment variable of a job with the submitter's versions, as JSON."""
MISSING = "not installed"
PACKAGES = ("ray", "torch", "torchvision", "optuna", "mlflow", "pyarrow", "numpy")
"""Packages that are compared, besides Python: those for training, storage and the cluster."""
_NUM_SIGNIFICANT = {"ray": None}
"""Number of version parts that must be equal; None for all. Other packages: major and minor."""


class VersionDifference(NamedTuple):
    """Package whose versions are incompatible."""

    package: str
    submitted: str
    installed: str


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of PACKAGES in this environment."""
    return {"python": platform.python_version(), **{package: _installed_version(package) for package in PACKAGES}}


def find_differences(submitted: Mapping[str, str], installed: Mapping[str, str]) -> list[VersionDifference]:
    """Return the packages whose versions are incompatible, or that one side lacks."""
    pairs = [VersionDifference(name, text, installed.get(name, MISSING)) for name, text in submitted.items()]
    return [
        pair
        for pair in pairs
        if _significant_parts(pair.package, pair.submitted) != _significant_parts(pair.package, pair.installed)
    ]


def check_versions(environment: Mapping[str, str]) -> None:
    """Compare the installed versions with the submitter's; do nothing if `environment` contains none.

    Raises SearchError, with a table of the differences, if versions are incompatible.
    """
    if SUBMITTED_WITH not in environment:
        return
    differences = find_differences(json.loads(environment[SUBMITTED_WITH]), installed_versions())
    if differences:
        rows = [("", "submitted with", "the cluster has"), *differences]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        rule = "Ray must have the same version on both sides, and other packages the same minor release"
        raise SearchError("\n".join([f"{rule}; nothing was started:", *table]))


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING


def _significant_parts(package: str, text: str) -> tuple[str, ...]:
    return tuple(text.split("+")[0].split(".")[: _NUM_SIGNIFICANT.get(package, 2)])
