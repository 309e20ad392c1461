"""Invariants of a killed search, checked against the events that its workers wrote."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from lkca_search.layout import WEIGHTS, Home, SearchFolder
from lkca_search.records.model_description import list_models, model_folder, read_description, scan_models
from lkca_search.records.predictions import read_correct
from lkca_search.records.record import TIMES, Record, Result, State, read_records, read_replicates
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.driver.trial_files import BESIDE_RECORD
from lkca_search.search.state.best_trials import best_record
from lkca_search.search.state.database import find_database
from lkca_search.search.studies.study import open_storage

_MEASURED = Result.model_fields.keys() - TIMES


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the event log, written by a worker independently of its driver."""

    event: str
    """`open` before data and model are built; then `start` at step 0 or `resume` at a later one; then `finish`."""
    trial_id: str
    attempt: str
    """Name of the folder of the attempt."""
    pid: int
    step: int
    newest_step: int
    """Step of the newest checkpoint of earlier attempts at this time; 0 if there is none."""
    time: float
    node: str
    gpus: str
    """GPUs of the node that Ray assigned to the worker; empty if none."""


def read_events(path: Path) -> list[Event]:
    """Return the event log in the order of writing."""
    return [Event(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def broken_invariants(
    home: Home,
    folder: SearchFolder,
    events: list[Event],
    *,
    trial_ids: set[str],
    durable: Mapping[Path, bytes],
    undisturbed: Mapping[str, Record],
    damaged: Collection[Path] = (),
    tracking_uri: str | None = None,
) -> list[str]:
    """Return every invariant that a finished search breaks.

    Args:
        home: Home of the search.
        folder: Folder of the search.
        events: Events of its workers.
        trial_ids: Expected ids of trials and replicates.
        durable: Content of the records that were durable at a kill.
        undisturbed: Records of the same search without faults, for a comparison of curves.
        damaged: Files that were damaged on purpose.
        tracking_uri: MLflow store, by default that of the home. It must hold no other search of this name.
    """
    trials, replicates = read_records(folder), read_replicates(folder)
    records = [*trials, *replicates]
    return [
        *_records(folder, records, trial_ids, durable),
        *_trainings(folder, records, events, damaged),
        *_set_aside(damaged),
        *_studies(folder, trials),
        *_runs(tracking_uri or f"sqlite:///{home.mlflow_database}", folder.name, trials, replicates),
        *_curves(records, undisturbed),
        *_predictions(folder, replicates),
        *_models(folder, trials, replicates, damaged),
    ]


def left_behind(folder: SearchFolder) -> int:
    """Return the number of files without further use: checkpoints, temporary files, results without a record."""
    unused = sum(1 for path in folder.trials.rglob("*") if path.name.startswith(("checkpoint-", ".")))
    results = (path for name in BESIDE_RECORD for path in folder.trials.rglob(name))
    return unused + sum(1 for path in results if not path.with_name("record.json").exists())


def _records(
    folder: SearchFolder, records: list[Record], trial_ids: set[str], durable: Mapping[Path, bytes]
) -> Iterator[str]:
    found = Counter(path.parents[1].relative_to(folder.trials).as_posix() for path in _record_paths(folder))
    if found != Counter(trial_ids):
        lost, more = sorted(trial_ids - found.keys()), sorted(id_ for id_ in found if found[id_] > (id_ in trial_ids))
        yield f"records lost: {lost}; surplus or duplicate: {more}"
    for path, content in durable.items():
        if not path.exists() or path.read_bytes() != content:
            yield f"record of {path.parent} was lost or rewritten"
    for record in records:
        if record.state is not State.COMPLETE:
            yield f"{record.trial_id} is {record.state}: {record.error}"


def _set_aside(damaged: Collection[Path]) -> Iterator[str]:
    for path in damaged:
        if path.name == "record.json" and not any("damaged" in other.name for other in path.parent.iterdir()):
            yield f"damaged {path} was not kept"


def _trainings(
    folder: SearchFolder, records: list[Record], events: list[Event], damaged: Collection[Path]
) -> Iterator[str]:
    by_attempt: dict[tuple[str, str], dict[str, Event]] = {}
    for event in events:
        attempt = by_attempt.setdefault((event.trial_id, event.attempt), {})
        if event.event in attempt:
            yield f"{event.trial_id}, {event.attempt}: {event.event} twice"
        attempt[event.event] = event
    unreadable = {path.parents[1].relative_to(folder.trials).as_posix() for path in damaged if path.suffix == ".pt"}
    for (trial_id, _), attempt in by_attempt.items():
        if trial_id in unreadable:
            continue
        opened, begun = attempt["open"], attempt.get("start") or attempt.get("resume")
        # An orphan of a dead driver may write another checkpoint while the next attempt reads.
        if begun and not opened.newest_step <= begun.step <= max(opened.newest_step, begun.newest_step):
            where = f"{begun.trial_id}, {begun.attempt}: began at step {begun.step}"
            yield f"{where}, the newest checkpoint being of step {opened.newest_step}"
    for record in records:
        (path, *_) = folder.trial(record.trial_id).root.glob("attempt-*/record.json")
        for event in events:
            if event.trial_id == record.trial_id and event.event == "open" and event.time > path.stat().st_mtime:
                late = event.time - path.stat().st_mtime
                yield f"{record.trial_id}, {event.attempt}: trained again {late:.1f} s after its record was durable"
        if "finish" not in by_attempt.get((record.trial_id, path.parent.name), {}):
            yield f"{record.trial_id}: {path.parent.name} has a record, but was not trained to its end"


def _studies(folder: SearchFolder, records: list[Record]) -> Iterator[str]:
    storage = open_storage(find_database(folder))
    trials = {
        f"{study.study_name}/{trial.number}": trial
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(storage.get_study_id_from_name(study.study_name))
    }
    storage.remove_session()
    storage.engine.dispose()  # an open connection would raise a warning in a later test
    if trials.keys() != {record.trial_id for record in records}:
        yield f"the studies have the trials {sorted(trials)}"
    for record in records:
        trial = trials.get(record.trial_id)
        told = (trial.state.name, trial.value, trial.intermediate_values) if trial else None
        curve = {index: result.value(record.metric) for index, result in enumerate(record.curve, start=1)}
        if told != (record.state, record.value, curve):
            yield f"{record.trial_id}: its study has {told}, its record {(record.state, record.value, curve)}"


def _runs(tracking_uri: str, name: str, trials: list[Record], replicates: list[Record]) -> Iterator[str]:
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("lkca-search")
    ours = f"tags.search = '{name}'"
    runs = client.search_runs([experiment.experiment_id], ours, max_results=1000) if experiment else []
    kinds = Counter((run.data.tags["kind"], run.info.status) for run in runs)
    counts = {"search": 1, "trial": len(trials), "replicate": len(replicates)}
    if kinds != Counter({(kind, "FINISHED"): count for kind, count in counts.items()}):
        yield f"MLflow has {dict(kinds)}"
    records = [*trials, *replicates]
    children = {run.data.tags["lkca.trial_id"]: run for run in runs if run.data.tags["kind"] != "search"}
    if children.keys() != {record.trial_id for record in records}:
        yield f"MLflow has the trials {sorted(children)}"
    for record in records:
        if record.trial_id in children:
            run_id = children[record.trial_id].info.run_id
            history = [(point.step, point.value) for point in client.get_metric_history(run_id, "val_accuracy")]
            curve = [(result.step, result.val_accuracy) for result in record.curve]
            if sorted(history) != curve:
                yield f"{record.trial_id}: MLflow has the curve {history}, the record {curve}"


def _curves(records: list[Record], undisturbed: Mapping[str, Record]) -> Iterator[str]:
    for record in records:
        other = undisturbed.get(record.trial_id)
        if other is not None and other.spec != record.spec:
            yield f"{record.trial_id}: another configuration than undisturbed"
        elif other is not None and (_measured(other), other.test) != (_measured(record), record.test):
            yield f"{record.trial_id}: another curve than undisturbed"


def _predictions(folder: SearchFolder, replicates: list[Record]) -> Iterator[str]:
    correct = read_correct(folder, replicates)
    for record in replicates:
        found = correct[record.trial_id].mean() if record.trial_id in correct else None
        if record.test is not None and found != record.test.accuracy:
            yield f"{record.trial_id}: its predictions have the accuracy {found}, its record {record.test.accuracy}"


def _models(
    folder: SearchFolder, trials: list[Record], replicates: list[Record], damaged: Collection[Path]
) -> Iterator[str]:
    """Yield each lost, surplus and damaged model, except those that were damaged on purpose."""
    spec = read_spec(folder)
    owners = [record for record in replicates if record.test is not None] if spec.keep.weights != "none" else []
    if spec.keep.weights == "best":
        owners += filter(None, (best_record(by_cell, spec.search) for by_cell in _by_cell(trials)))
    kept = {model_folder(folder, record): record for record in owners}
    found = {path.parent for path in folder.trials.rglob(WEIGHTS)} & set(list_models(folder))
    for path in kept.keys() ^ found:
        if not any(each.parent == path for each in damaged):
            yield f"{path} has {'a surplus' if path in found else 'lost its'} model"
    for finding in scan_models(folder):
        if Path(finding.place).parent not in {each.parent for each in damaged}:
            yield str(finding)
    for path in kept.keys() & found - {each.parent for each in damaged}:
        record, metrics = kept[path], read_description(path).metrics
        if record.test is not None and metrics["test_accuracy"] != record.test.accuracy:
            yield f"{record.trial_id}: its model has the test accuracy {metrics['test_accuracy']}"


def _by_cell(records: list[Record]) -> list[list[Record]]:
    return [[record for record in records if record.cell == cell] for cell in {record.cell for record in records}]


def _measured(record: Record) -> list[dict[str, Any]]:
    return [result.model_dump(include=_MEASURED) for result in record.curve]


def _record_paths(folder: SearchFolder) -> Iterator[Path]:
    return folder.trials.rglob("attempt-*/record.json")
