"""Download of a kept model from MLflow: its weights, their description and its test predictions, and nothing else."""

import os
import posixpath
from pathlib import Path

from mlflow import MlflowClient, artifacts

from lkca_search.errors import UserError
from lkca_search.layout import MODEL, PREDICTIONS, WEIGHTS, Home
from lkca_search.tracking.connection import tracking_uri
from lkca_search.tracking.experiment import open_client
from lkca_search.tracking.faults import describe_fault

_SCHEMES = ("models:/", "runs:/")
_FILES = (WEIGHTS, MODEL, PREDICTIONS)


def is_mlflow_uri(text: str) -> bool:
    """Return True for `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/MODEL_ID`, `runs:/RUN_ID[/PATH]`."""
    return text.startswith(_SCHEMES)


def download_model(uri: str, to: Path, home: Home) -> Path:
    """Download a model into an existing folder, and return the folder.

    Raises:
        UserError: The store cannot be used, it has no such model, or the model is not of this package.
    """
    try:
        client = open_client(home).client
        source = _model_of_run(client, uri)
        options = {"tracking_uri": tracking_uri(home), "registry_uri": os.environ.get("MLFLOW_REGISTRY_URI")}
        options["registry_uri"] = options["registry_uri"] or options["tracking_uri"]
        listed = artifacts.list_artifacts(artifact_uri=source, **options)
        found = {posixpath.basename(file.path) for file in listed if not file.is_dir}
        for name in found.intersection(_FILES):
            path = Path(artifacts.download_artifacts(artifact_uri=f"{source}/{name}", dst_path=str(to), **options))
            path.replace(to / name)
    except UserError:
        raise
    except Exception as error:  # any error of a store
        raise UserError(f"{uri} must be a model that MLflow can give: {describe_fault(error, home)}") from error
    if missing := [name for name in (MODEL, WEIGHTS) if name not in found]:
        raise UserError(f"{uri} must be a model of lkca-search, with {MODEL} and {WEIGHTS}, got none of {missing}")
    return to


def _model_of_run(client: MlflowClient, uri: str) -> str:
    """Return the URI of the model that a run has logged for `runs:/RUN_ID`, and any other URI unchanged."""
    run_id = uri.removeprefix("runs:/").rstrip("/")
    if not uri.startswith("runs:/") or "/" in run_id:
        return uri.rstrip("/")
    outputs = client.get_run(run_id).outputs
    models = [output.model_id for output in outputs.model_outputs] if outputs else []
    if len(models) != 1:
        raise UserError(f"runs:/RUN_ID must be the run of one model, got {run_id} with {len(models)} models")
    return f"models:/{models[0]}"
