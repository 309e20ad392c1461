"""Runs of a search in an MLflow store: found by their tags, listed on a page, with the report attached."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlencode

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, ViewType

from lkca_search.layout import Home
from lkca_search.records.provenance import environment_files
from lkca_search.records.record import Record
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.spec.metrics import Direction
from lkca_search.tracking.connection import mlflow_command
from lkca_search.tracking.experiment import find_experiment, is_not_made, open_client
from lkca_search.tracking.faults import Fault
from lkca_search.tracking.run_fields import is_outdated
from lkca_search.tracking.search_run.describer import Describe
from lkca_search.tracking.search_run.order import ORDER
from lkca_search.tracking.search_run.search_run import REPORT, SearchRun

TRIAL_ID = "lkca.trial_id"
"""Tag with the id of the trial; the search's own run has none."""
PARENT = "mlflow.parentRunId"
"""Tag with the id of the search's run, of which MLflow shows the trials as children."""
SENT = "lkca.sent"
"""Tag of a search's run that ended with all trials sent: their number and a hash of their ids."""
HAS_RECORD = "lkca.record"
"""Tag of a run that has the artifact with the record."""
RECORD = "record.json"
"""Artifact of a trial's run: its record, with which `rerun` repeats the trial."""
PROVENANCE = "provenance"
"""Folder of artifacts of a search's run: package versions, and differences from the commit, by their hashes."""
_PAGE = 1000
"""Runs per search request."""
_MAX_NAMES = 5
"""Deleted runs that a line names."""


@dataclass
class TrialRun:
    """Cached state of the run of a search, trial or replicate."""

    run_id: str
    status: str
    params: frozenset[str] = frozenset()
    """Names of the parameters that are written. MLflow refuses another value."""
    steps: set[int] | None = None
    """Steps whose results are written; None if they have to be read from the store."""
    is_outdated: bool = False
    """True if its metrics have the names of an earlier version."""
    lacks_datasets: bool = False
    """True if it should have datasets and an earlier version wrote none."""
    has_record: bool = False
    """True if the record is among its artifacts."""
    has_place: bool = True
    """True if it has its place in the order of runs, which earlier versions did not write."""


