"""Starting or continuing a search under a name: what may differ from the last time, and what may not."""

from collections.abc import Mapping
from typing import Any

from lkca_search.errors import SearchError
from lkca_search.space_file import SpaceFile
from lkca_search.spec import SearchSpec
from lkca_search.storage import SearchFolder, write_atomically

_FREE = ("search.max_retries", "search.checkpoint_seconds", "limits.hours", "limits.max_failures", "limits.plateau")


def commit_space_file(folder: SearchFolder, space_file: SpaceFile) -> None:
    """Write a space file into a search's folder; SearchError, with the differences, if it does not continue the search.

    A continuation may add trials to each cell and levels to a factor; everything else stays.
    """
    if folder.spec.exists():
        old = read_spec(folder)
        differences = _differences(old.model_dump(by_alias=True), space_file.spec.model_dump(by_alias=True))
        if differences:
            listing = "\n".join(f"  {name}: {was!r} -> {now!r}" for name, was, now in differences)
            raise SearchError(
                f"search {folder.name!r} was started with another space file; continue it as it was, "
                f"or give the new one another --name:\n{listing}"
            )
    write_atomically(folder.space_file, space_file.text.encode())
    write_atomically(folder.spec, space_file.spec.model_dump_json(by_alias=True, indent=1).encode())


def read_spec(folder: SearchFolder) -> SearchSpec:
    """The spec of a search that was started."""
    return SearchSpec.model_validate_json(folder.spec.read_bytes())


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    was, now = dict(_flatten(old)), dict(_flatten(new))
    return [
        (name, was.get(name), now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name) and not _extends(name, was.get(name), now.get(name))
    ]


def _extends(name: str, was: Any, now: Any) -> bool:
    if name in _FREE:
        return True
    if name == "search.trials_per_cell":
        return bool(now > was)
    return name.startswith("factors.") and bool(was) and bool(now) and set(was) <= set(now)


def _flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, inner in value.items():
        is_section = isinstance(inner, Mapping)
        flat += _flatten(inner, f"{prefix}{name}.") if is_section else [(f"{prefix}{name}", inner)]
    return flat
