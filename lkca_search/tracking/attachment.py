"""Files and metrics of a report, attached to the run of its search."""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import Metric

from lkca_search.layout import Home
from lkca_search.tracking.experiment import find_experiment, open_client
from lkca_search.tracking.runs import SEARCH_UID, find_runs


def attach_to_search_run(home: Home, uid: str, files: Mapping[str, bytes], metrics: Mapping[str, float]) -> str | None:
    """Attach files and metrics to a search's parent run. The search may be running.

    Returns the run's id, or None if the store has no run of the search. Raises any error of the store.
    """
    client = open_client(home).client
    experiment = find_experiment(client, home)
    condition = f"tags.`{SEARCH_UID}` = '{uid}' AND tags.kind = 'search'"
    runs = find_runs(client, experiment, condition) if experiment else []
    if not runs:
        return None
    run_id = str(runs[0].info.run_id)
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            client.log_artifact(run_id, str(path))
    timestamp = round(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, timestamp, 0) for name, value in metrics.items()])
    return run_id
