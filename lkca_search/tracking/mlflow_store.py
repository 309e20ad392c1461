"""A search in an MLflow store: a parent run, a child run a trial. Whatever is written twice is there once."""

import getpass
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

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
_TAGS = ("family", "data_fraction", "images_per_class", "draw")
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAIL: "FAILED"}
_PAGE = 1000
"""Runs that are asked for at once."""
_BATCH = 100
"""Results that are written at once: few enough for one call, 1000 metrics, so that a step is there whole or not."""
_CURVE = tuple(name for name in Result.model_fields if name not in ("step", "time"))


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database of a home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow_database}"


def runs_page(home: Home, search: str | None = None) -> str:
    """Where MLflow's UI shows the runs, of one search or all, best first: the part of the address behind the host."""
    uri = tracking_uri(home)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return ""
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(_experiment_name())
    if experiment is None:
        return ""
    query = {"workflowType": "machine_learning", "orderByKey": "metrics.`best_val_accuracy`", "orderByAsc": "false"}
    if search is not None:
        query["searchFilter"] = f"tags.search = '{search}'"
    return f"#/experiments/{experiment.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


class MLflowStore:
    """One search's runs. Every method may raise whatever the store does, and may be called again."""

    def __init__(self, home: Home, *, uid: str, name: str, texts: dict[str, str]) -> None:
        """Open the store, and the search's parent run in it, made if it is not there; `texts` become its artifacts."""
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a run created twice is two runs
        self._uid = uid
        self._name = name
        self._sent_steps: dict[str, set[int]] = {}
        uri = tracking_uri(home)
        is_ours = uri == f"sqlite:///{home.mlflow_database}"
        home.root.mkdir(parents=True, exist_ok=True)
        # Two processes that create one database's tables at once both fail.
        with FileLock(home.root / "mlflow.lock") if uri.startswith("sqlite:") else nullcontext():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._open_experiment(home if is_ours else None)
        self._parent = self._open_parent(texts)
        # A run whose creation was cut off before its parameters is found again where its trial goes on.
        self._runs = {run.data.tags[_TRIAL_ID]: run for run in self._children() if run.data.params}

    def is_sent(self, trial_id: str) -> bool:
        """Whether a trial's run had ended when the store was opened."""
        return trial_id in self._runs and self._runs[trial_id].info.status != "RUNNING"

    def start(self, start: TrialStart) -> None:
        """Make a trial's run, with its parameters."""
        self._run_id(start)

    def log(self, trial_id: str, result: Result) -> None:
        """Write one result of a trial; nothing if its start did not get through, since `finish` writes it all."""
        if trial_id in self._runs:
            self._log_missing(trial_id, [result])

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
        self._log_missing(record.trial_id, record.curve)
        self._client.log_batch(run_id, metrics=_final_metrics(record), tags=_final_tags(record))
        self._client.set_terminated(run_id, _STATUS[record.state], round(record.finished * 1000))

    def end(self, *, complete: bool, best: Record | None) -> None:
        """End the parent run: FINISHED where nothing is left to do, else KILLED."""
        if best is not None and best.value is not None:
            metric = Metric(f"best_{best.metric}", best.value, round(best.finished * 1000), 0)
            self._client.log_batch(self._parent, metrics=[metric], tags=[RunTag("best_trial", best.trial_id)])
        self._client.set_terminated(self._parent, "FINISHED" if complete else "KILLED")

    def _open_experiment(self, home: Home | None) -> str:
        name = _experiment_name()
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        artifacts = home.mlflow_artifacts.as_uri() if home else None
        return str(self._client.create_experiment(name, artifacts))

    def _open_parent(self, texts: dict[str, str]) -> str:
        found = self._client.search_runs(
            [self._experiment], f"tags.`{_SEARCH_UID}` = '{self._uid}' AND tags.kind = 'search'", max_results=1
        )
        if found:
            run_id = str(found[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
        else:
            tags = {**self._common_tags(), "kind": "search"}
            run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=self._name).info.run_id)
        for file, text in texts.items():
            self._client.log_text(run_id, text, file)
        return run_id

    def _children(self) -> list[Run]:
        runs: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_PARENT}` = '{self._parent}'", max_results=_PAGE, page_token=token or None
            )
            runs += page
            token = page.token or None
        return runs

    def _run_id(self, start: TrialStart) -> str:
        if start.trial_id not in self._runs:
            # A creation whose answer was lost may have happened all the same.
            filters = f"tags.`{_TRIAL_ID}` = '{start.trial_id}' AND tags.`{_PARENT}` = '{self._parent}'"
            found = self._client.search_runs([self._experiment], filters, max_results=1)
            run = found[0] if found else self._create(start)
            self._client.log_batch(run.info.run_id, params=_params(start))
            self._runs[start.trial_id] = run
        return str(self._runs[start.trial_id].info.run_id)

    def _log_missing(self, trial_id: str, curve: Sequence[Result]) -> None:
        """Write the results of steps that a run lacks; a step that a later attempt repeats stays as it is."""
        run_id = self._runs[trial_id].info.run_id
        steps = self._sent_steps.pop(trial_id, None)  # asked for again where a call fails: it may have got through
        if steps is None:
            steps = {metric.step for metric in self._client.get_metric_history(run_id, _CURVE[0])}
        missing = [result for result in curve if result.step not in steps]
        for i in range(0, len(missing), _BATCH):
            metrics = [metric for result in missing[i : i + _BATCH] for metric in _metrics(result)]
            self._client.log_batch(run_id, metrics=metrics)
        self._sent_steps[trial_id] = steps | {result.step for result in missing}

    def _create(self, start: TrialStart) -> Run:
        configuration = start.spec.configuration
        tags = {
            **self._common_tags(),
            _PARENT: self._parent,
            _TRIAL_ID: start.trial_id,
            "kind": "trial",
            "cell": start.cell,
            **{name: str(value) for name in _TAGS if (value := getattr(configuration, name)) is not None},
        }
        self._sent_steps[start.trial_id] = set()
        return self._client.create_run(
            self._experiment, start_time=round(start.started * 1000), tags=tags, run_name=_run_name(start)
        )

    def _common_tags(self) -> dict[str, str]:
        return {
            _SEARCH_UID: self._uid,
            "search": self._name,
            "git_commit": git_commit(),
            "mlflow.source.name": "lkca-search",
            "mlflow.source.git.commit": git_commit(),
            "mlflow.user": _user(),
        }


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lkca-search"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return "unknown"


def _run_name(start: TrialStart) -> str:
    """A name that fits a column: the cell's levels and the trial's number, `lkca 0.1 #3`."""
    levels = [part.rpartition("=")[2] for part in start.cell.split(",")]
    return f"{' '.join(levels)} #{start.number}"


