"""Ids of the runs of a search's trials and replicates, for a report that names them."""

from collections.abc import Iterable, Sequence

from mlflow.entities import Run

from lkca_search.layout import Home
from lkca_search.records.search.mlflow_runs import MAX_RUNS, NO_RUNS, MlflowRuns
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.connection import tracking_uri, without_login
from lkca_search.tracking.experiment import find_experiment, is_not_made, open_client
from lkca_search.tracking.runs import TRIAL_ID, find_runs, find_runs_of


def read_run_ids(home: Home, uid: str, *, num_trials: int, listed: Sequence[str]) -> MlflowRuns:
    """Return the runs of a search of `num_trials` trials and replicates; any error of the store is raised.

    Of more than MAX_RUNS, only those of the trials and replicates with the ids `listed` are read.
    """
    if is_not_made(home):
        return NO_RUNS
    client = open_client(home).client
    experiment = find_experiment(client, home)
    if experiment is None:
        return NO_RUNS
    if num_trials <= MAX_RUNS:
        runs = find_runs_of(client, experiment, uid)
    else:
        condition = f"tags.`{SEARCH_UID}` = '{uid}' AND tags.`{TRIAL_ID}` = "
        runs = [run for trial_id in listed for run in find_runs(client, experiment, f"{condition}'{trial_id}'")]
    uri = tracking_uri(home)
    is_server = uri.startswith(("http://", "https://"))
    return MlflowRuns(
        experiment=experiment, server=without_login(uri).rstrip("/") if is_server else None, ids=_run_ids(runs)
    )


def _run_ids(runs: Iterable[Run]) -> dict[str, str]:
    """Return the run of each trial; of duplicates, that which ended and has most metrics, as `open_children` does."""
    ids: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: (run.info.status == "RUNNING", -len(run.data.metrics), run.info.run_id)):
        if trial_id := run.data.tags.get(TRIAL_ID):
            ids.setdefault(trial_id, run.info.run_id)
    return ids
