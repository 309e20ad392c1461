"""A search in an MLflow store: a parent run, a child run a trial. Whatever is written twice is there once."""

import getpass
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from lkca_search.layout import Home
from lkca_search.records.provenance import git_commit
from lkca_search.records.record import Record, Result, State
from lkca_search.tracking.run_fields import (
    CURVE,
    final_metrics,
    final_tags,
    points,
    run_name,
    start_params,
    start_tags,
)
from lkca_search.tracking.tracker import TrialStart

_PARENT = "mlflow.parentRunId"
SEARCH_UID = "lkca.search_uid"
"""The tag by which runs are known to be of one search."""
_TRIAL_ID = "lkca.trial_id"
_TEXTS = "lkca.texts"
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAIL: "FAILED"}
_PAGE = 1000
"""Runs that are asked for at once."""
_BATCH = 120
"""Results that are written at once: with parameters and tags few enough for one call, 1000 items; so a step is there
whole or not."""
_CLIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a run created twice is two runs
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, each after one more call
}


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite database of a home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow_database}"


def runs_page(home: Home, search: str | None = None) -> str:
    """Where MLflow's UI shows the runs, of one search or all, best first: the part of the address behind the host."""
    uri = tracking_uri(home)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return ""
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment_name())
    if experiment is None:
        return ""
    query = {"workflowType": "machine_learning", "orderByKey": "metrics.`best_val_accuracy`", "orderByAsc": "false"}
    if search is not None:
        query["searchFilter"] = f"tags.search = '{search}'"
    return f"#/experiments/{experiment.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


@dataclass
class _Run:
    """A run as far as this client knows."""

    run_id: str
    status: str
    has_params: bool = False
    """Whether it came as far as its parameters, which are written once."""
    steps: set[int] | None = None
    """Steps whose results it has; None where they are to be asked for."""


