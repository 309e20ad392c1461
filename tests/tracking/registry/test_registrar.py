"""Confirmed models are registered once, completely, and in a way that any interruption leaves repeatable."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from lkca_search.layout import MODEL, WEIGHTS, Home, SearchFolder
from lkca_search.paths import sqlite_url
from lkca_search.records.model_description import model_folder
from lkca_search.tracking.registry.package import example_image
from tests.support.tracking.confirmed import NAMES, make_confirmed, read_registry, summarize, sync, write_search

RESULTS = make_confirmed(draws=1)
IDS = {record.trial_id for record in RESULTS.replicates}


def uri_of(folder: SearchFolder) -> str:
    return sqlite_url(folder.home.mlflow_database)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """Return a search whose models are registered."""
    folder = write_search(tmp_path_factory.mktemp("home"), RESULTS)
    result = sync(folder)
    assert (result.fault, result.num_missing) == (None, 0)
    return folder


def test_each_replicate_is_one_logged_model_and_one_version_with_its_files(registered: SearchFolder) -> None:
    registry = read_registry(uri_of(registered))
    assert len(registry.logged) == len(registry.versions) == len(IDS) == 2
    for trial_id in IDS:
        logged, version = registry.find(trial_id)
        assert (str(logged.status), version.status, version.name) == ("READY", "READY", "made")
        client = MlflowClient(tracking_uri=uri_of(registered))
        names = {file.path for file in client.list_logged_model_artifacts(logged.model_id)}
        mlflows = {"MLmodel", "input_example.json", "serving_input_example.json", "requirements.txt", "python_env.yaml"}
        assert names == {WEIGHTS, MODEL, *mlflows}
        assert version.source == logged.artifact_location
        (record,) = (record for record in RESULTS.replicates if record.trial_id == trial_id)
        stored = Path(logged.artifact_location.removeprefix("file://")) / WEIGHTS
        assert stored.samefile(model_folder(registered, record) / WEIGHTS), "the weights take no space twice"
        assert version.run_id == logged.source_run_id
        run = client.get_run(version.run_id)
        assert run.data.tags["lkca.trial_id"] == trial_id
        assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]


def test_a_model_has_a_signature_an_example_and_a_loader_and_nothing_is_pickled(registered: SearchFolder) -> None:
    logged, _ = read_registry(uri_of(registered)).find(sorted(IDS)[0])
    folder = logged.artifact_location.removeprefix("file://")
    described = Model.load(folder)
    assert str(described.signature.inputs) == "[Tensor('uint8', (-1, 8, 8, 1))]"
    assert str(described.signature.outputs) == "[Tensor('float32', (-1, 3))]"
    example = described.load_input_example(folder)
    assert example.shape == (1, 8, 8, 1)
    assert example[0].tolist() == example_image(8, 8, 1)
    assert described.flavors["python_function"]["loader_module"] == "lkca_search.inference.served_model"
    assert described.flavors.keys() == {"python_function", "lkca_search"}
    assert "pickle" not in described.to_yaml()
    assert "code" not in described.flavors["python_function"]


def test_metrics_of_a_model_are_linked_to_the_images_that_they_were_measured_on(registered: SearchFolder) -> None:
    record = RESULTS.replicates[0]
    assert record.test is not None
    logged, version = read_registry(uri_of(registered)).find(record.trial_id)
    found = {metric.key: metric for metric in logged.metrics}
    assert found["test_accuracy"].value == record.test.accuracy
    assert found["val_accuracy"].value == record.curve[-1].val_accuracy
    client = MlflowClient(tracking_uri=uri_of(registered))
    inputs = {each.tags[0].value: each.dataset for each in client.get_run(version.run_id).inputs.dataset_inputs}
    assert found["test_accuracy"].dataset_digest == inputs["test"].digest
    assert found["val_loss"].dataset_digest == inputs["validation"].digest
    assert len(client.get_metric_history(version.run_id, "test_accuracy")) == 1
    assert len(client.get_metric_history(version.run_id, "val_accuracy")) == len(record.curve)


def test_each_cell_has_an_alias_and_the_search_a_champion_and_a_card(registered: SearchFolder) -> None:
    (model,) = read_registry(uri_of(registered)).registered
    assert model.name == "made"
    assert model.aliases.keys() == {*NAMES, "champion"}
    assert model.description.startswith("# made")
    client = MlflowClient(tracking_uri=uri_of(registered))
    for alias in NAMES:
        version = client.get_model_version_by_alias("made", alias)
        assert alias.replace("_", ".") == "-".join(part.partition("=")[2] for part in version.tags["cell"].split(","))
    champion = client.get_model_version_by_alias("made", "champion")
    assert champion.tags["lkca.seal"] == RESULTS.rounds[-1].seal
    assert champion.description.startswith(f"Replicate `{champion.tags['lkca.trial_id']}`")


def test_a_repeated_registration_changes_nothing_and_keeps_what_a_user_did(registered: SearchFolder) -> None:
    client = MlflowClient(tracking_uri=uri_of(registered))
    client.update_registered_model("made", "my own words")
    client.delete_model_version("made", "2")
    before = summarize(read_registry(uri_of(registered)))
    lines: list[str] = []
    assert sync(registered, lines.append).fault is None
    assert summarize(read_registry(uri_of(registered))) == before
    assert lines == []


def test_a_registered_model_that_a_user_has_deleted_stays_deleted_until_it_is_registered_again(tmp_path: Path) -> None:
    folder = write_search(tmp_path, RESULTS)
    sync(folder)
    client = MlflowClient(tracking_uri=uri_of(folder))
    before = summarize(read_registry(uri_of(folder)))
    client.delete_registered_model("made")
    lines: list[str] = []
    assert sync(folder, lines.append).fault is None
    assert read_registry(uri_of(folder)).registered == []
    assert [line for line in lines if line.endswith("lkca-search sync made --register")] == lines
    assert sync(folder, again=True).fault is None
    assert summarize(read_registry(uri_of(folder))) == before


def test_a_registered_model_that_a_user_has_renamed_keeps_its_name(tmp_path: Path) -> None:
    folder = write_search(tmp_path, RESULTS)
    sync(folder)
    MlflowClient(tracking_uri=uri_of(folder)).rename_registered_model("made", "mine")
    for again in (False, True):
        assert sync(folder, again=again).fault is None
        registry = read_registry(uri_of(folder))
        assert [model.name for model in registry.registered] == ["mine"]
        assert len(registry.versions) == len(IDS)


def test_a_complete_round_is_registered_and_an_unfinished_one_waits(tmp_path: Path) -> None:
    unfinished = replace(RESULTS, replicates=RESULTS.replicates[1:])
    folder = write_search(tmp_path, unfinished)
    assert sync(folder).fault is None
    assert read_registry(uri_of(folder)).logged == []
    write_search(tmp_path, RESULTS)
    assert sync(folder).fault is None
    assert len(read_registry(uri_of(folder)).versions) == len(IDS)


def test_a_later_round_adds_its_models_and_moves_the_aliases(tmp_path: Path) -> None:
    folder = write_search(tmp_path, RESULTS)
    sync(folder)
    first = read_registry(uri_of(folder))
    sealed = RESULTS.rounds[0].model_copy(update={"number": 2, "draws": (7,)}).sealed()
    later = []
    for record in RESULTS.replicates:
        assert record.replicate is not None
        replicate = record.replicate.model_copy(update={"draw": 7})
        later.append(record.model_copy(update={"trial_id": replicate.replicate_id, "replicate": replicate}))
    write_search(tmp_path, replace(RESULTS, replicates=[*RESULTS.replicates, *later], rounds=[*RESULTS.rounds, sealed]))
    assert sync(folder).fault is None
    second = read_registry(uri_of(folder))
    assert len(second.versions) == 2 * len(first.versions)
    champion = MlflowClient(tracking_uri=uri_of(folder)).get_model_version_by_alias("made", "champion")
    assert champion.tags["lkca.seal"] == sealed.seal


def test_a_model_without_weights_is_no_model_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    second = RESULTS.replicates[1]
    folder = write_search(tmp_path, RESULTS, keep={second.trial_id})
    damaged = model_folder(folder, second) / WEIGHTS
    content = damaged.read_bytes()
    damaged.write_bytes(content[::-1])
    lines: list[str] = []
    assert sync(folder, lines.append).fault is None
    assert [line for line in lines if str(damaged) in line]
    assert read_registry(uri_of(folder)).versions == []
    damaged.write_bytes(content)
    assert sync(folder, lines.append).fault is None
    registry = read_registry(uri_of(folder))
    assert [version.tags["lkca.trial_id"] for version in registry.versions] == [second.trial_id]


def test_a_search_that_keeps_no_weights_registers_nothing(tmp_path: Path) -> None:
    folder = write_search(tmp_path, RESULTS, keep=())
    lines: list[str] = []
    assert sync(folder, lines.append).fault is None
    assert read_registry(uri_of(folder)).registered == []
    assert lines == []


def test_the_name_of_another_search_or_program_is_not_taken(tmp_path: Path) -> None:
    folder = write_search(tmp_path, RESULTS)
    MlflowClient(tracking_uri=uri_of(folder)).create_registered_model("made", description="mine")
    sync(folder)
    mine, ours = sorted(read_registry(uri_of(folder)).registered, key=lambda model: model.name)
    assert (mine.name, mine.description, mine.aliases) == ("made", "mine", {})
    assert ours.name == f"made-{folder.uid.read_text()[:8]}"
    assert f"models:/{ours.name}@champion" in ours.description


def test_a_moved_home_still_finds_its_models(tmp_path: Path) -> None:
    folder = write_search(tmp_path / "one", RESULTS)
    sync(folder)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = Home(root=tmp_path / "two").search("made")
    assert sync(moved).fault is None
    logged, version = read_registry(uri_of(moved)).find(RESULTS.replicates[0].trial_id)
    for location in (logged.artifact_location, version.source):
        assert (Path(location.removeprefix("file://")) / "MLmodel").is_file()
    client = MlflowClient(tracking_uri=uri_of(moved))
    assert client.get_model_version_download_uri("made", version.version) == logged.artifact_location
