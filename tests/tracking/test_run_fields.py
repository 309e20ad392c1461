"""Tags and datasets of a finished trial's run in MLflow."""

import json
import re
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import DatasetInput

from lkca_search.records.record import Record, State, TestResult
from lkca_search.spec.configuration import Configuration, Scalar
from lkca_search.tracking.run_fields import dataset_inputs, final_params, final_tags
from lkca_search.tracking.tracker import TrialStart
from tests.support.records import make_record


def test_tags_state_the_precision_and_the_compilation_that_were_used() -> None:
    record = make_record()
    assert record.facts is not None
    facts = record.facts.model_copy(update={"used_precision": "bfloat16", "compiled": True})
    tags = {tag.key: tag.value for tag in final_tags(record.model_copy(update={"facts": facts}))}
    assert (tags["used_precision"], tags["compiled"], tags["device"]) == ("bfloat16", "True", "cpu")
    old = {tag.key: tag.value for tag in final_tags(record)}  # records of earlier versions do not state them
    assert (old["used_precision"], old["compiled"]) == ("float32", "False")


def by_context(record: Record) -> dict[str, DatasetInput]:
    return {each.tags[0].value: each for each in dataset_inputs(record)}


def with_test(record: Record) -> Record:
    result = TestResult(num_images=50, data_hash="a" * 64, loss=1.0, accuracy=0.5)
    return record.model_copy(update={"test": result})


def recipe_names() -> set[str]:
    """Return the names in the tables of the page about recipes."""
    rows = [line.split("|")[1] for line in Path("docs/recipe.md").read_text().splitlines() if line.startswith("| `")]
    return {name for cell in rows for name in re.findall(r"`(\w+)`", cell) if name in Configuration.model_fields}


def params_of(**values: Scalar) -> dict[str, str]:
    record = make_record()
    configuration = Configuration.model_validate({"family": "lkca", "dropout": 0.0, **values})
    record = record.model_copy(update={"spec": record.spec.model_copy(update={"configuration": configuration})})
    start = TrialStart.model_validate({name: getattr(record, name) for name in TrialStart.model_fields})
    return {param.key: param.value for param in final_params(start, record)}


def test_a_run_has_a_parameter_per_name_of_the_recipe_and_the_length_and_end_of_its_training() -> None:
    names = recipe_names()
    assert {"optimizer", "batch_size", "augment", "ema_decay", "precision"} < names
    found = params_of()
    lengths = {"epochs", "steps", "samples"}
    assert names - found.keys() == {"momentum", "final_lr_fraction", *lengths} - found.keys()
    assert len(lengths & found.keys()) == 1
    assert (found["planned_steps"], found["final_learning_rate"]) == ("20", "1e-06")
    sgd = params_of(optimizer="sgd", schedule="linear", final_lr_fraction=0.1, learning_rate=0.5)
    assert (sgd["momentum"], sgd["final_lr_fraction"], sgd["final_learning_rate"]) == ("0.9", "0.1", "0.05")
    assert params_of(schedule="constant", learning_rate=0.5)["final_learning_rate"] == "0.5"
    assert params_of(learning_rate=1e-7)["final_learning_rate"] == "1e-07", "the rate never rises at the end"


def test_a_trial_has_training_and_validation_images_and_a_replicate_test_images() -> None:
    record = make_record()
    assert record.facts is not None
    assert list(by_context(record)) == ["train", "validation"]
    found = by_context(with_test(record))
    assert list(found) == ["train", "validation", "test"]
    counts = [json.loads(each.dataset.profile)["num_images"] for each in found.values()]
    assert counts == [record.facts.num_train_images, record.facts.num_validation_images, 50]
    assert dataset_inputs(record.model_copy(update={"facts": None, "state": State.FAIL})) == []


def test_equal_digests_of_datasets_mean_equal_images() -> None:
    record = make_record()
    assert record.facts is not None
    digests = {each.dataset.digest for each in dataset_inputs(with_test(record))}
    assert len(digests) == 3
    assert max(map(len, digests)) <= 36
    again = record.model_copy(update={"trial_id": "lkca/7", "number": 7})
    assert by_context(again)["train"].dataset == by_context(record)["train"].dataset
    drawn = record.facts.model_copy(update={"subset_hash": "b" * 64})
    other = by_context(record.model_copy(update={"facts": drawn}))
    assert other["train"].dataset.digest not in digests
    assert other["validation"].dataset.digest in digests


@pytest.mark.parametrize(
    ("place", "name", "source"),
    [
        ("cifar10", "cifar10", {"tags": {"mlflow.source.name": "lkca-search", "dataset": "cifar10"}}),
        ("folder:/data/birds/", "birds", {"uri": "/data/birds"}),
        ("parquet:/data/a b", "a b", {"uri": "/data/a b"}),
        (
            "my_package.Birds",
            "my_package.Birds",
            {"tags": {"mlflow.source.name": "lkca-search", "dataset": "my_package.Birds"}},
        ),
    ],
)
def test_mlflow_can_read_the_source_of_a_dataset(place: str, name: str, source: dict[str, object]) -> None:
    record = make_record()
    spec = record.spec.model_copy(update={"data": record.spec.data.model_copy(update={"dataset": place})})
    dataset = by_context(record.model_copy(update={"spec": spec}))["train"].dataset
    assert dataset.name == name
    assert json.loads(mlflow.data.get_source(dataset).to_json()) == source
