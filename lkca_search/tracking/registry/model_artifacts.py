"""Download of a kept model from MLflow: its weights, their description and its test predictions, and nothing else."""

import posixpath
from pathlib import Path

from mlflow import MlflowClient, artifacts

from lkca_search.errors import UserError
from lkca_search.layout import MODEL, PREDICTIONS, WEIGHTS, Home
from lkca_search.records.model_description import MAX_DESCRIPTION_BYTES, read_description
from lkca_search.tracking.connection import set_client_variables, tracking_uri
from lkca_search.tracking.experiment import open_existing
from lkca_search.tracking.faults import describe_fault

_SCHEMES = ("models:/", "runs:/")
_MAX_PREDICTIONS_BYTES = 1 << 30


def is_mlflow_uri(text: str) -> bool:
    """Return True for `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/MODEL_ID`, `runs:/RUN_ID[/PATH]`."""
    return text.startswith(_SCHEMES)


def download_model(uri: str, to: Path, home: Home) -> Path:
    """Download a model into an existing folder, and return the folder.

    Raises:
        UserError: The store cannot be used, it has no such model, the model is not of this package, or its files are
            larger than it states.
    """
    set_client_variables()
    try:
        store = tracking_uri(home)
        source = _find_artifacts(open_existing(home), uri)
        listed = artifacts.list_artifacts(artifact_uri=source, tracking_uri=store)
        sizes = {posixpath.basename(file.path): file.file_size for file in listed if not file.is_dir}
        if missing := [name for name in (MODEL, WEIGHTS) if name not in sizes]:
            raise UserError(f"{uri} must be a model of lkca-search, got artifacts without {' and '.join(missing)}")

        def download(name: str, *, at_most: int) -> None:
            if (size := sizes[name] or 0) > at_most:
                raise UserError(f"{name} of {uri} must have at most {at_most:,} bytes, got {size:,}")
            path = artifacts.download_artifacts(artifact_uri=f"{source}/{name}", dst_path=str(to), tracking_uri=store)
            if Path(path) != to / name:
                Path(path).replace(to / name)

        download(MODEL, at_most=MAX_DESCRIPTION_BYTES)
        download(WEIGHTS, at_most=read_description(to).weights_bytes)
        if PREDICTIONS in sizes:
            download(PREDICTIONS, at_most=_MAX_PREDICTIONS_BYTES)
    except UserError:
        raise
    except Exception as error:  # any error of a store
        raise UserError(f"{uri} must be a model that MLflow can give: {describe_fault(error, home)}") from error
    return to


def _find_artifacts(client: MlflowClient, uri: str) -> str:
    """Return the URI of the artifacts of a model; for `runs:/RUN_ID`, of the model that the run has logged."""
    kind, _, rest = uri.rstrip("/").partition(":/")
    name, _, version = rest.partition("/")
    if kind == "runs":
        return uri.rstrip("/") if version else _model_of_run(client, rest)
    registered, at, alias = rest.partition("@")
    if at:
        return str(client.get_model_version_by_alias(registered, alias).source).rstrip("/")
    if version:
        return str(client.get_model_version(name, version).source).rstrip("/")
    return str(client.get_logged_model(rest).artifact_location).rstrip("/")


def _model_of_run(client: MlflowClient, run_id: str) -> str:
    outputs = client.get_run(run_id).outputs
    models = [output.model_id for output in outputs.model_outputs] if outputs else []
    if len(models) != 1:
        raise UserError(f"runs:/RUN_ID must be the run of one model, got {run_id} with {len(models)} models")
    return str(client.get_logged_model(models[0]).artifact_location).rstrip("/")
