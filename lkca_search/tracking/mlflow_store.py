"""Runs of one search in an MLflow store: a parent run, and one child run per trial.

Every write can be repeated: the store then contains the values once.
"""

import getpass
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from lkca_search.environment.checkout import git_commit
from lkca_search.layout import Home
from lkca_search.records.record import Record, Result, State
from lkca_search.records.search.dataset import SearchDataset
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.experiment import open_client, open_experiment
from lkca_search.tracking.faults import is_unsupported
from lkca_search.tracking.run_fields import (
    CURVE,
    RESULTS_PER_CALL,
    best_metric,
    dataset_inputs,
    final_metrics,
    final_params,
    final_tags,
    points,
    replaced_metrics,
    run_name,
    running_tags,
    search_inputs,
    start_note,
    start_params,
    start_tags,
)
from lkca_search.tracking.runs import (
    HAS_RECORD,
    PARENT,
    RECORD,
    SENT,
    TRIAL_ID,
    ProvenanceFiles,
    TrialRun,
    describe_deleted,
    find_runs,
    has_datasets,
    is_marked,
    open_children,
    sent_mark,
)
from lkca_search.tracking.search_run.order import ORDER, ORDER_OF_SEARCH
from lkca_search.tracking.search_run.search_run import SearchRun
from lkca_search.tracking.tracker import TrialStart

_TEXTS = "lkca.texts"
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAIL: "FAILED"}
_NO_DATASETS = "the server stores no datasets, so its column of datasets stays empty; upgrade it to MLflow 2.4 or later"