class MLflowStore:
    """One search's runs. Every method may raise whatever the store does, and may be called again."""

    def __init__(self, home: Home, *, uid: str, name: str, texts: dict[str, str]) -> None:
        """Open the store, and the search's parent run in it, made if it is not there; `texts` become its artifacts."""
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        for variable, value in _CLIENT.items():
            os.environ.setdefault(variable, value)
        self._uid = uid
        self._name = name
        self._doubtful: set[str] = set()
        """Trials whose run was asked for without an answer: it may have been made."""
        uri = tracking_uri(home)
        is_ours = not os.environ.get("MLFLOW_TRACKING_URI")
        if is_ours:
            home.mlflow_database.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one database's tables at once both fail.
        database = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:") else None
        with FileLock(f"{database}.lock") if database else nullcontext():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._open_experiment(home if is_ours else None)
        runs = self._find_runs(f"tags.`{SEARCH_UID}` = '{uid}'")
        children = [run for run in runs if run.data.tags.get("kind") in ("trial", "replicate")]
        parent = self._open_parent([run for run in runs if run.data.tags.get("kind") == "search"], children)
        self._parent = _Run(parent.info.run_id, parent.info.status)
        self._best = parent.data.tags.get("best_trial")
        self._runs = self._open_children(children)
        self._log_texts(texts, parent.data.tags.get(_TEXTS))

    def is_sent(self, trial_id: str) -> bool:
        """Whether a trial's run shows its end."""
        return trial_id in self._runs and self._runs[trial_id].status in _STATUS.values()

    @property
    def running(self) -> list[str]:
        """The trials whose runs are shown as running."""
        return [trial_id for trial_id, run in self._runs.items() if run.status == "RUNNING"]

    def start(self, start: TrialStart, results: Iterable[Result] = ()) -> None:
        """Show a trial that runs: make its run, or let it go on, and write what it lacks of some results."""
        if self._parent.status != "RUNNING":
            self._client.update_run(self._parent.run_id, status="RUNNING")
            self._parent.status = "RUNNING"
        run = self._run(start)
        if run.status == "KILLED":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        self._write(run, results, params=start_params(start))

    def finish(self, record: Record) -> None:
        """Write what is still missing of a finished trial, and end its run."""
        start = TrialStart(
            trial_id=record.trial_id,
            cell=record.cell,
            number=record.number,
            attempt=record.attempt,
            spec=record.spec,
            started=record.started,
            replicate=record.replicate,
        )
        run = self._run(start)
        metrics, tags = final_metrics(record), final_tags(record)
        self._write(run, record.curve, params=start_params(start), metrics=metrics, tags=tags)
        self._end_run(run, _STATUS[record.state], round(record.finished * 1000))

    def leave(self, trial_id: str, results: Iterable[Result] = ()) -> None:
        """Write what the run of an unfinished trial lacks of some results, and show it as killed until it goes on."""
        self._write(self._runs[trial_id], results)
        self._end_run(self._runs[trial_id], "KILLED")

    def end(self, *, complete: bool, best: Record | None) -> None:
        """End the parent run: FINISHED where nothing is left to do, else KILLED. Runs of trials stay as they are."""
        if best is not None and best.value is not None and best.trial_id != self._best:
            metric = Metric(f"best_{best.metric}", best.value, round(best.finished * 1000), 0)
            self._client.log_batch(self._parent.run_id, metrics=[metric], tags=[RunTag("best_trial", best.trial_id)])
            self._best = best.trial_id
        status = "FINISHED" if complete else "KILLED"
        if self._parent.status != status:
            self._end_run(self._parent, status)

    def _open_experiment(self, home: Home | None) -> str:
        name = experiment_name()
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        artifacts = home.mlflow_artifacts.as_uri() if home else None
        return str(self._client.create_experiment(name, artifacts))

    def _open_parent(self, found: Sequence[Run], children: Sequence[Run]) -> Run:
        """The search's own run: that of most children, should a call that was given up have made a second one."""
        sizes = Counter(child.data.tags.get(_PARENT) for child in children)
        by_size = sorted(found, key=lambda run: (-sizes[run.info.run_id], run.info.start_time))
        for double in by_size[1:]:
            self._client.delete_run(double.info.run_id)
        if by_size:
            return by_size[0]
        tags = {**self._common_tags(), "kind": "search"}
        return self._client.create_run(self._experiment, tags=tags, run_name=self._name)

    def _open_children(self, found: Sequence[Run]) -> dict[str, _Run]:
        runs: dict[str, _Run] = {}
        for run in sorted(found, key=lambda run: (run.info.status == "RUNNING", -len(run.data.metrics))):
            if run.data.tags[_TRIAL_ID] in runs:  # made by a call that was given up, and carried out late
                self._client.delete_run(run.info.run_id)
                continue
            if run.data.tags.get(_PARENT) != self._parent.run_id:
                self._client.set_tag(run.info.run_id, _PARENT, self._parent.run_id)
            runs[run.data.tags[_TRIAL_ID]] = _Run(run.info.run_id, run.info.status, bool(run.data.params))
        return runs

    def _log_texts(self, texts: dict[str, str], logged: str | None) -> None:
        digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()
        if digest != logged:
            for file, text in texts.items():
                self._client.log_text(self._parent.run_id, text, file)
            self._client.set_tag(self._parent.run_id, _TEXTS, digest)

    def _find_runs(self, condition: str) -> list[Run]:
        runs: dict[str, Run] = {}  # pages overlap where a run is made meanwhile
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment], condition, max_results=_PAGE, page_token=token or None)
            runs |= {run.info.run_id: run for run in page}
            token = page.token or None
        return list(runs.values())

    def _run(self, start: TrialStart) -> _Run:
        trial_id = start.trial_id
        if trial_id in self._doubtful:
            found = self._find_runs(f"tags.`{_TRIAL_ID}` = '{trial_id}' AND tags.`{_PARENT}` = '{self._parent.run_id}'")
            self._runs |= self._open_children(found)
        if trial_id not in self._runs:
            self._doubtful.add(trial_id)
            tags = {
                **self._common_tags(),
                **start_tags(start),
                _PARENT: self._parent.run_id,
                _TRIAL_ID: trial_id,
                "kind": "replicate" if start.replicate else "trial",
            }
            created = self._client.create_run(
                self._experiment, start_time=round(start.started * 1000), tags=tags, run_name=run_name(start)
            )
            self._runs[trial_id] = _Run(created.info.run_id, "RUNNING", steps=set())
        self._doubtful.discard(trial_id)
        return self._runs[trial_id]

    def _write(
        self,
        run: _Run,
        results: Iterable[Result],
        *,
        params: Sequence[Param] = (),
        metrics: Sequence[Metric] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Write what a run lacks, in as few calls as that takes; a step that a later attempt repeats stays as it is."""
        by_step = {result.step: result for result in results}
        steps, run.steps = run.steps, None  # asked for again where a call fails: it may have got through
        if steps is None and by_step:
            steps = {metric.step for metric in self._client.get_metric_history(run.run_id, CURVE[0])}
        missing = [result for step, result in by_step.items() if step not in (steps or ())]
        parts = [missing[i : i + _BATCH] for i in range(0, len(missing), _BATCH)] or [[]]
        for part in parts:
            is_last = part is parts[-1]
            self._client.log_batch(
                run.run_id,
                params=() if run.has_params else params,
                metrics=[*points(part), *(metrics if is_last else ())],
                tags=tags if is_last else (),
            )
            run.has_params = run.has_params or bool(params)
        run.steps = None if steps is None else steps | by_step.keys()

    def _end_run(self, run: _Run, status: str, timestamp: int | None = None) -> None:
        self._client.set_terminated(run.run_id, status, timestamp)
        run.status = status

    def _common_tags(self) -> dict[str, str]:
        return {
            SEARCH_UID: self._uid,
            "search": self._name,
            "git_commit": git_commit(),
            "mlflow.source.name": "lkca-search",
            "mlflow.source.git.commit": git_commit(),
            "mlflow.user": _user(),
        }


def experiment_name() -> str:
    """MLFLOW_EXPERIMENT_NAME, or lkca-search."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lkca-search"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return "unknown"
