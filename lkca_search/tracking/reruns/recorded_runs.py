"""Recorded training in an MLflow store: its record, its replicates and its package versions, from a run or a model."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from lkca_search.errors import SearchError
from lkca_search.layout import Home
from lkca_search.records.record import Record, State
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.spec.metrics import name_of
from lkca_search.tracking.experiment import find_experiment, open_existing
from lkca_search.tracking.faults import describe_fault, is_unsupported
from lkca_search.tracking.registry.alias_names import CHAMPION
from lkca_search.tracking.reruns.rerun_run import RERUN_OF_RUN
from lkca_search.tracking.runs import PROVENANCE, RECORD, TRIAL_ID, find_runs

MAX_RECORD_BYTES = 64_000_000
"""Largest record that is downloaded; one with 10,000 results has 25 MB."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""Id of a run in MLflow."""
_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_RUN_URI = re.compile(r"runs:/(?P<run>[0-9a-f]{32})(?:/.*)?")
_VALUE = re.compile(r"[\w.-]{1,250}")
"""Text that can stand in a condition of MLflow."""


@dataclass(frozen=True, kw_only=True)
class RunValue:
    """Result of a replicate in its run."""

    draw: int
    seed: int
    value: float
    """Last value of the leading metric on validation images."""


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """Recorded training of one run."""

    record: Record
    run_id: str
    uid: str
    """Unique id of the search."""
    replicates: tuple[RunValue, ...]
    """Complete replicates of the configuration."""
    packages: Mapping[str, str] | None
    """Versions of all packages of the training; None if the store has no list of them."""


def is_mlflow_source(text: str) -> bool:
    """Return True if a text is the id of a run, or the URI of a run or a registered model."""
    return bool(RUN_ID.fullmatch(text)) or text.startswith(("runs:/", "models:/"))


def read_recorded_run(home: Home, source: str, trial_id: str | None = None) -> RecordedRun:
    """Read the recorded training of a run, a registered model or a search in the MLflow store.

    Args:
        home: Home whose store is used unless MLFLOW_TRACKING_URI is set.
        source: Id or URI of a run, URI of a registered model (`models:/NAME@ALIAS`), or the name of a search.
        trial_id: Trial or replicate of the search; None for the run itself, or for a search its champion,
            before a confirmation its best trial.

    Raises:
        SearchError: The store cannot be used, has no such run, or the run has no intact record.
    """
    try:
        client = open_existing(home)
        run = _find_run(client, home, source)
        if of_run := run.data.tags.get(RERUN_OF_RUN):
            run = client.get_run(of_run)
        uid = run.data.tags.get(SEARCH_UID, "")
        if not _VALUE.fullmatch(uid):
            raise SearchError(f"a run must be of a search, a trial or a replicate, got run {run.info.run_id}")
        children = find_runs(client, run.info.experiment_id, f"tags.`{SEARCH_UID}` = '{uid}'")
        parent = next((each for each in children if each.data.tags.get("kind") == "search"), None)
        run = _choose_child(client, run, children, trial_id)
        record = _read_record(client, run)
        return RecordedRun(
            record=record,
            run_id=run.info.run_id,
            uid=uid,
            replicates=_read_replicates(record, children),
            packages=None if parent is None else _read_packages(client, parent.info.run_id, record),
        )
    except SearchError:
        raise
    except Exception as error:  # any error of a store
        raise SearchError(f"MLflow: {describe_fault(error, home)}") from error


def _find_run(client: MlflowClient, home: Home, source: str) -> Run:
    """Return the run of a source; SearchError if there is none."""
    try:
        if source.startswith("models:/"):
            return client.get_run(_run_of_model(client, source))
        if match := _RUN_URI.fullmatch(source):
            return client.get_run(match["run"])
        if RUN_ID.fullmatch(source):
            return client.get_run(source)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise SearchError(f"the MLflow store has no {source}: {error.message}") from error
    experiment = find_experiment(client, home)
    if experiment is None or not _VALUE.fullmatch(source):
        raise SearchError(f"the MLflow store has no search {source!r}: give the id of a run")
    runs = find_runs(client, experiment, f"tags.search = '{source}' AND tags.kind = 'search'")
    if len(runs) == 1:
        return runs[0]
    if runs:
        ids = ", ".join(run.info.run_id for run in runs)
        raise SearchError(f"the MLflow store must have one search {source!r}, got {len(runs)}: give one run of {ids}")
    every = find_runs(client, experiment, "tags.kind = 'search'")
    names = ", ".join(sorted({run.data.tags.get("search", "") for run in every})) or "none"
    raise SearchError(f"the MLflow store has no search {source!r}; searches there: {names}")