def _params(start: TrialStart) -> list[Param]:
    values: dict[str, Any] = {**start.spec.configuration.model_dump(exclude_none=True), "seed": start.spec.seed}
    return [Param(name, str(value)) for name, value in values.items()]


def _metrics(result: Result) -> list[Metric]:
    return [Metric(name, getattr(result, name), round(result.time * 1000), result.step) for name in _CURVE]


def _final_metrics(record: Record) -> Sequence[Metric]:
    timestamp = round(record.finished * 1000)
    values: dict[str, float] = {}
    if record.curve:
        values["best_val_accuracy"] = max(result.val_accuracy for result in record.curve)
        values["best_val_loss"] = min(result.val_loss for result in record.curve)
    if record.facts:
        values["num_parameters"] = record.facts.num_parameters
        values["flops"] = record.facts.flops
        values["num_train_images"] = record.facts.num_train_images
    # At step 0, where the UI draws a bar a run and not a curve of one point.
    return [Metric(name, value, timestamp, 0) for name, value in values.items()]


def _final_tags(record: Record) -> Sequence[RunTag]:
    tags = {"state": record.state.value, "attempt": str(record.attempt)}
    if record.error:
        tags["error"] = record.error[-4000:]
    if record.facts:
        names = ("model", "data_hash", "subset_hash", "validation_hash")
        tags |= {name: getattr(record.facts, name) for name in names}
        tags |= {"node": record.facts.provenance.node, "device": record.facts.provenance.device}
    return [RunTag(name, value) for name, value in tags.items()]
