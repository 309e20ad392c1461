"""Space file with its overrides, read and checked before anything is opened."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import yaml

from lkca_search.errors import MissingFolderError, SearchError, UserError
from lkca_search.layout import Home, check_name, local_data_dir
from lkca_search.own_code import import_from
from lkca_search.spec.space_file import SpaceFile, read_space_file
from lkca_search.user import expand_user

Overrides = Sequence[str] | Mapping[str, object]
"""Changes of a space file: texts such as `search.trials_per_cell=4` and `~confirm`, or values by key."""


def read_space(space: str | Path, overrides: Overrides, home: Home) -> SpaceFile:
    """Read a space file; SpaceFileError also if a dataset is unknown. Neither torch nor an image is read.

    Own code is found in the working directory and beside the space file.
    """
    path = expand_user(str(space))
    import_from(Path.cwd(), path.parent)
    return read_space_file(path, list_overrides(overrides), dataset_rule=partial(_dataset_rule, home=home))


def list_overrides(overrides: Overrides) -> list[str]:
    """Return overrides as texts. A value of a mapping is written as YAML; UserError if YAML has no such value."""
    if isinstance(overrides, str):
        raise UserError(f"overrides must be a list or a mapping, got {overrides!r}; write [{overrides!r}]")
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={_to_yaml(key, value)}" for key, value in overrides.items()]


def limits(hours: float | None, max_failures: int | None) -> list[str]:
    """Return the limits of a run as overrides of the space file."""
    named = {"limits.hours": hours, "limits.max_failures": max_failures}
    return [f"{name}={value}" for name, value in named.items() if value is not None]


def choose_name(space: str | Path, name: str | None) -> str:
    """Return the name of a search: the given one, else that of its space file; SearchError if it is not valid."""
    if name is not None:
        check_name(name)
        return name
    stem = Path(space).stem
    try:
        check_name(stem)
    except SearchError as error:
        close = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:100] or "NAME"
        raise SearchError(f"{error}, which is that of the file; give another one by --name {close}") from error
    return stem


def check_at_least(minimum: int, **numbers: int | None) -> None:
    """Raise UserError if a number, given by its name, is below the minimum. None is no number."""
    for name, number in numbers.items():
        if number is not None and number < minimum:
            raise UserError(f"{name} must be at least {minimum}, got {number}")


def _to_yaml(key: str, value: object) -> str:
    try:
        text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    except yaml.YAMLError as error:
        rule = "an override must be a value of YAML: a number, text, list, mapping, True, False or None"
        raise UserError(f"{rule}, got {value!r} for {key}") from error
    return text.removesuffix("\n").removesuffix("\n...")


def _dataset_rule(place: str, home: Home) -> str | None:
    """Return the reason why no dataset has this name or path, or None."""
    from lkca_search.data.sources import find_source

    try:
        find_source(place, data_dir=local_data_dir(), cache=home.datasets)
    except MissingFolderError as error:
        return str(error.with_step("add data.dataset="))
    except UserError as error:
        return str(error)
    return None
