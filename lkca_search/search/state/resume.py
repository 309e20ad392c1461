"""Starting or continuing a search under a name: what may differ from the last time, and what may not."""

from collections.abc import Mapping
from typing import Any

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath, write_atomically
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.domains import Domain, holds
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile

_FREE = (
    *("search.max_retries", "search.checkpoint_seconds", "limits.hours", "limits.max_failures", "limits.plateau"),
    "search.goal",  # follows from search.metric
    "confirm",  # asked of what the search has found; rounds that were sealed stay as they are
    *("resources.custom", "resources.gpu_memory", "resources.max_concurrent"),  # where and when, not what
)

_WHOLE = ("search.sampler", "search.pruner")
"""Mappings that are shown in one piece."""


def commit_space_file(folder: SearchFolder, space_file: SpaceFile) -> None:
    """Write a space file into a search's folder; SearchError, with the differences, if it does not continue the search.

    A continuation may add trials to each cell, and cells: levels, families with what applies to them alone, entries of
    `exclude` taken out. No cell that has started may be left out, and within the cells that there were nothing changes.
    """
    earlier = next((path for path in folder.specs if path.exists()), None)
    if earlier is not None:
        differences = _differences(_read(earlier), space_file.spec, folder)
        if differences:
            listing = "\n".join(f"  {name}: {was!r} -> {now!r}" for name, was, now in differences)
            raise SearchError(
                f"search {folder.name!r} was started with another space file; continue it as it was, "
                f"or give the new one another --name:\n{listing}"
            )
    write_atomically(folder.space_file, space_file.text.encode())
    for path in reversed(folder.specs):
        write_atomically(path, space_file.spec.model_dump_json(by_alias=True, indent=1).encode())


def read_spec(folder: SearchFolder) -> SearchSpec:
    """The spec of a search that was started."""
    return _read(folder.spec)


def _read(path: AnyPath) -> SearchSpec:
    return SearchSpec.model_validate_json(path.read_bytes())


def _differences(old: SearchSpec, new: SearchSpec, folder: SearchFolder) -> list[tuple[str, Any, Any]]:
    was, now = (dict(_flatten(spec.model_dump(by_alias=True))) for spec in (old, new))
    grown = {name: getattr(new.search, name) - getattr(old.search, name) for name in ("trials_per_cell", "repeats")}
    extended = {f"search.{name}" for name, more in grown.items() if more > 0}
    if _keys(old, with_excluded=True) <= _keys(new, with_excluded=True):
        extended.add("factors")
    started = {trial_id.rpartition("/")[0] for trial_id in folder.drivers()}
    if not started & (_keys(old) - _keys(new)):
        extended.add("exclude")
    if old.resources.wants_gpu == new.resources.wants_gpu:
        extended.add("resources.gpu")  # the share decides the speed alone, and the device the result
    names = old.parameters.keys() | new.parameters.keys()
    extended |= {f"parameters.{name}" for name in names if _is_same_in_each_cell(name, old, new)}
    return [
        (name, was.get(name), now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
        and not any(f"{name}.".startswith(f"{section}.") for section in (*_FREE, *extended))
    ]


def _keys(spec: SearchSpec, *, with_excluded: bool = False) -> set[str]:
    return {cell.key for cell in cells(spec, with_excluded=with_excluded)}


def _is_same_in_each_cell(name: str, old: SearchSpec, new: SearchSpec) -> bool:
    """Whether a parameter is in each cell that there was what it was; what is new may concern new cells alone."""
    return all(_domain_in(cell, name, old) == _domain_in(cell, name, new) for cell in cells(old))


def _domain_in(cell: Cell, name: str, spec: SearchSpec) -> Domain | None:
    """A parameter's domain in a cell, with what is left of its condition; None if it never exists there."""
    domain = spec.parameters.get(name)
    if domain is None:
        return None
    of_factors = {other: values for other, values in domain.when.items() if other in spec.factors}
    rest = {other: values for other, values in domain.when.items() if other not in spec.factors}
    return domain.model_copy(update={"when": rest}) if holds(of_factors, cell.levels) else None


def _flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, inner in value.items():
        is_section = isinstance(inner, Mapping) and f"{prefix}{name}" not in _WHOLE
        flat += _flatten(inner, f"{prefix}{name}.") if is_section else [(f"{prefix}{name}", inner)]
    return flat
