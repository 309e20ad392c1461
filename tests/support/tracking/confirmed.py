"""Confirmed searches on disk whose replicates have kept models, and the registry of an MLflow store."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

from lkca_search.analysis.search_results import SearchResults
from lkca_search.layout import MODEL, WEIGHTS, Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.model_description import ModelDescription, Normalization, model_folder
from lkca_search.records.record import Record, RecordReader
from lkca_search.records.rounds import round_file
from lkca_search.search.description import describe_search
from lkca_search.search.registration import register_confirmed
from lkca_search.search.sync import open_store
from lkca_search.tracking.mlflow_tracker import SyncResult, send_missing
from tests.support.records import PROVENANCE
from tests.support.search_results import law, make_search_results
from tests.support.tracking.database import copy_fresh_database

NAMES = ("lkca-0_1", "vit-0_1")
"""Aliases of the cells."""


def make_confirmed(*, draws: int) -> SearchResults:
    """Return a confirmed search with two cells and one replicate per cell and draw."""
    return make_search_results(law(), fractions=(0.1,), draws=draws, seeds=1, trials=2)


def write_search(
    root: Path, results: SearchResults, *, name: str = "made", keep: Collection[str] | None = None
) -> SearchFolder:
    """Write a search into a home whose MLflow database is fresh; `keep` are the replicates with models, or all."""
    if not (root / "mlflow.db").exists():
        copy_fresh_database(root / "mlflow.db")
    folder = Home(root=root).search(name)
    write_atomically(folder.spec, results.spec.model_dump_json(by_alias=True).encode())
    write_atomically(folder.uid, hashlib.md5(name.encode()).hexdigest().encode())
    for record in (*results.trials, *results.replicates):
        write_atomically(model_folder(folder, record) / "record.json", record.model_dump_json().encode())
    for record in results.replicates:
        if keep is None or record.trial_id in keep:
            keep_model(folder, record)
    for sealed in results.rounds:
        write_atomically(folder.rounds / round_file(sealed.number), sealed.model_dump_json(indent=1).encode())
    return folder


def keep_model(folder: SearchFolder, record: Record) -> ModelDescription:
    """Write a kept model beside a record. Its weights are some bytes, which MLflow does not read."""
    assert record.replicate is not None
    assert record.facts is not None
    weights = record.trial_id.encode()
    description = ModelDescription(
        search=folder.name,
        uid=folder.uid.read_text(),
        cell=record.cell,
        trial_id=record.trial_id,
        round=1,
        draw=record.replicate.draw,
        seed=record.replicate.seed,
        configuration=record.spec.complete_configuration,
        dataset=record.spec.dataset,
        image_shape=(8, 8, 1),
        num_classes=3,
        class_names=("a", "b", "c"),
        normalization=Normalization(mean=(0.5,), std=(0.25,)),
        num_train_images=record.facts.num_train_images,
        num_parameters=record.facts.num_parameters,
        data_hash=record.facts.data_hash,
        subset_hash=record.facts.subset_hash,
        metrics={},
        precision="float32",
        provenance=PROVENANCE,
        packages={"torch": "2.14.0"},
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        weights_bytes=len(weights),
    )
    write_atomically(model_folder(folder, record) / WEIGHTS, weights)
    write_atomically(model_folder(folder, record) / MODEL, description.model_dump_json().encode())
    return description


def sync(
    folder: SearchFolder,
    notify: Callable[[str], None] = lambda _: None,
    *,
    again: bool = False,
    describe: bool = False,
) -> SyncResult:
    """Send everything to MLflow as the command does, without the lease; `describe` describes the search, too."""
    return send_missing(
        lambda: open_store(folder, folder.home),
        folder,
        complete=True,
        best=None,
        patience_seconds=30,
        pause_seconds=0.1,
        notify=notify,
        register=lambda store: register_confirmed(store, folder, again=again),
        describe=partial(describe_search, folder, RecordReader(folder)) if describe else None,
    )


@dataclass
class Registry:
    """All models in a store."""

    registered: list[RegisteredModel]
    logged: list[LoggedModel]
    versions: list[ModelVersion]

    def find(self, trial_id: str) -> tuple[LoggedModel, ModelVersion]:
        """Return the only logged model and the only version of a replicate."""
        (logged,) = (each for each in self.logged if each.tags["lkca.trial_id"] == trial_id)
        (version,) = (each for each in self.versions if each.tags["lkca.trial_id"] == trial_id)
        return logged, version


def read_registry(uri: str) -> Registry:
    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return Registry(
        registered=list(client.search_registered_models()),
        logged=list(client.search_logged_models(experiments, max_results=100)),
        versions=[client.get_model_version(each.name, each.version) for each in client.search_model_versions()],
    )


def summarize(registry: Registry) -> object:
    """Return what a registry holds, without ids and times."""
    return (
        sorted(
            (each.name, each.description, sorted(each.tags.items()), sorted(each.aliases))
            for each in registry.registered
        ),
        sorted(
            (each.name, str(each.status), sorted((m.key, m.value, m.dataset_name) for m in each.metrics))
            for each in registry.logged
        ),
        sorted((each.name, each.tags["lkca.trial_id"], each.description) for each in registry.versions),
    )
