"""Differences between a recorded training and its rerun: edits of the spec, and changes of data, code and machine."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lkca_search.environment.packages import COMPUTING, installed_packages
from lkca_search.errors import UserError
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import TrialMetadata
from lkca_search.records.rerun import Change, Severity
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.spec.base import find_differences
from lkca_search.spec.configuration import SUBSET_NAMES

DATA, SUBSET, MODEL, OWN_CODE = "data", "subset", "model", "own-code"
AREAS: Mapping[str, tuple[str, ...]] = {
    DATA: ("data_hash",),
    SUBSET: ("num_train_images", "num_validation_images", "subset_hash", "validation_hash"),
    MODEL: ("planned_steps", "num_parameters"),
    OWN_CODE: ("own_code",),
}
"""Names by which a fatal difference can be allowed, and the properties that a repeat must share."""
_FATAL = {name: area for area, names in AREAS.items() for name in names}
_PLACE = ("data.dataset", "data.sources", "configuration.dataset", "data.max_pixels")
"""Names of the place of the images: a dataset may move."""
_HARMLESS = frozenset(
    {"node", "memory_bytes", "python_version", "ray_version", "optuna_version", "packages_hash"}
    | {"model", "expected_overlap", "num_classes"}
)
_IGNORED = frozenset(
    # The description follows from the configuration and the code, which are compared themselves. The backends are those
    # of the record, except for layers whose shape was edited. The others are results, or differ in every process.
    {"provenance", "description", "backends", "weights_hash", "damaged_checkpoints", "nondeterministic"}
    | {"packages", "command_line", "git_problem"}
)
_MEANINGS = {"data_hash": ": the training images have changed"}


class RerunRefused(UserError):
    """Rerun that would train something else than the record states."""

    def __init__(self, changes: Collection[Change]) -> None:
        """Name every fatal change, and the option that allows it."""
        lines = [f"{change}{_MEANINGS.get(change.name, '')}" for change in changes]
        options = " ".join(dict.fromkeys(f"--allow {change.area}" for change in changes))
        super().__init__(
            f"a rerun must train what was recorded, got another: {'; '.join(lines)}; restore it, or train it without a "
            f"comparison: {options}"
        )
        self.changes = tuple(changes)


def find_edits(file: TrialFile, current: TrialMetadata) -> list[str]:
    """Return the differences of the spec of a trial file from the recorded one, except resources and moved images."""
    if file.recorded_trial is None:
        return []
    is_same_data = file.facts is not None and file.facts.data_hash == current.data_hash
    return [
        f"{name} was {old}, is {new}"
        for name, old, new in find_differences(file.recorded_trial, file.trial)
        if not name.startswith("resources.") and not (is_same_data and name.startswith(_PLACE))
    ]


def find_changes(file: TrialFile, current: TrialMetadata, *, packages: Mapping[str, str] | None = None) -> list[Change]:
    """Return the differences of data, code and machine, the strongest first.

    `packages` has the recorded versions of all packages; None if only their hash is known.
    """
    if file.facts is None:
        return []
    old, new = file.facts.provenance, current.provenance
    changes = [*_compare(file.facts, current), *_compare(old, new), *_compare_packages(old, new)]
    if packages is not None and old.packages_hash != new.packages_hash:
        changes = [change for change in changes if change.name != "packages_hash"]
        changes += _compare_others(packages)
    return sorted(changes, key=lambda change: list(Severity).index(change.severity))


def split_changes(
    file: TrialFile, changes: Collection[Change], *, allowed: Collection[str] = ()
) -> tuple[list[str], list[Change]]:
    """Return the fatal changes as edits, if the spec was edited so or they are allowed, and the other changes.

    Raises:
        RerunRefused: A fatal change is neither explained by an edit nor allowed.
    """
    explained = _explained_areas(file)
    fatal = [change for change in changes if change.severity is Severity.FATAL]
    refused = [change for change in fatal if change.area not in explained and change.area not in allowed]
    if refused:
        raise RerunRefused(refused)
    edits = [f"{change}{_MEANINGS.get(change.name, '')}" for change in fatal]
    return edits, [change for change in changes if change not in fatal]


def _explained_areas(file: TrialFile) -> set[str]:
    """Return the areas that the edits of a trial file change by themselves."""
    if file.recorded_trial is None:  # the edits of a file of an earlier version cannot be told from changes
        return set(AREAS)
    names = [name for name, _, _ in find_differences(file.recorded_trial, file.trial)]
    areas = set()
    if any(
        name.startswith(("data.dataset", "data.sources", "data.image_size", "configuration.dataset")) for name in names
    ):
        areas |= {DATA, SUBSET}
    subset = {"split_seed", *(f"configuration.{name}" for name in SUBSET_NAMES)}
    if any(name in subset or name.startswith("data.") for name in names):
        areas.add(SUBSET)
    if any(name.startswith(("configuration.", "training.", "data.")) for name in names):
        areas.add(MODEL)
    if _own_code(file.recorded_trial) != _own_code(file.trial):
        areas.add(OWN_CODE)
    return areas


def _own_code(trial: TrialSpec) -> set[str]:
    return set(trial.own_code())


def _compare(old: Provenance | TrialMetadata, new: Provenance | TrialMetadata) -> Iterator[Change]:
    for name, value in old:
        # records of earlier versions lack some fields
        if name in _IGNORED or value is None or (now := getattr(new, name)) == value:
            continue
        area = _FATAL.get(name)
        severity = Severity.FATAL if area else Severity.HARMLESS if name in _HARMLESS else Severity.NOTABLE
        yield Change(name=name, severity=severity, was=_text(value), now=_text(now), area=area)


def _compare_packages(old: Provenance, new: Provenance) -> Iterator[Change]:
    for name in COMPUTING if old.packages else ():
        was, now = old.packages.get(name), new.packages.get(name)
        if was != now:
            yield Change(name=name, severity=Severity.NOTABLE, was=was, now=now)


def _compare_others(packages: Mapping[str, str]) -> Iterator[Change]:
    """Yield the packages that compute no result and have another version, or are installed in one place only."""
    installed = installed_packages()
    for name in sorted(packages.keys() | installed.keys()):
        was, now = packages.get(name), installed.get(name)
        if was != now and name not in (*COMPUTING, "torch", "lkca-search"):
            yield Change(name=name, severity=Severity.HARMLESS, was=was, now=now)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
