"""Repair of a search: damaged files are renamed and kept, copies restored, and studies restored from the records."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import parse_path, set_aside
from lkca_search.records.finding import Finding
from lkca_search.records.inspection.inspection_file import scan_inspections
from lkca_search.records.model_description import scan_models, set_aside_model
from lkca_search.records.predictions import scan_correct
from lkca_search.records.record import RecordReader
from lkca_search.records.rounds import next_round_number, scan_rounds
from lkca_search.records.search.dataset import scan_search_datasets, write_search_datasets
from lkca_search.records.search.looks import register_looks
from lkca_search.records.stored_spec import find_spec, scan_specs
from lkca_search.search.driver.trial_files import restore_studies
from lkca_search.search.health.checks import blocked_files, damaged_looks, scan_search
from lkca_search.search.state.damage import list_set_aside
from lkca_search.search.state.database import find_database
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.manifests import scan_manifests
from lkca_search.search.state.resume import find_record_conflict, write_spec
from lkca_search.search.studies.study import open_storage
from lkca_search.spec.base import FrozenModel
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import read_space_file


class RepairReport(FrozenModel):
    """Result of the repair of a search."""

    name: str
    actions: tuple[str, ...]
    """Everything that was changed, one line each."""
    remaining: tuple[Finding, ...]
    """Damage that needs the user."""
    kept: tuple[str, ...]
    """Paths of all damaged files that were renamed, now and before."""


def repair_search(folder: SearchFolder, home: Home, *, ledger: str | None = None) -> RepairReport:
    """Repair a search that is not running.

    Args:
        folder: Folder of the search.
        home: Home of the search, with the register of test images.
        ledger: URL of the ledger's database; by default that of the latest driver.

    Raises:
        SearchError: A driver holds the search.
    """
    actions: list[str] = []
    with hold_lease(folder, ledger, notify=actions.append):
        actions += _repair_spec(folder)
        spec = find_spec(folder)
        folder = folder.with_storage(spec.storage) if spec else folder
        reader = RecordReader(folder)
        set_aside_damaged(folder, reader, actions.append)
        replicates = reader.replicates()
        damaged = *scan_correct(folder, replicates)[1], *scan_inspections(folder, replicates)[1]
        for finding in (*damaged, *scan_manifests(folder)[1]):
            actions.append(_keep(finding.place))
        for finding in scan_models(folder):
            kept = " and ".join(path.name for path in set_aside_model(finding))
            actions.append(f"{finding.place} is damaged, and its model is kept as {kept}")
        actions += _repair_rounds(folder)
        actions += _repair_dataset(folder)
        for path, _ in list(damaged_looks(folder, home)):
            actions.append(_keep(str(path)))
        if not scan_rounds(folder)[1]:
            register_looks(folder, home)
        if spec is not None:
            _, lines = restore_studies(folder, spec, open_storage(find_database(folder)), reader)
            actions += lines
    return RepairReport(
        name=folder.name,
        actions=tuple(actions),
        remaining=tuple(scan_search(folder, home)),
        kept=tuple(map(str, list_set_aside(folder, with_trials=True))),
    )


def set_aside_damaged(folder: SearchFolder, reader: RecordReader, notify: Callable[[str], None]) -> None:
    """Rename every damaged record, so that its trial is trained again, and folders in the place of written files.

    The caller must hold the lease of the search.
    """
    _read_all(reader)
    damaged = reader.findings
    for finding in damaged:
        notify(f"{_keep(finding.place)}: {finding.damage}. The trial counts as unfinished")
    for path in blocked_files(folder):
        notify(_keep(str(path)))
    if damaged:
        _read_all(reader)


def _read_all(reader: RecordReader) -> None:
    with reader.listed_once():
        reader.trials()
        reader.replicates()


def _repair_spec(folder: SearchFolder) -> Iterator[str]:
    """Restore damaged and missing copies of the spec from an intact one, else from the space file if it matches."""
    spec, findings = scan_specs(folder)
    if spec is not None and not findings:
        return
    if spec is None:
        spec = _spec_of_space_file(folder)
    if spec is not None:
        yield from write_spec(folder.with_storage(spec.storage), spec)


def _spec_of_space_file(folder: SearchFolder) -> SearchSpec | None:
    """Return the spec of `space.yaml` if all records match it; None if it is damaged or lacks overrides."""
    if not isinstance(folder.space_file, Path):
        return None
    try:
        spec = read_space_file(folder.space_file, []).spec
    except (ValueError, OSError):
        return None
    records = RecordReader(folder.with_storage(spec.storage)).trials()
    return spec if records and find_record_conflict(records, spec) is None else None


def _repair_dataset(folder: SearchFolder) -> Iterator[str]:
    """Restore damaged copies from an intact one. Without any, the next driver compares the manifests and records."""
    datasets, findings = scan_search_datasets(folder)
    if datasets and findings:
        yield from write_search_datasets(folder, datasets)
    elif findings:
        yield from (f"{_keep(finding.place)}. The next `run` writes it again" for finding in findings)


def _repair_rounds(folder: SearchFolder) -> Iterator[str]:
    for finding in scan_rounds(folder)[1]:
        line = _keep(finding.place)
        number = next_round_number(folder)
        yield (
            f"{line}. Its seal is lost: restore the file from a backup, or the next confirmation is round {number}, at "
            "its lower level"
        )


def _keep(place: str) -> str:
    kept = set_aside(parse_path(place))
    return f"{place} is damaged and kept as {kept.name}"
