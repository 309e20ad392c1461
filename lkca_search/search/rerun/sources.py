"""Sources of a rerun: a trial of a search in the home, a run or model of an MLflow store, or a file."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lkca_search.errors import SearchError, UserError
from lkca_search.layout import Home, SearchFolder, check_name
from lkca_search.paths import describe_kind
from lkca_search.records.provenance import import_search_code, provenance_folder
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.rerun import Repeated, RerunRecord
from lkca_search.records.search.uid import read_uid
from lkca_search.records.stored_spec import read_spec
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.retraining import RecordedTraining
from lkca_search.search.rerun.tolerance import ReplicateValue
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.search.state.best_trials import find_record
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import NAMES, SECTIONS
from lkca_search.spec.metrics import name_of
from lkca_search.tracking.reruns.recorded_runs import MAX_RECORD_BYTES, is_mlflow_source, read_recorded_run
from lkca_search.trial_listing import RECORD

SUFFIXES = (".yaml", ".yml", ".json")
"""Endings of files that a rerun reads."""
_TRIAL = re.compile(r"(?P<trial>(?P<cell>.+?)/\d+(?:/draw=\d+,seed=\d+)?)")
_MAX_ID = 1_000


def read_source(source: str, trial_id: str | None, home: Home, *, trusts_code: bool = False) -> RecordedTraining:
    """Return the recorded training of a source.

    Args:
        source: Name of a search, `NAME/CELL/NUMBER[/draw=D,seed=S]`, id or URI of an MLflow run, URI of a registered
            model, or a file: a trial file, a record, a configuration.
        trial_id: Trial or replicate of a search; None for the champion, or before a confirmation the best trial.
        home: Home of the searches.
        trusts_code: True to run own code that a record in MLflow names.

    Raises:
        UserError: There is no such source, it has no intact record, or its code is not trusted.
    """
    path = Path(source)
    if path.suffix in SUFFIXES or path.is_file() or (path / RECORD).is_file():
        if trial_id is not None:
            raise UserError(f"--trial selects a trial of a search, but {source} is a trial file; omit one of them")
        return _read_file(path / RECORD if path.is_dir() else path, home)
    if is_mlflow_source(source):
        return _read_mlflow(home, source, trial_id, trusts_code=trusts_code)
    name, slash, rest = source.partition("/")
    if slash and trial_id is not None:
        raise UserError(f"a trial must be given once, got {rest} and --trial {trial_id}")
    trial_id = trial_id or rest or None
    if not home.search(name).spec.exists() and os.environ.get("MLFLOW_TRACKING_URI"):
        return _read_mlflow(home, name, trial_id, trusts_code=trusts_code)
    return _read_search(_started(home, name), trial_id)


def take_trial(overrides: list[str], source: str, home: Home) -> tuple[str | None, list[str]]:
    """Return the id of a trial that stands before the overrides, and the overrides.

    An id is CELL/NUMBER or CELL/NUMBER/draw=D,seed=S, where the search has a trial of this id, or cells of such a form,
    or is not in the home.
    """
    if not overrides or "/" in source or Path(source).suffix:
        return None, overrides
    if overrides[0].isdecimal():  # the number of a trial without its cell, which the error names
        return overrides[0], overrides[1:]
    if not (match := _TRIAL.fullmatch(overrides[0])):
        return None, overrides
    folder = home.search(source)
    is_known = not folder.spec.exists() or folder.trial(match["trial"]).root.exists()
    is_override = not is_known and "=" in overrides[0] and not _has_form_of_cell(folder, match["cell"])
    return (None, overrides) if is_override else (match["trial"], overrides[1:])


def _has_form_of_cell(folder: SearchFolder, text: str) -> bool:
    """Return True if a text is a cell of a search, or has factors of one, perhaps with other levels.

    `dataset=folder:/data/2` is an override, although it ends with a number.
    """
    pairs = text.split(",")
    if len(pairs) < 2 and "/" in text:
        return False
    names = {*_names(pairs)}
    return any(names <= {*_names(cell.key.split(","))} for cell in cells(read_spec(folder)))


def _names(pairs: Sequence[str]) -> list[str]:
    return [pair.partition("=")[0] for pair in pairs]


def _started(home: Home, name: str) -> SearchFolder:
    try:
        return home.started_search(name)
    except SearchError as error:
        raise SearchError(f"{error}; for a search in MLflow, give --tracking-uri URL") from error


def _read_search(folder: SearchFolder, trial_id: str | None) -> RecordedTraining:
    import_search_code(folder)
    record = find_record(folder, trial_id)
    repeats = Repeated(search=folder.name, trial_id=record.trial_id, uid=read_uid(folder))
    return RecordedTraining(
        file=TrialFile.from_record(record),
        repeats=repeats,
        replicates=_replicates_in(folder, record),
        packages=_packages_in(folder, record),
    )


def _replicates_in(folder: SearchFolder, record: Record) -> tuple[ReplicateValue, ...]:
    of_trial = record.replicate.of if record.replicate else record.trial_id
    metric = name_of(record.spec.metrics[0])
    return tuple(
        ReplicateValue(draw=each.replicate.draw, seed=each.replicate.seed, value=each.curve[-1].value(metric))
        for each in RecordReader(folder).replicates()
        if each.replicate and each.replicate.of == of_trial and each.state is State.COMPLETE and each.curve
    )


def _packages_in(folder: SearchFolder, record: Record) -> Mapping[str, str] | None:
    packages_hash = record.facts.provenance.packages_hash if record.facts else None
    if packages_hash is None:
        return None
    try:
        found = json.loads((provenance_folder(folder) / f"{packages_hash}.json").read_bytes())
    except (OSError, ValueError):  # only information
        return None
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else None


def _read_mlflow(home: Home, source: str, trial_id: str | None, *, trusts_code: bool) -> RecordedTraining:
    found = read_recorded_run(home, source, trial_id)
    file = TrialFile.from_record(found.record)
    _check_names(file, f"run {found.run_id}")
    if (own := file.trial.own_code()) and not trusts_code:
        raise UserError(
            f"run {found.run_id} names code of its own, {', '.join(own)}: a rerun imports it from your Python path and "
            "runs it. If you trust the store and this code, repeat the command with --trust-own-code"
        )
    repeats = Repeated(
        search=found.record.search, trial_id=found.record.trial_id, uid=found.uid, mlflow_run=found.run_id
    )
    return RecordedTraining(
        file=file,
        repeats=repeats,
        replicates=tuple(ReplicateValue(draw=each.draw, seed=each.seed, value=each.value) for each in found.replicates),
        packages=found.packages,
    )


def _read_file(path: Path, home: Home) -> RecordedTraining:
    """Read a file by its content: a trial file, a record of a trial or rerun, a training, or a configuration."""
    if path.suffix != ".json":
        file = TrialFile.read(path)
        return _of_file(file, home, path)
    plain = _read_json(path)
    if not isinstance(plain, dict):
        raise UserError(f"{path} must be a record, a trial file or a configuration, got {_kind(plain)}")
    if "trial" in plain:
        return _of_file(TrialFile.parse(plain, path), home, path)
    if "outcome" in plain:
        return _of_file(TrialFile.from_rerun(_validate(plain, RerunRecord, path)), home, path)
    if "curve" in plain:
        record = _validate(plain, Record, path)
        return _of_file(TrialFile.from_record(record), home, path)
    if "configuration" not in plain:
        plain = _complete(plain)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")[:100] or "file"
    return _of_file(TrialFile.from_spec(_validate(plain, TrialSpec, path), name), home, path)


def _check_names(file: TrialFile, place: str) -> None:
    """Raise UserError if a name from elsewhere, which becomes part of a path, is no name of a search or trial."""
    parts = file.trial_id.split("/")
    try:
        check_name(file.search)
    except SearchError as error:
        raise UserError(f"{place}: {error}") from error
    if len(file.trial_id) > _MAX_ID or not file.trial_id.isprintable() or {"", ".", ".."}.intersection(parts):
        rule = f"trial_id must be CELL/NUMBER, at most {_MAX_ID:,} characters"
        raise UserError(f"{place}: {rule}, got {file.trial_id[:_MAX_ID]!r}")


def _of_file(file: TrialFile, home: Home, path: Path) -> RecordedTraining:
    """Return the training of a file, with the replicates of its trial if its search is in the home."""
    _check_names(file, str(path))
    repeats = Repeated(search=file.search, trial_id=file.trial_id)
    folder = home.search(file.search)
    record = RecordReader(folder).find(file.trial_id) if folder.spec.exists() else None
    if record is None or file.facts is None or record.facts != file.facts:
        return RecordedTraining(file=file, repeats=repeats)
    import_search_code(folder)
    return RecordedTraining(
        file=file,
        repeats=repeats.model_copy(update={"uid": read_uid(folder)}),
        replicates=_replicates_in(folder, record),
        packages=_packages_in(folder, record),
    )


def _complete(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a training with the values of a configuration, and the defaults of a space file."""
    values = {name: value for name, value in plain.items() if value is not None}
    training: dict[str, Any] = {"seed": values.pop("seed", 0), "split_seed": values.pop("split_seed", 0)}
    sections: dict[str, dict[str, Any]] = {"data": {}, "training": {}, "resources": {}}
    if "dataset" in values:
        sections["data"]["dataset"] = values["dataset"]
    for name in [name for name in values if name in SECTIONS]:
        sections[SECTIONS[name]][name] = values[name]
    return {**sections, **training, "configuration": values}


def _read_json(path: Path) -> Any:
    try:
        status = path.stat()
        if (kind := describe_kind(status.st_mode)) is not None:
            raise UserError(f"a file must be a regular file, got {kind} ({path})")
        if status.st_size > MAX_RECORD_BYTES:
            raise UserError(f"a file must have at most {MAX_RECORD_BYTES:,} bytes, got {status.st_size:,} ({path})")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} must be JSON: {error}") from error


def _validate(plain: Any, model: type[Any], path: Path) -> Any:
    try:
        return model.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "file"
        names = ", ".join(name for name in plain if name not in (*NAMES, *TrialSpec.model_fields, *model.model_fields))
        hint = f" (unknown names: {names})" if names and "extra" in first["type"] else ""
        raise UserError(f"{path} is no {model.__name__}: {key}: {first['msg'].lower()}{hint}") from error


def _kind(plain: Any) -> str:
    return "a list: give one trial, as `best NAME --yaml` prints it" if isinstance(plain, list) else "another value"
