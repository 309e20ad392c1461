"""A search in an MLflow store: a parent run, a child run a trial. Whatever is written twice is there once."""

import getpass
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from lkca_search.provenance import git_commit
from lkca_search.records import Record, Result, State
from lkca_search.storage import Home
from lkca_search.tracking.tracker import TrialStart

_PARENT = "mlflow.parentRunId"
_SEARCH_UID = "lkca.search_uid"
_TRIAL_ID = "lkca.trial_id"
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAIL: "FAILED"}
_BATCH = 1000


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database of a home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow_database}"


class MLflowStore:
    """One search's runs. Every method may raise whatever the store does, and may be called again."""

    def __init__(self, home: Home, *, uid: str, name: str, texts: dict[str, str]) -> None:
        """Open the store, and the search's parent run in it, made if it is not there; `texts` become its artifacts."""
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        self._uid = uid
        self._sent_results: dict[str, int] = {}
        uri = tracking_uri(home)
        is_ours = uri == f"sqlite:///{home.mlflow_database}"
        home.root.mkdir(parents=True, exist_ok=True)
        # Two processes that create one database's tables at once both fail.
        with FileLock(home.root / "mlflow.lock") if is_ours else nullcontext():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._open_experiment(home if is_ours else None)
        self._parent = self._open_parent(name, texts)
        self._runs = {run.data.tags[_TRIAL_ID]: run for run in self._children()}

    def is_sent(self, trial_id: str) -> bool:
        """Whether a trial's run had ended when the store was opened."""
        return trial_id in self._runs and self._runs[trial_id].info.status != "RUNNING"

    def start(self, start: TrialStart) -> None:
        """Make a trial's run, with its parameters."""
        self._run_id(start)

    def log(self, trial_id: str, result: Result) -> None:
        """Write one result of a trial; nothing if its start did not get through, since `finish` writes it all."""
        if trial_id not in self._runs:
            return
        self._client.log_batch(self._runs[trial_id].info.run_id, metrics=_metrics(result))
        self._sent_results[trial_id] = self._sent_results.get(trial_id, 0) + 1

    def finish(self, record: Record) -> None:
        """Write what is still missing of a finished trial, and end its run."""
        start = TrialStart(
            trial_id=record.trial_id,
            cell=record.cell,
            number=record.number,
            attempt=record.attempt,
            spec=record.spec,
            started=record.started,
        )
        run_id = self._run_id(start)
        metrics = [*_final_metrics(record)]
        if self._sent_results.pop(record.trial_id, 0) != len(record.curve):
            metrics += [metric for result in record.curve for metric in _metrics(result)]
        for i in range(0, max(1, len(metrics)), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[i : i + _BATCH], tags=_final_tags(record) if i == 0 else ())
        self._client.set_terminated(run_id, _STATUS[record.state], round(record.finished * 1000))

    def end(self, *, complete: bool, best: Record | None) -> None:
        """End the parent run: FINISHED where nothing is left to do, else KILLED."""
        if best is not None and best.value is not None:
            metric = Metric(f"best_{best.metric}", best.value, round(best.finished * 1000), 0)
            self._client.log_batch(self._parent, metrics=[metric], tags=[RunTag("best_trial", best.trial_id)])
        self._client.set_terminated(self._parent, "FINISHED" if complete else "KILLED")

    def _open_experiment(self, home: Home | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lkca-search"
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(name, home.mlflow_artifacts.as_uri() if home else None))

    def _open_parent(self, name: str, texts: dict[str, str]) -> str:
        found = self._client.search_runs(
            [self._experiment], f"tags.`{_SEARCH_UID}` = '{self._uid}' AND tags.kind = 'search'", max_results=1
        )
        if found:
            run_id = str(found[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
        else:
            tags = {**self._common_tags(), "kind": "search", "search": name}
            run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)
        for file, text in texts.items():
            self._client.log_text(run_id, text, file)
        return run_id

    def _children(self) -> list[Run]:
        runs: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_PARENT}` = '{self._parent}'", max_results=_BATCH, page_token=token or None
            )
            runs += page
            token = page.token or None
        return runs

    def _run_id(self, start: TrialStart) -> str:
        if start.trial_id not in self._runs:
            # A creation whose answer was lost may have happened all the same.
            filters = f"tags.`{_TRIAL_ID}` = '{start.trial_id}' AND tags.`{_PARENT}` = '{self._parent}'"
            found = self._client.search_runs([self._experiment], filters, max_results=1)
            self._runs[start.trial_id] = found[0] if found else self._create(start)
        return str(self._runs[start.trial_id].info.run_id)

    def _create(self, start: TrialStart) -> Run:
        configuration = start.spec.configuration
        tags = {
            **self._common_tags(),
            _PARENT: self._parent,
            _TRIAL_ID: start.trial_id,
            "kind": "trial",
            "cell": start.cell,
            "family": configuration.family,
            "data_fraction": str(configuration.data_fraction),
            "draw": str(configuration.draw),
        }
        run = self._client.create_run(
            self._experiment, start_time=round(start.started * 1000), tags=tags, run_name=start.trial_id
        )
        values: dict[str, Any] = {**configuration.model_dump(exclude_none=True), "seed": start.spec.seed}
        self._client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in values.items()])
        return run

    def _common_tags(self) -> dict[str, str]:
        return {
            _SEARCH_UID: self._uid,
            "git_commit": git_commit(),
            "mlflow.source.name": "lkca-search",
            "mlflow.source.git.commit": git_commit(),
            "mlflow.user": getpass.getuser(),
        }


def _metrics(result: Result) -> list[Metric]:
    timestamp = round(result.time * 1000)
    values = result.model_dump(exclude={"step", "time"})
    return [Metric(name, value, timestamp, result.step) for name, value in values.items()]


def _final_metrics(record: Record) -> Sequence[Metric]:
    timestamp = round(record.finished * 1000)
    step = record.curve[-1].step if record.curve else 0
    values: dict[str, float] = {}
    if record.curve:
        values["best_val_accuracy"] = max(result.val_accuracy for result in record.curve)
        values["best_val_loss"] = min(result.val_loss for result in record.curve)
    if record.facts:
        values["num_parameters"] = record.facts.num_parameters
        values["num_train_images"] = record.facts.num_train_images
    return [Metric(name, value, timestamp, step) for name, value in values.items()]


def _final_tags(record: Record) -> Sequence[RunTag]:
    tags = {"state": record.state.value, "attempt": str(record.attempt)}
    if record.error:
        tags["error"] = record.error[-4000:]
    if record.facts:
        names = ("data_hash", "subset_hash", "validation_hash")
        tags |= {name: getattr(record.facts, name) for name in names}
        tags |= {"node": record.facts.provenance.node, "device": record.facts.provenance.device}
    return [RunTag(name, value) for name, value in tags.items()]
