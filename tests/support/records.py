"""Records made without training, and folders of searches with them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lkca_search.layout import Home, SearchFolder
from lkca_search.paths import write_atomically
from lkca_search.records.predictions import Predictions
from lkca_search.records.provenance import Provenance
from lkca_search.records.record import Record, Result, State, TestResult, TrialMetadata
from lkca_search.records.trial import Replication, TrialSpec
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.resume import commit_space_file
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.spec.space_file import read_space_file

SPACE = """\
data: {dataset: digits}
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1.0]
parameters:
  kernel_size: {choice: [3, 5], when: {family: [lkca]}}
  patch_size: {value: 2}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 20, reports: 2}
search: {trials_per_cell: 3}
"""
CELL = "family=lkca,data_fraction=0.1"

PROVENANCE = Provenance(
    git_commit="a" * 40,
    package_version="0.1.0",
    python_version="3.11.4",
    torch_version="2.14.0",
    ray_version="2.60.0",
    optuna_version="5.0.0",
    node="here",
    device="cpu",
    num_threads=1,
)
FACTS = TrialMetadata(
    model="LKCA",
    num_parameters=1234,
    flops=62_100_000,
    activation_bytes=5678,
    planned_steps=20,
    num_train_images=129,
    num_validation_images=144,
    data_hash="d" * 64,
    subset_hash="s" * 64,
    validation_hash="v" * 64,
    provenance=PROVENANCE,
)


def make_result(step: int, val_accuracy: float) -> Result:
    return Result(
        step=step,
        epoch=step / 5,
        samples=step * 32,
        seconds=step / 10,
        learning_rate=1e-5 * step,
        train_loss=2.5,
        val_loss=2.25,
        val_accuracy=val_accuracy,
        time=1000.0 + step,
    )


def make_record(
    number: int = 0,
    *,
    family: str = "lkca",
    data_fraction: float = 0.1,
    accuracy: float = 0.5,
    search: str = "made",
    state: State = State.COMPLETE,
    **rest: Any,
) -> Record:
    """Return the record of a trial with two results, the last one `accuracy`; a failed one has none."""
    cell = f"family={family},data_fraction={data_fraction}"
    failed = state is State.FAIL
    values: dict[str, Any] = {
        "trial_id": f"{cell}/{number}",
        "search": search,
        "cell": cell,
        "number": number,
        "attempt": 1,
        "driver": 1,
        "state": state,
        "metric": "val_accuracy",
        "value": None if failed else accuracy,
        "spec": TrialSpec(
            data=DataSection(dataset="digits", augment=("crop",)),
            training=TrainingSection(steps=20, reports=2),
            resources=TrialResources(),
            configuration=Configuration(
                family=family,
                data_fraction=data_fraction,
                patch_size=2,
                kernel_size=3 if family == "lkca" else None,
                learning_rate=1e-4,
            ),
            seed=2**32 - 1,
            split_seed=7,
        ),
        "facts": None if failed else FACTS,
        "curve": () if failed else (make_result(10, accuracy / 2), make_result(20, accuracy)),
        "error": "Traceback [red]\nRuntimeError: broken" if failed else None,
        "started": 1000.0,
        "finished": 1010.5,
    }
    return Record.model_validate({**values, **rest})


def make_replicate(seed: int = 0, **values: Any) -> Record:
    """Return the record of a tested replicate of the first trial."""
    replicate = Replication(of=f"{CELL}/0", draw=1, seed=seed)
    test = TestResult(num_images=50, data_hash="t" * 64, loss=1.0, accuracy=0.25)
    return make_record(0, **{"replicate": replicate, "trial_id": replicate.replicate_id, "test": test, **values})


def make_predictions(
    seed: int, *, num_images: int = 50, num_classes: int = 10, data_hash: str = "t" * 64
) -> Predictions:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(num_images, num_classes), scale=4).astype(np.float32)
    exponentials = np.exp(logits)
    return Predictions(
        labels=generator.integers(num_classes, size=num_images).astype(np.uint16),
        predicted=logits.argmax(1).astype(np.uint16),
        probabilities=(exponentials / exponentials.sum(1, keepdims=True)).astype(np.float16),
        data_hash=data_hash,
    )


def make_search(name: str, records: Iterable[Record] = (), *overrides: str) -> SearchFolder:
    """Start a search in the home of the environment, without a driver, and write records into it."""
    folder = Home.from_environment().search(name)
    space = Home.from_environment().root / f"{name}.yaml"
    write_atomically(space, SPACE.encode())
    with hold_lease(folder):  # the first driver, which enters the search in the ledger
        commit_space_file(folder, read_space_file(space, overrides))
    for record in records:
        path = folder.trial(record.trial_id).attempt(driver=record.driver, attempt=record.attempt) / "record.json"
        write_atomically(path, record.model_dump_json().encode())
    return folder
