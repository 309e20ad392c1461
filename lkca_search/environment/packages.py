"""Versions of the installed packages."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from types import MappingProxyType

COMPUTING = ("numpy", "pillow", "timm", "torchvision", "triton")
"""Packages besides torch whose code computes images, models or steps, so that their versions may change results."""

_RAYS_COPIES = "thirdparty_files"
"""Folder of the packages that Ray ships for its own processes."""


@cache
def installed_packages() -> Mapping[str, str]:
    """Return the version of every installed package by its normalized name, sorted."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        is_private = _RAYS_COPIES in Path(str(distribution.locate_file(""))).parts  # in Ray's workers alone
        if name and not is_private:  # no name: the rest of a package that was removed by hand
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return MappingProxyType(dict(sorted(found.items())))


def computing_packages() -> dict[str, str]:
    """Return the versions of the packages in `COMPUTING` that are installed."""
    return {name: version for name, version in installed_packages().items() if name in COMPUTING}


def packages_text() -> str:
    """Return all versions as JSON: equal texts for equal versions."""
    return json.dumps(dict(installed_packages()), indent=1) + "\n"


def content_hash(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()[:16]