def find_runs(client: MlflowClient, experiment: str, condition: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Return all runs of an experiment that match a condition."""
    runs: dict[str, Run] = {}  # pages overlap if a run is created between two requests
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], condition, view, _PAGE, page_token=token or None)
        runs |= {run.info.run_id: run for run in page}
        token = page.token or None
    return list(runs.values())


def open_children(client: MlflowClient, children: Sequence[Run], parent: str) -> dict[str, TrialRun]:
    """Return the state of the runs of trials by the id of the trial; make them children of the parent, each once."""
    runs: dict[str, TrialRun] = {}
    for run in sorted(children, key=lambda run: (run.info.status == "RUNNING", -len(run.data.metrics))):
        if run.data.tags[TRIAL_ID] in runs:  # duplicate from a timed-out call
            client.delete_run(run.info.run_id)
            continue
        if run.data.tags.get(PARENT) != parent:
            client.set_tag(run.info.run_id, PARENT, parent)
        found = TrialRun(run.info.run_id, run.info.status, frozenset(run.data.params))
        found.is_outdated = is_outdated(run.data.metrics)
        found.lacks_datasets = "data_hash" in run.data.tags and not has_datasets(run)
        found.has_record, found.has_place = HAS_RECORD in run.data.tags, ORDER in run.data.tags
        runs[run.data.tags[TRIAL_ID]] = found
    return runs


def has_datasets(run: Run) -> bool:
    """Return True if images are linked to a run."""
    return bool(run.inputs and run.inputs.dataset_inputs)


def sent_mark(finished: Collection[str]) -> str:
    """Return the value of the tag SENT for the ids of all finished trials and replicates."""
    return f"{len(finished)} {hashlib.sha256(' '.join(sorted(finished)).encode()).hexdigest()}"


def is_marked(parents: Sequence[Run], finished: Collection[str]) -> bool:
    """Return True if a search's one run has ended, and is marked as sent with these trials and replicates."""
    if len(parents) != 1 or parents[0].info.status == "RUNNING":  # a driver may have died
        return False
    return bool(parents[0].data.tags.get(SENT) == sent_mark(finished))


def find_runs_of(client: MlflowClient, experiment: str, uid: str) -> list[Run]:
    """Return all runs of a search, its own run last."""
    runs = find_runs(client, experiment, f"tags.`{SEARCH_UID}` = '{uid}'")
    return sorted(runs, key=lambda run: run.data.tags.get("kind") == "search")


def rename_runs(client: MlflowClient, runs: Iterable[Run], name: str) -> None:
    """Give the runs of a search its new name, the search's own run last. Runs that have it are not changed.

    A name that a user has given to the search's own run stays.
    """
    for run in sorted(runs, key=lambda run: run.data.tags.get("kind") == "search"):
        if (old := run.data.tags.get("search")) == name:
            continue
        if run.data.tags.get("kind") == "search" and run.info.run_name == old:
            client.update_run(run.info.run_id, name=name)
        client.set_tag(run.info.run_id, "search", name)


def describe_deleted(
    client: MlflowClient, experiment: str, home: Home, uid: str, *, existing: Iterable[Run]
) -> Fault | None:
    """Return the deleted runs of a search and the command that restores them, or None if there are none.

    A deleted duplicate of an existing run does not count.
    """
    present = {run.data.tags.get(TRIAL_ID) for run in existing}
    deleted = [
        run
        for run in find_runs(client, experiment, f"tags.`{SEARCH_UID}` = '{uid}'", ViewType.DELETED_ONLY)
        if run.data.tags.get(TRIAL_ID) not in present
    ]
    if not deleted:
        return None
    names = ", ".join(run.info.run_name for run in deleted[:_MAX_NAMES])
    restore = mlflow_command(home, f"runs restore --run-id {deleted[0].info.run_id}")
    others = ", likewise the others" if len(deleted) > 1 else ""
    cause = f"runs of this search that were deleted in MLflow: {len(deleted)} ({names})"
    return Fault(cause, f"to bring back the deleted ones: {restore}{others}")


def runs_page(
    client: MlflowClient,
    home: Home,
    search: str | None = None,
    metric: str = "val_accuracy",
    *,
    direction: Direction = "maximize",
) -> str:
    """Return the path and query of the page that lists the runs of one or all searches, best by a metric first.

    Returns an empty string if there is no experiment yet.

    Raises:
        StoreError: The experiment was deleted.
    """
    experiment = find_experiment(client, home)
    if experiment is None:
        return ""
    ascending = str(direction == "minimize").lower()
    query = {
        "workflowType": "machine_learning",
        "orderByKey": f"metrics.`{metric}`",  # the last value, by which trials are compared
        "orderByAsc": ascending,
    }
    if search is not None:
        query["searchFilter"] = f"tags.search = '{search}'"
    return f"#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def describe_missing(client: MlflowClient, home: Home, uid: str) -> Fault | None:
    """Return the runs of a search that the page does not show since they were deleted, or None if there are none."""
    experiment = find_experiment(client, home)
    if experiment is None:
        return None
    existing = find_runs(client, experiment, f"tags.`{SEARCH_UID}` = '{uid}'")
    return describe_deleted(client, experiment, home, uid, existing=existing)


def attach_report(
    home: Home,
    uid: str,
    name: str,
    page: bytes,
    metrics: Mapping[str, float],
    describe: Describe | None = None,
    *,
    former: Mapping[str, float] | None = None,
) -> str | None:
    """Attach a report and metrics to the run of a search, and describe the search again. The search may be running.

    A run that has `former` metrics, of an earlier version, gets these in place of `metrics`: a name keeps its meaning.

    Returns the run's id, or None if the store has no run of the search. Raises any error of the store.
    """
    if is_not_made(home):
        return None
    client = open_client(home).client
    found = find_search_run(client, home, uid)
    if found is None:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(page)
        client.log_artifact(found.run_id, str(path))
    timestamp = round(time.time() * 1000)
    chosen = former if former and found.has_metric(*former) else metrics
    found.write(tags={REPORT: name}, metrics=[Metric(metric, value, timestamp, 0) for metric, value in chosen.items()])
    if describe is not None:
        found.describe(describe(found))
    return found.run_id


def find_search_run(client: MlflowClient, home: Home, uid: str) -> SearchRun | None:
    """Return the run of a search; None if the store has none. StoreError if the experiment was deleted."""
    experiment = find_experiment(client, home)
    condition = f"tags.`{SEARCH_UID}` = '{uid}' AND tags.kind = 'search'"
    runs = find_runs(client, experiment, condition) if experiment else []
    return SearchRun(client, experiment or "", runs[0]) if runs else None


class ProvenanceFiles:
    """Files of provenance among the artifacts of a search's run; each is logged once."""

    def __init__(self, client: MlflowClient, run_id: str, read: Callable[[str], str | None]) -> None:
        """Log to a run; `read` returns the text of a file of the search by its name, or None if there is none."""
        self._client = client
        self._run_id = run_id
        self._read = read
        self._logged: set[str] | None = None
        """Names of the logged files; None if they have to be read from the store."""

    def log(self, record: Record) -> None:
        """Log the files that the provenance of a record names, unless they are there."""
        names = environment_files(record.facts.provenance) if record.facts else []
        if names and self._logged is None:
            paths = [file.path for file in self._client.list_artifacts(self._run_id, PROVENANCE)]
            self._logged = {path.rpartition("/")[2] for path in paths}
        for name in names:
            if name not in (self._logged or ()) and (text := self._read(name)) is not None:
                self._client.log_text(self._run_id, text, f"{PROVENANCE}/{name}")
                self._logged = {*(self._logged or ()), name}
