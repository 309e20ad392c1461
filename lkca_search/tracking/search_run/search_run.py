"""Run of a search in MLflow: parent of the runs of its trials, with the description of the search."""

import hashlib
import time
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from lkca_search.file_names import shorten_name
from lkca_search.spec.base import FrozenModel

EXPERIMENT_KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Tag of an experiment, and the value with which MLflow's page opens it with its runs, in the layout for training."""
REPORT = "lkca.report"
"""Tag of a search's run with the name of the report among its artifacts."""
_WRITTEN = "lkca.description"
"""Tag with the hash of the description that was written. If another one is there, a user has edited it."""
_MAX_PARAMS = 100
"""Parameters per `log_batch` call, of which MLflow accepts no more."""
_MAX_METRICS = 800
"""Metrics per call. With parameters and tags, they stay below MLflow's limit of 1000 items."""
_MAX_BYTES = 500
"""Longest value of a parameter in every version of MLflow's databases."""


class SearchContent(FrozenModel):
    """Content of the run of a search, for its readers."""

    description: str
    """Markdown of at most 5,000 characters."""
    parameters: Mapping[str, str]
    """Searched space by name. A parameter is written once: a space that is extended later keeps its first value."""
    metrics: Mapping[str, float]
    """Latest results by name; a prefix before `/` is the title of a group of charts."""


class SearchRun:
    """Run of a search. It writes only what the run lacks or has with another value."""

    def __init__(self, client: MlflowClient, experiment: str, run: Run) -> None:
        """Take a run as the store has returned it."""
        self.client = client
        self.experiment = experiment
        """Id of the experiment."""
        self.run_id = str(run.info.run_id)
        self.status = str(run.info.status)
        self._read(run)

    def _read(self, run: Run) -> None:
        self.tags = dict(run.data.tags)
        """Tags as far as this process has read or written them."""
        self._params = set(run.data.params)
        self._metrics = dict(run.data.metrics)

    @property
    def page(self) -> str:
        """Path and query of the run's page, in the layout for training."""
        return run_page(self.experiment, self.run_id)

    def has_metric(self, *names: str) -> bool:
        """Return True if the run has a metric of one of these names."""
        return not self._metrics.keys().isdisjoint(names)

    def set_status(self, status: str) -> None:
        """End the run, or resume it with the status RUNNING."""
        if status == self.status:
            return
        if status == "RUNNING":
            self.client.update_run(self.run_id, status=status)
        else:
            self.client.set_terminated(self.run_id, status)
        self.status = status

    def write(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Write tags and metrics that differ, and parameters that are absent, in one call, or in none."""
        new_tags = {name: text for name, text in (tags or {}).items() if self.tags.get(name) != text}
        new_metrics = [metric for metric in metrics if self._metrics.get(metric.key) != metric.value]
        new_params = {name: text for name, text in (params or {}).items() if name not in self._params}
        if not (new_tags or new_metrics or new_params):
            return
        written = [RunTag(name, text) for name, text in new_tags.items()]
        listed = [Param(name, text) for name, text in new_params.items()]
        self.client.log_batch(
            self.run_id, metrics=new_metrics[:_MAX_METRICS], params=listed[:_MAX_PARAMS], tags=written
        )
        for first in range(_MAX_PARAMS, len(listed), _MAX_PARAMS):
            self.client.log_batch(self.run_id, params=listed[first : first + _MAX_PARAMS])
        self.tags |= new_tags
        self._params |= new_params.keys()
        self._metrics |= {metric.key: metric.value for metric in new_metrics}

    def describe(self, content: SearchContent) -> None:
        """Write the content. A description that a user has edited in MLflow stays."""
        written = hashlib.sha256(content.description.encode()).hexdigest()
        if written != self.tags.get(_WRITTEN):
            self._read(self.client.get_run(self.run_id))  # a user may have edited it since the run was read
        note = self.tags.get(MLFLOW_RUN_NOTE)
        is_edited = note is not None and hashlib.sha256(note.encode()).hexdigest() != self.tags.get(_WRITTEN)
        now = round(time.time() * 1000)
        self.write(
            tags={} if is_edited else {MLFLOW_RUN_NOTE: content.description, _WRITTEN: written},
            metrics=[Metric(name, value, now, 0) for name, value in content.metrics.items()],
            params={name: shorten_name(text, max_bytes=_MAX_BYTES) for name, text in content.parameters.items()},
        )


def run_page(experiment: str, run_id: str) -> str:
    """Return the path and query of the page of a run.

    Without `workflowType`, MLflow's page opens a run in the layout for language models, unless the browser has stored
    another one.
    """
    return f"#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
