"""Space file of a search: written at its start, and compared at each resume, which may change only some keys."""

import re
from collections.abc import Sequence

from lkca_search.data.sources import is_path
from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.own_code import code_hashes, own_folders
from lkca_search.paths import parse_path, set_aside, write_atomically
from lkca_search.records.provenance import SearchCode, read_search_code
from lkca_search.records.record import Record, read_records
from lkca_search.records.stored_spec import find_spec, scan_specs
from lkca_search.search.state.manifests import split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.base import Difference, find_differences
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.domains import Domain, holds
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile

_CHANGEABLE = (
    *("search.max_retries", "search.checkpoint_seconds", "limits.hours", "limits.max_failures", "limits.plateau"),
    "search.goal",  # follows from search.metric
    "keep",  # later trainings keep other files
    "confirm",  # a new round reads it; sealed rounds do not change
    "data.sources",  # the content of every dataset is compared by its hash
    "data.max_pixels",  # it admits files, and does not change the pixels of any
    *("resources.custom", "resources.gpu_memory", "resources.max_concurrent"),  # results do not depend on these
)
"""Keys that a resume may change."""
_PLAIN_OVERRIDE = re.compile(r"(?!.*=None$)[\w.]+=[\w.:/+-]+")
"""Override that a shell and YAML read as it is printed."""
_NOT_FLATTENED = ("search.sampler", "search.pruner", "search.metric")
"""Mappings that are compared and shown as one value."""


def commit_space_file(folder: SearchFolder, space_file: SpaceFile) -> None:
    """Write a space file into a search's folder, if it starts the search or may resume it.

    A resumed search may have more trials per cell and more cells: new levels, new families with their parameters,
    removed entries of `exclude`. Cells that exist do not change, and no cell that has started may be excluded. A folder
    of images may move; `commit_search` compares its content.

    Raises:
        SearchError: The space file differs in any other way. The message lists the differences.
    """
    check_resume(folder, space_file)
    write_atomically(folder.space_file, space_file.text.encode())
    write_spec(folder, space_file.spec)


def write_spec(folder: SearchFolder, spec: SearchSpec) -> list[str]:
    """Write every copy of the spec of a search; return a line per damaged copy, which is kept under another name."""
    lines = []
    for finding in scan_specs(folder)[1]:
        kept = set_aside(parse_path(finding.place))
        lines.append(f"{finding.place} is written again; the damaged file is kept as {kept.name}")
    for path in reversed(folder.specs):
        write_atomically(path, spec.model_dump_json(by_alias=True, indent=1).encode())
    return lines


def check_resume(folder: SearchFolder, space_file: SpaceFile) -> None:
    """Raise SearchError if a space file may not resume the search in a folder; see `commit_space_file`.

    If every copy of the spec is lost or damaged, the records show if the space file is that of the search.
    """
    existing = find_spec(folder)
    if existing is None and (conflict := find_record_conflict(read_records(folder), space_file.spec)):
        raise SearchError(
            f"the spec of search {folder.name!r} is lost, and this space file is another one: {conflict}; give the "
            "space file and the overrides of the search"
        )
    if existing is not None and (differences := _find_conflicts(existing, space_file.spec, folder)):
        listing = "\n".join(f"  {name}: {old!r} -> {new!r}" for name, old, new in differences)
        raise SearchError(
            f"search {folder.name!r} was started with another space file; undo these changes to resume it"
            f"{_restoring_overrides(differences)}, or start a new search with another --name:\n{listing}"
        )


def _restoring_overrides(differences: Sequence[Difference]) -> str:
    """Return the overrides that undo all differences, as part of a message; empty if an old value is no plain one."""
    old = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value, _ in differences]
    return f" (or repeat the command with {' '.join(old)})" if all(map(_PLAIN_OVERRIDE.fullmatch, old)) else ""


def check_own_code(folder: SearchFolder, spec: SearchSpec) -> SearchCode | None:
    """Return the own code that a spec names, as this process imports it; None if it names none.

    Raises:
        SearchError: A module differs from the one that the search was started with.
    """
    hashes = code_hashes(path for _, path in spec.own_code())
    existing = read_search_code(folder)
    known = existing.modules if existing else {}
    if changed := [name for name in hashes if name in known and known[name] != hashes[name]]:
        listing = "\n".join(f"  {name}: {known[name]} -> {hashes[name]}" for name in changed)
        raise SearchError(
            f"own code must not change between runs of one search, and that of search {folder.name!r} has; restore it, "
            f"or start a new search with another --name:\n{listing}"
        )
    modules = {**known, **hashes}
    return SearchCode(modules=modules, folders=own_folders()) if modules else None


