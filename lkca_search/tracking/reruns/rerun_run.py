"""Run that a rerun leaves in an MLflow store. It has the kind `rerun`, so no search counts it as a trial."""

import getpass
from typing import Any

from mlflow.entities import Param, Run, RunTag

from lkca_search.environment.checkout import git_commit
from lkca_search.layout import Home
from lkca_search.records.rerun import Repeated, RerunRecord
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.experiment import open_client, open_experiment
from lkca_search.tracking.run_fields import RESULTS_PER_CALL, points
from lkca_search.tracking.runs import PARENT, TRIAL_ID, find_runs

KIND = "rerun"
RERUN_OF, RERUN_OF_RUN, RERUN_OF_SEARCH = "lkca.rerun_of", "lkca.rerun_of_run", "lkca.rerun_of_search"
"""Tags with the id of the repeated trial, its run, and the unique id of its search.

The id of the search is not in the tag of its own runs, by which a search finds what it has sent.
"""
_DIFFERENCES = "num_differences"


def log_rerun(home: Home, record: RerunRecord) -> str:
    """Log a rerun to the MLflow store, below the run of what it repeats, and return the id of its run.

    Any error of the store is raised.
    """
    client = open_client(home).client
    experiment = open_experiment(client, home)
    repeated = _find_repeated(client, experiment, record.repeats)
    if repeated is not None:
        experiment = repeated.info.experiment_id
    outcome = record.outcome
    tags = {
        "kind": KIND,
        "search": record.repeats.search,
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "dataset": record.spec.dataset,
        "git_commit": record.facts.provenance.git_commit,
        "mlflow.source.name": "lkca-search",
        "mlflow.source.git.commit": git_commit(),
        "mlflow.user": getpass.getuser(),
        RERUN_OF: record.repeats.trial_id,
    }
    if record.repeats.uid is not None:
        tags[RERUN_OF_SEARCH] = record.repeats.uid
    if repeated is not None:
        tags |= {RERUN_OF_RUN: repeated.info.run_id, PARENT: repeated.info.run_id}
    name = repeated.info.run_name if repeated is not None else record.repeats.trial_id
    run = client.create_run(
        experiment, start_time=round(record.started * 1000), tags=tags, run_name=f"rerun of {name}"[:250]
    )
    run_id = str(run.info.run_id)
    client.log_text(run_id, record.model_dump_json(), "rerun.json")
    client.log_batch(run_id, params=_params(record), tags=[RunTag(_DIFFERENCES, str(len(outcome.changes)))])
    for first in range(0, len(record.curve), RESULTS_PER_CALL):
        client.log_batch(run_id, metrics=points(record.curve[first : first + RESULTS_PER_CALL]))
    status = "FAILED" if outcome.error else "FINISHED"
    client.set_terminated(run_id, status, round(record.finished * 1000))
    return run_id


def _params(record: RerunRecord) -> list[Param]:
    values: dict[str, Any] = record.spec.complete_configuration.model_dump(exclude_none=True)
    return [Param(name, str(value)) for name, value in {**values, "seed": record.spec.seed}.items()]


def _find_repeated(client: Any, experiment: str, repeats: Repeated) -> Run | None:
    """Return the run of the repeated trial; None if the store has none."""
    if repeats.mlflow_run is not None:
        return client.get_run(repeats.mlflow_run)
    if repeats.uid is None:
        return None
    runs = find_runs(client, experiment, f"tags.`{SEARCH_UID}` = '{repeats.uid}'")
    return next((run for run in runs if run.data.tags.get(TRIAL_ID) == repeats.trial_id), None)