def _run_of_model(client: MlflowClient, uri: str) -> str:
    match = _MODEL.fullmatch(uri)
    if match is None:
        raise SearchError(f"a model must be models:/NAME@ALIAS or models:/NAME/VERSION, got {uri!r}")
    if match["alias"]:
        version = client.get_model_version_by_alias(match["name"], match["alias"])
    else:
        version = client.get_model_version(match["name"], match["version"])
    if not version.run_id:
        raise SearchError(f"the model {uri} must have a run, got none: it was not registered by a search")
    return str(version.run_id)


def _find_champion(client: MlflowClient, uid: str) -> Run | None:
    """Return the run of the champion of a search; None if there is none, or if the store has no registry."""
    try:
        for model in client.search_registered_models(f"tags.`{SEARCH_UID}` = '{uid}'"):
            if (version := model.aliases.get(CHAMPION)) is not None:
                return client.get_run(client.get_model_version(model.name, version).run_id)
    except Exception as error:
        if not is_unsupported(error):
            raise
    return None


def _choose_child(client: MlflowClient, run: Run, children: list[Run], trial_id: str | None) -> Run:
    """Return the run of a trial: the given one, that of the source, or of a search its champion or best trial."""
    if trial_id is None and run.data.tags.get("kind") != "search":
        return run
    if trial_id is None and (champion := _find_champion(client, run.data.tags[SEARCH_UID])) is not None:
        return champion
    wanted = trial_id or run.data.tags.get("best_trial")
    if wanted is None:
        raise SearchError(f"search {run.data.tags.get('search')!r} has no best trial in MLflow: give the id of a trial")
    for child in children:
        if child.data.tags.get(TRIAL_ID) == wanted:
            return child
    raise SearchError(f"search {run.data.tags.get('search')!r} has no run of trial {wanted!r} in MLflow")


def _read_record(client: MlflowClient, run: Run) -> Record:
    content = _read_artifact(client, run.info.run_id, RECORD)
    if content is None:
        name = run.data.tags.get("search", "NAME")
        raise SearchError(
            f"run {run.info.run_id} must have the artifact {RECORD}, got none: its trial is not finished, or an "
            f"earlier version sent it; where the search was run: lkca-search sync {name}"
        )
    try:
        return Record.model_validate_json(content)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise SearchError(f"the artifact {RECORD} of run {run.info.run_id} must be a record: {reason}") from error


def _read_replicates(record: Record, runs: list[Run]) -> tuple[RunValue, ...]:
    of_trial = record.replicate.of if record.replicate else record.trial_id
    metric = name_of(record.spec.metrics[0])
    values = []
    for run in runs:
        tags, metrics = run.data.tags, run.data.metrics
        is_complete = tags.get("kind") == "replicate" and tags.get("state") == State.COMPLETE
        if is_complete and tags.get("of_trial") == of_trial and metric in metrics:
            values.append(RunValue(draw=int(tags["draw"]), seed=int(tags["seed_number"]), value=metrics[metric]))
    return tuple(sorted(values, key=lambda each: (each.draw, each.seed)))


def _read_packages(client: MlflowClient, parent: str, record: Record) -> Mapping[str, str] | None:
    packages = record.facts.provenance.packages_hash if record.facts else None
    content = None if packages is None else _read_artifact(client, parent, f"{PROVENANCE}/{packages}.json")
    try:
        found = json.loads(content) if content else None
    except ValueError:
        return None
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else None


def _read_artifact(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    """Return the content of an artifact; None if there is none. SearchError if it is too large for a record."""
    folder = path.rpartition("/")[0]
    listed = {file.path: file.file_size for file in client.list_artifacts(run_id, folder or None)}
    if path not in listed:
        return None
    if (listed[path] or 0) > MAX_RECORD_BYTES:
        raise SearchError(f"{path} of run {run_id} must have at most {MAX_RECORD_BYTES:,} bytes, got {listed[path]:,}")
    with TemporaryDirectory() as target:
        return Path(client.download_artifacts(run_id, path, target)).read_bytes()