def commit_own_code(folder: SearchFolder, spec: SearchSpec) -> None:
    """Write the hashes of the own code of a search, if it has any; SearchError as in `check_own_code`."""
    code = check_own_code(folder, spec)
    if code is not None and code != read_search_code(folder):
        for path in reversed(folder.code_files):
            write_atomically(path, code.model_dump_json(indent=1).encode())


def find_record_conflict(records: Sequence[Record], spec: SearchSpec) -> str | None:
    """Return a difference between a record and the trial that a spec would have trained; None if there is none."""
    keys = _cell_keys(spec)
    for record in records:
        trial, draw = record.spec, record.spec.configuration.draw
        number_seed = derive_seed(spec.search.seed, "trial", record.number, *filter(None, (draw,)))
        expected = {
            "cell": (record.cell, record.cell if record.cell in keys else f"one of {len(keys)} others"),
            "training": (trial.training, spec.training.of(trial.configuration)),
            "data.validation": (trial.data.validation, spec.data.validation),
            "seed": (trial.seed, number_seed),
            "seed of the split": (trial.split_seed, split_seed(spec)),
        }
        for name, (recorded, own) in expected.items():
            if recorded != own:
                return f"{name} of {record.trial_id} is {recorded!r} in its record and would be {own!r}"
    return None


def _find_conflicts(old: SearchSpec, new: SearchSpec, folder: SearchFolder) -> list[Difference]:
    """Return each key that differs and may not, with the old and the new value."""
    counts = ("trials_per_cell", "repeats")
    allowed = {f"search.{name}" for name in counts if getattr(new.search, name) > getattr(old.search, name)}
    if _cell_keys(old, with_excluded=True) <= _cell_keys(new, with_excluded=True):
        allowed.add("factors")
    removed = _cell_keys(old) - _cell_keys(new)
    if not removed or not removed & {trial_id.rpartition("/")[0] for trial_id in folder.drivers()}:
        allowed.add("exclude")
    if old.resources.uses_gpu == new.resources.uses_gpu:
        allowed.add("resources.gpu")  # the share changes only the speed; the device would change the results
    if old.data.dataset and new.data.dataset and _is_folder_moved(old.data.dataset, new.data.dataset):
        allowed.add("data.dataset")
    names = old.parameters.keys() | new.parameters.keys()
    allowed |= {f"parameters.{name}" for name in names if _is_same_in_old_cells(name, old, new)}
    return [
        difference
        for difference in find_differences(old, new, whole=_NOT_FLATTENED)
        if not any(f"{difference.name}.".startswith(f"{section}.") for section in (*_CHANGEABLE, *allowed))
    ]


def _is_folder_moved(old: str, new: str) -> bool:
    """Return True if both are folders of the user. Their content is compared by its hash, not by its path."""
    return is_path(old) and is_path(new) and old.partition(":")[0] == new.partition(":")[0]


def _cell_keys(spec: SearchSpec, *, with_excluded: bool = False) -> set[str]:
    return {cell.key for cell in cells(spec, with_excluded=with_excluded)}


def _is_same_in_old_cells(name: str, old: SearchSpec, new: SearchSpec) -> bool:
    """Return True if a parameter is unchanged in all cells of the old spec. It may differ in new cells."""
    return all(_domain_in(cell, name, old) == _domain_in(cell, name, new) for cell in cells(old))


def _domain_in(cell: Cell, name: str, spec: SearchSpec) -> Domain | None:
    """Return a parameter's domain in a cell, with its conditions on other parameters; None if it does not exist."""
    domain = spec.parameters.get(name)
    if domain is None:
        return None
    on_factors = {other: values for other, values in domain.when.items() if other in spec.factors}
    on_parameters = {other: values for other, values in domain.when.items() if other not in spec.factors}
    return domain.model_copy(update={"when": on_parameters}) if holds(on_factors, cell.levels) else None
