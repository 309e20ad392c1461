"""Logged models of a search: one per replicate, with its files, its metrics and the images that they were measured on.

Every write can be repeated. A logged model is found again by its tags, and it is ready when all of it is stored.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric

from lkca_search.records.record import Record
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.connection import is_default_store
from lkca_search.tracking.registry.confirmed_models import ConfirmedModel
from lkca_search.tracking.registry.package import write_package
from lkca_search.tracking.run_fields import Context, final_metrics, find_dataset, points
from lkca_search.tracking.runs import TRIAL_ID

SEAL = "lkca.seal"
"""Tag with the seal of the round of a model."""
WEIGHTS_SHA256 = "lkca.weights_sha256"
"""Tag with the hash of the weights of a model."""
_TYPE = "image-classifier"
_PAGE = 50


class LoggedModels:
    """Logged models of one search. Every method may raise an error of the store, and can then be called again."""

    def __init__(self, client: MlflowClient, experiment: str, *, uid: str) -> None:
        """Find the logged models of the search. Duplicates, which a lost response may leave, are deleted."""
        self._client = client
        self._experiment = experiment
        self._found: dict[tuple[str, str], LoggedModel] = {}
        for model in sorted(self._search(uid), key=lambda model: (not _is_ready(model), model.creation_timestamp)):
            key = model.tags.get(TRIAL_ID, ""), model.tags.get(WEIGHTS_SHA256, "")
            if key in self._found:
                client.delete_logged_model(model.model_id)
            else:
                self._found[key] = model

    def log(self, model: ConfirmedModel, *, run_id: str, tags: dict[str, str]) -> LoggedModel:
        """Return the logged model of a replicate, created and completed if needed; DamagedError for damaged weights."""
        if model.key not in self._found:
            configuration = model.record.spec.complete_configuration.model_dump(exclude_none=True)
            self._found[model.key] = self._client.create_logged_model(
                self._experiment,
                model.name,
                run_id,
                tags=tags,
                params={each: str(value) for each, value in configuration.items()},
                model_type=_TYPE,
            )
        logged = self._found[model.key]
        if not _is_ready(logged):
            self._upload(model, logged, run_id)
            self._client.log_batch(run_id, metrics=linked_metrics(model.record, logged.model_id))
            self._link(logged.model_id, run_id, step=model.record.curve[-1].step)
            ready = self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
            self._found[model.key] = logged = ready
        return logged

    def _search(self, uid: str) -> Iterator[LoggedModel]:
        condition, token = f"tags.`{SEARCH_UID}` = '{uid}'", None
        while True:
            page = self._client.search_logged_models([self._experiment], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _upload(self, model: ConfirmedModel, logged: LoggedModel, run_id: str) -> None:
        ids = {"model_id": logged.model_id, "run_id": run_id}
        if is_default_store() and logged.artifact_location.startswith("file://"):  # in the home, as the kept files
            target = Path(unquote(urlsplit(logged.artifact_location).path))
            target.mkdir(parents=True, exist_ok=True)
            write_package(model, target, **ids, links=True)
            return
        with TemporaryDirectory(prefix="lkca-model-") as folder:
            write_package(model, Path(folder), **ids)
            self._client.log_model_artifacts(logged.model_id, folder)

    def _link(self, model_id: str, run_id: str, *, step: int) -> None:
        """Make a model an output of its run; MLflow refuses to store the same link twice."""
        outputs = self._client.get_run(run_id).outputs
        if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
            self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])


def linked_metrics(record: Record, model_id: str) -> list[Metric]:
    """Return the last validation result and the test result of a replicate, linked to its model and their images.

    The run has the same values, so MLflow adds no point to its metrics.
    """
    last = record.curve[-1]
    validation = ("val_loss", "val_accuracy", *last.metrics)
    by_context: dict[Context, list[Metric]] = {
        "validation": [metric for metric in points([last]) if metric.key in validation],
        "test": [metric for metric in final_metrics(record) if metric.key.startswith("test_")],
    }
    return [_linked(metric, model_id, record, context) for context, metrics in by_context.items() for metric in metrics]


def _linked(metric: Metric, model_id: str, record: Record, context: Context) -> Metric:
    images = find_dataset(record, context)
    return Metric(
        metric.key,
        metric.value,
        metric.timestamp,
        metric.step,
        model_id=model_id,
        dataset_name=images.name if images else None,
        dataset_digest=images.digest if images else None,
    )


def _is_ready(model: LoggedModel) -> bool:
    return bool(model.status == LoggedModelStatus.READY)
