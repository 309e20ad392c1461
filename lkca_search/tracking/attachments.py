"""What is attached to a search's own run in MLflow after the fact: a report, and its key figures."""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Metric

from lkca_search.layout import Home
from lkca_search.tracking.mlflow_store import SEARCH_UID, experiment_name, tracking_uri


def attach(home: Home, uid: str, files: Mapping[str, bytes], metrics: Mapping[str, float]) -> str | None:
    """Attach files to a search's own run, and write metrics into it; return the run's id, or None if it has none yet.

    Disturbs no driver: nothing else of the run is touched. Raises whatever the store does.
    """
    client = MlflowClient(tracking_uri=tracking_uri(home))
    experiment = client.get_experiment_by_name(experiment_name())
    condition = f"tags.`{SEARCH_UID}` = '{uid}' AND tags.kind = 'search'"
    found = client.search_runs([experiment.experiment_id], condition) if experiment else []
    if not found:
        return None
    run_id = str(found[0].info.run_id)
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            client.log_artifact(run_id, str(path))
    timestamp = round(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, timestamp, 0) for name, value in metrics.items()])
    return run_id
