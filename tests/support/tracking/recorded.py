"""Records to track, and the content of an MLflow store."""

from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Record, Result, State, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.tracker import TrialStart

BEGIN = 1_700_000_000.0
METRICS = ("epoch", "samples", "seconds", "learning_rate", "train_loss", "val_loss", "val_accuracy")


def make_result(step: int, *, time: float = BEGIN) -> Result:
    return Result(
        step=step,
        epoch=step / 4,
        samples=32 * step,
        seconds=time - BEGIN + step,
        learning_rate=1e-3,
        train_loss=2 / step,
        val_loss=1 / step,
        val_accuracy=1 - 1 / (step + 1),
        time=time + step,
    )


def make_record(
    trial_id: str = "lkca/0", *, state: State = State.COMPLETE, num_results: int = 3, error: str | None = None
) -> Record:
    cell, number = trial_id.split("/")
    curve = tuple(make_result(step) for step in range(1, num_results + 1))
    provenance = Provenance(
        git_commit="abc",
        package_version="0.1",
        python_version="3.11",
        torch_version="2",
        ray_version="2",
        optuna_version="5",
        node="node-7",
        device="cpu",
        num_threads=1,
    )
    facts = TrialMetadata(
        model="LKCA",
        num_parameters=1234,
        flops=5678,
        activation_bytes=91011,
        planned_steps=num_results,
        num_train_images=100,
        num_validation_images=10,
        data_hash="d" * 64,
        subset_hash="e" * 64,
        validation_hash="f" * 64,
        provenance=provenance,
    )
    return Record(
        trial_id=trial_id,
        search="study",
        cell=cell,
        number=int(number),
        attempt=1,
        driver=1,
        state=state,
        metric="val_accuracy",
        value=curve[-1].val_accuracy if curve and state is not State.FAIL else None,
        spec=TrialSpec(
            data=DataSection(dataset="digits"),
            training=TrainingSection(steps=max(1, num_results)),
            resources=TrialResources(),
            configuration=Configuration(family="lkca", kernel_size=3, data_fraction=0.5),
            seed=17,
            split_seed=18,
        ),
        facts=facts if curve else None,
        curve=curve,
        error=error,
        started=BEGIN,
        finished=BEGIN + 1000,
    )


def start_of(record: Record) -> TrialStart:
    return TrialStart.model_validate({name: getattr(record, name) for name in TrialStart.model_fields})


def write_record(folder: SearchFolder, record: Record) -> Record:
    """Write a record to disk, as the ledger does before it notifies the trackers."""
    attempt = folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt)
    write_atomically(attempt / "record.json", record.model_dump_json().encode())
    return record


def open_store(root: Path, *, uid: str = "uid") -> MLflowStore:
    return MLflowStore(Home(root=root), uid=uid, name="study", texts={"space.yaml": "a: 1", "spec.json": "{}"})


Points = list[tuple[int, float]]


@dataclass
class StoredSearch:
    """Runs of one search in an MLflow store."""

    parent: Run
    trials: dict[str, Run] = field(default_factory=dict)
    curves: dict[str, dict[str, Points]] = field(default_factory=dict)
    """Trial id to metric to (step, value), ordered by step."""


def read_stored(uri: str, *, uid: str = "uid") -> StoredSearch | None:
    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`lkca.search_uid` = '{uid}'")
    parents = [run for run in runs if run.data.tags["kind"] == "search"]
    if not parents:
        assert not runs
        return None
    assert len(parents) == 1
    parent = parents[0]
    stored = StoredSearch(parent)
    for run in runs:
        if run.data.tags["kind"] == "trial":
            trial_id = run.data.tags["lkca.trial_id"]
            assert trial_id not in stored.trials
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            stored.trials[trial_id] = run
            histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
            stored.curves[trial_id] = {
                name: sorted((point.step, point.value) for point in points) for name, points in histories.items()
            }
    return stored


def assert_stored(stored: StoredSearch | None, *records: Record) -> None:
    """Assert that the store has every record completely, and nothing twice."""
    assert stored is not None
    assert stored.trials.keys() == {record.trial_id for record in records}
    for record in records:
        run, curves = stored.trials[record.trial_id], stored.curves[record.trial_id]
        assert run.info.status == ("FAILED" if record.state is State.FAIL else "FINISHED")
        assert run.data.tags["state"] == record.state
        assert run.data.params["seed"] == "17"
        for name in METRICS if record.curve else ():
            assert curves[name] == [(result.step, getattr(result, name)) for result in record.curve]
        assert all(len(curves[name]) == 1 for name in curves.keys() - set(METRICS))