class MLflowStore:
    """Runs of one search. Every method may raise an error of the store, and can then be called again."""

    def __init__(
        self,
        home: Home,
        *,
        uid: str,
        name: str,
        texts: dict[str, str],
        read_provenance: Callable[[str], str | None] = lambda _: None,
        datasets: Iterable[SearchDataset] = (),
        finished: Collection[str] | None = None,
    ) -> None:
        """Open the store and the search's parent run, which is created if needed.

        `texts` become its artifacts, and `datasets` its datasets. `read_provenance` returns the text of a file in the
        search's folder `provenance`, or None if there is none. `finished` has the ids of all finished trials and
        replicates: if the parent run is marked as sent with all of them, and no run of the search is deleted, their
        runs are not read.
        """
        self._uid = uid
        self._name = name
        self._sent: frozenset[str] | None = None
        """Ids of the runs that are complete in the store and were not read; None if all runs were read."""
        self._uncertain: set[str] = set()
        """Trials whose `create_run` call had no response: the run may exist."""
        opened = open_client(home)
        self._client = opened.client
        self._experiment = open_experiment(self._client, home)
        of_search = f"tags.`{SEARCH_UID}` = '{uid}'"
        runs = find_runs(self._client, self._experiment, f"{of_search} AND tags.kind = 'search'")
        is_sent = finished is not None and is_marked(runs, finished)
        if is_sent and not find_runs(self._client, self._experiment, of_search, ViewType.DELETED_ONLY):
            self._sent = frozenset(finished or ())
        if self._sent is None:
            runs = find_runs(self._client, self._experiment, of_search)
        children = [run for run in runs if run.data.tags.get("kind") in ("trial", "replicate")]
        parent = self._open_parent([run for run in runs if run.data.tags.get("kind") == "search"], children)
        self.search_run = SearchRun(self._client, self._experiment, parent)
        """Run of the search, the parent of all others."""
        self._provenance = ProvenanceFiles(self._client, self.search_run.run_id, read_provenance)
        self._runs = open_children(self._client, children, self.search_run.run_id)
        self._log_texts(texts)
        lost = None
        if self._sent is None:
            lost = describe_deleted(self._client, self._experiment, home, uid, existing=runs)
        again = f"{lost.cause}; they are written again; {lost.remedy}" if lost else ""
        self.notices: tuple[str, ...] = (*opened.notices, *([again] if again else []))
        """Lines for the user about the state of the store."""
        self._log_inputs(self.search_run.run_id, [] if has_datasets(parent) else search_inputs(datasets))

    def is_sent(self, trial_id: str) -> bool:
        """Return True if the run of a trial has ended with its record."""
        if trial_id in self._runs:
            return self._runs[trial_id].status in _STATUS.values()
        return trial_id in (self._sent or ())

    def is_current(self, trial_id: str) -> bool:
        """Return True if a trial is sent with all that this version writes: present names, datasets, record, place."""
        run = self._runs.get(trial_id)
        if run is None or not self.is_sent(trial_id):
            return False
        return run.has_record and run.has_place and not (run.is_outdated or run.lacks_datasets)

    @property
    def client(self) -> MlflowClient:
        """Client of the store."""
        return self._client

    @property
    def experiment(self) -> str:
        """Id of the experiment of all searches."""
        return self._experiment

    def run_id(self, trial_id: str) -> str:
        """Return the id of the run of a trial, which must be in the store."""
        if self._sent is not None and trial_id not in self._runs:
            self._find_children(trial_id)
        return self._runs[trial_id].run_id

    @property
    def running_trials(self) -> list[str]:
        """Ids of the trials whose runs have the status RUNNING."""
        return [trial_id for trial_id, run in self._runs.items() if run.status == "RUNNING"]

    def update_running(self, start: TrialStart, results: Iterable[Result] = ()) -> None:
        """Create or resume the run of a running trial, and write the results that it lacks."""
        self.search_run.set_status("RUNNING")
        run, results = self._open_run(start), list(results)
        if run.status == "KILLED":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        self._write(run, results, params=start_params(start), tags=running_tags(start, results[-1]) if results else ())

    def finish(self, record: Record) -> None:
        """Write the missing values of a finished trial, and end its run."""
        start = TrialStart(
            trial_id=record.trial_id,
            cell=record.cell,
            number=record.number,
            attempt=record.attempt,
            spec=record.spec,
            started=record.started,
            replicate=record.replicate,
        )
        run = self._open_run(start)
        if not run.has_record:
            self._client.log_text(run.run_id, record.model_dump_json(), RECORD)
        self._provenance.log(record)
        metrics, tags = final_metrics(record), [*final_tags(record), RunTag(HAS_RECORD, "true")]
        if run.is_outdated:
            metrics += replaced_metrics(record, timestamp=round(time.time() * 1000))
        self._write(run, record.curve, params=final_params(start, record), metrics=metrics, tags=tags)
        self._log_inputs(run.run_id, dataset_inputs(record))
        run.lacks_datasets, run.is_outdated, run.has_record, run.has_place = False, False, True, True
        self._end_run(run, _STATUS[record.state], round(record.finished * 1000))

    def mark_killed(self, trial_id: str, results: Iterable[Result] = ()) -> None:
        """Write the missing results of an unfinished trial, and end its run as KILLED until the trial is resumed."""
        self._write(self._runs[trial_id], results)
        self._end_run(self._runs[trial_id], "KILLED")

    def end_search(self, *, complete: bool, best: Record | None) -> None:
        """End the parent run as FINISHED if `complete`, else as KILLED. Child runs are not changed."""
        if best is not None and best.value is not None and best.trial_id != self.search_run.tags.get("best_trial"):
            self.search_run.write(tags={"best_trial": best.trial_id}, metrics=[best_metric(best)])
        self.search_run.set_status("FINISHED" if complete else "KILLED")

    def mark_sent(self, finished: Collection[str]) -> None:
        """Mark the run of the search: all finished trials and replicates, by their ids, are sent completely.

        It is first in the order of runs if every other run has its place.
        """
        placed = self._sent is None and all(run.has_place for run in self._runs.values() if run.status != "RUNNING")
        self.search_run.write(tags={SENT: sent_mark(finished), **({ORDER: ORDER_OF_SEARCH} if placed else {})})

    def _open_parent(self, runs: Sequence[Run], children: Sequence[Run]) -> Run:
        """Return the parent run, created if needed.

        A timed-out call may have created a second one: keep the run with most children and delete the others.
        """
        sizes = Counter(child.data.tags.get(PARENT) for child in children)
        by_size = sorted(runs, key=lambda run: (-sizes[run.info.run_id], run.info.start_time))
        for duplicate in by_size[1:]:
            self._client.delete_run(duplicate.info.run_id)
        if by_size:
            return by_size[0]
        tags = {**self._common_tags(), "kind": "search", **({} if children else {ORDER: ORDER_OF_SEARCH})}
        return self._client.create_run(self._experiment, tags=tags, run_name=self._name)

    def _log_texts(self, texts: dict[str, str]) -> None:
        digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()
        if digest != self.search_run.tags.get(_TEXTS):
            for file, text in texts.items():
                self._client.log_text(self.search_run.run_id, text, file)
            self.search_run.write(tags={_TEXTS: digest})

    def _open_run(self, start: TrialStart) -> TrialRun:
        trial_id = start.trial_id
        may_exist = self._sent is not None and (start.attempt > 1 or trial_id in self._sent)
        if trial_id in self._uncertain or (may_exist and trial_id not in self._runs):
            self._find_children(trial_id)
        if trial_id not in self._runs:
            self._uncertain.add(trial_id)
            tags = {
                **self._common_tags(),
                **start_tags(start),
                MLFLOW_RUN_NOTE: start_note(start, self._name, self.search_run.page),
                PARENT: self.search_run.run_id,
                TRIAL_ID: trial_id,
                "kind": "replicate" if start.replicate else "trial",
            }
            created = self._client.create_run(
                self._experiment, start_time=round(start.started * 1000), tags=tags, run_name=run_name(start)
            )
            self._runs[trial_id] = TrialRun(created.info.run_id, "RUNNING", steps=set())
        self._uncertain.discard(trial_id)
        return self._runs[trial_id]

    def _find_children(self, trial_id: str) -> None:
        condition = f"tags.`{TRIAL_ID}` = '{trial_id}' AND tags.`{PARENT}` = '{self.search_run.run_id}'"
        runs = find_runs(self._client, self._experiment, condition)
        self._runs |= open_children(self._client, runs, self.search_run.run_id)

    def _write(
        self,
        run: TrialRun,
        results: Iterable[Result],
        *,
        params: Sequence[Param] = (),
        metrics: Sequence[Metric] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Write the values that a run lacks, in few calls. A step that a later attempt repeats is not overwritten."""
        by_step = {result.step: result for result in results}
        steps, run.steps = run.steps, None  # after an error, the steps are read again: the call may have succeeded
        if steps is None and by_step:
            steps = {metric.step for metric in self._client.get_metric_history(run.run_id, CURVE[0])}
        missing = [result for step, result in by_step.items() if step not in (steps or ())]
        parts = [missing[i : i + RESULTS_PER_CALL] for i in range(0, len(missing), RESULTS_PER_CALL)] or [[]]
        for part in parts:
            is_last = part is parts[-1]
            self._client.log_batch(
                run.run_id,
                params=[param for param in params if param.key not in run.params],
                metrics=[*points(part), *(metrics if is_last else ())],
                tags=tags if is_last else (),
            )
            run.params |= {param.key for param in params}
        run.steps = None if steps is None else steps | by_step.keys()

    def _log_inputs(self, run_id: str, inputs: list[DatasetInput]) -> None:
        """Link images to a run, which a server older than MLflow 2.4 cannot do."""
        try:
            if inputs:
                self._client.log_inputs(run_id, inputs)
        except Exception as error:
            if not is_unsupported(error):
                raise
            self.notices = tuple(dict.fromkeys((*self.notices, _NO_DATASETS)))

    def _end_run(self, run: TrialRun, status: str, timestamp: int | None = None) -> None:
        self._client.set_terminated(run.run_id, status, timestamp)
        run.status = status

    def _common_tags(self) -> dict[str, str]:
        return {
            SEARCH_UID: self._uid,
            "search": self._name,
            "git_commit": git_commit(),
            "mlflow.source.name": "lkca-search",
            "mlflow.source.git.commit": git_commit(),
            "mlflow.user": getpass.getuser(),
        }
