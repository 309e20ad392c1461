"""Messages of a worker: results, failures by kind, and what a failure leaves to the next attempt."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from lkca_search.data.store import open_images
from lkca_search.errors import NodeError, StorageError
from lkca_search.layout import INSPECTION, MODEL, WEIGHTS
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.messages import Assignment, Failure, FailureKind, KeepRequest, Message
from lkca_search.search.ray_backend import worker
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.training.trained_model import load_trained
from tests.support.models import ORIGIN
from tests.support.search.toy import make_spec

ILLEGAL = "CUDA error: an illegal memory access was encountered"


def make_config(tmp_path: Path, expected: Mapping[str, Any] | None = None, **configuration: Any) -> dict[str, Any]:
    """Return the config that Tune passes to an actor."""
    spec = make_spec()
    trial = TrialSpec(
        data=spec.data,
        training=spec.training,
        resources=spec.resources.of_trial(),
        configuration={"patch_size": 2, "depth": 1, "width": 16, **configuration},  # type: ignore[arg-type]
        seed=0,
        split_seed=0,
    )
    assignment = Assignment(
        **(expected or {}),
        trial_id="toy/0",
        spec=trial,
        attempt=1,
        attempt_folder=str(tmp_path / "attempt"),
        earlier_folders=(),
        checkpoint_seconds=0,
    )
    data_dirs = {"cache": str(tmp_path / "datasets"), "data_dir": None}
    return {"assignment": assignment.model_dump_json(), "data_dirs": data_dirs}


def make_actor(tmp_path: Path, expected: Mapping[str, Any] | None = None, **configuration: Any) -> TrialActor:
    return TrialActor(config=make_config(tmp_path, expected, **configuration))


def next_message(actor: TrialActor) -> Message:
    return Message.model_validate_json(actor.step()["message"])


def read_failure(actor: TrialActor, error: type[Exception]) -> Failure:
    """Return the failure that an actor reports; check that its next step raises the error, so that Tune removes it."""
    message = next_message(actor)
    assert not message.done
    assert message.failure is not None
    with pytest.raises(error):
        actor.step()
    return message.failure


def test_a_worker_reports_every_result_and_then_that_its_trial_is_done(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    first, last = next_message(actor), next_message(actor)
    assert (first.done, last.done) == (False, True)
    assert first.failure is None
    assert first.metadata is not None
    assert [message.result.step for message in (first, last) if message.result] == [10, 20]


def test_a_reused_actor_reports_the_same_results_as_a_new_one(tmp_path: Path) -> None:
    reused = make_actor(tmp_path, learning_rate=1e-2)
    next_message(reused)
    assert reused.reset_config(make_config(tmp_path))
    new = make_actor(tmp_path)
    for _ in range(2):
        ours, other = next_message(reused).result, next_message(new).result
        assert ours is not None
        assert other is not None
        assert (ours.step, ours.train_loss, ours.val_loss) == (other.step, other.train_loss, other.val_loss)


def test_an_error_of_the_trial_ends_it_with_its_traceback(tmp_path: Path) -> None:
    message = next_message(make_actor(tmp_path, learning_rate=1e30))
    assert message.done
    assert message.failure is not None
    assert message.failure.kind is FailureKind.TRIAL
    assert "is not finite" in message.failure.message
    assert "Traceback" in message.failure.message
    assert message.metadata is not None


def test_an_error_that_leaves_the_gpu_unusable_is_a_fault_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("an error that does not mention CUDA")

    monkeypatch.setattr(worker, "open_training", fail)
    monkeypatch.setattr(worker, "is_usable", lambda device: False)
    failure = read_failure(make_actor(tmp_path), ValueError)
    assert failure.kind is FailureKind.GPU


def no_memory() -> Exception:
    """Return the error of torch's CPU allocator."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    return error.value


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError(28, "No space left on device"), FailureKind.MACHINE, "OSError: [Errno 28] No space left on device"),
        (MemoryError(), FailureKind.MACHINE, "MemoryError"),
        (no_memory(), FailureKind.MACHINE, "RuntimeError: "),
        (torch.OutOfMemoryError("CUDA out of memory"), FailureKind.GPU_MEMORY, "torch.OutOfMemoryError: CUDA out of"),
        (RuntimeError("CUDA error: out of memory"), FailureKind.GPU_MEMORY, "RuntimeError: CUDA error: out of memory"),
        (torch.AcceleratorError(ILLEGAL), FailureKind.GPU, f"torch.AcceleratorError: {ILLEGAL}"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), FailureKind.GPU, "RuntimeError: cuDNN error"),
    ],
    ids=["disk", "memory", "torch's allocator", "GPU memory", "CUDA's memory", "CUDA", "cuDNN"],
)
def test_a_fault_of_the_machine_is_reported_with_its_kind_and_ends_the_actor(
    error: Exception, kind: FailureKind, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(worker, "open_training", fail)
    failure = read_failure(make_actor(tmp_path), type(error))
    assert failure.kind is kind
    assert failure.message.startswith(text)


def test_a_checkpoint_that_cannot_be_written_fails_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "attempt").write_text("a file where the attempt's folder should be")
    actor = make_actor(tmp_path)
    assert [next_message(actor).done, next_message(actor).done] == [False, True]
    assert "no checkpoint of toy/0 at step 10" in caplog.text


def test_missing_images_are_a_fault_of_the_node(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    (tmp_path / "datasets").write_text("no folder")
    failure = read_failure(actor, NodeError)
    assert failure.kind is FailureKind.NODE
    assert f"node {socket.gethostname()} cannot open the images: " in failure.message


@pytest.mark.parametrize("name", ["data_hash", "subset_hash"])
def test_images_that_differ_from_the_manifest_are_a_fault_of_the_node(tmp_path: Path, name: str) -> None:
    facts = next_message(make_actor(tmp_path)).metadata
    found = getattr(facts, name)
    assert next_message(make_actor(tmp_path, {name: found})).result is not None
    failure = read_failure(make_actor(tmp_path, {name: "0000"}), NodeError)
    assert failure.kind is FailureKind.NODE
    assert f"has other images than the driver: {name} {found}, in the manifest 0000" in failure.message


def test_the_trials_of_a_process_share_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    open_train_images = worker.open_train_images

    def count(data: Any, data_dirs: Any) -> Any:
        opened.append(data_dirs.cache)
        return open_train_images(data, data_dirs)

    monkeypatch.setattr(worker, "open_train_images", count)
    actor = make_actor(tmp_path)
    next_message(actor)
    actor.reset_config(make_config(tmp_path, learning_rate=1e-2))
    next_message(actor)
    assert opened == [tmp_path / "datasets"]


@pytest.fixture
def test_hash(tmp_path: Path) -> str:
    return open_images("digits", "test", cache=tmp_path / "datasets").content_hash


def test_the_predictions_of_a_replicate_are_durable_when_its_test_result_arrives(
    tmp_path: Path, test_hash: str
) -> None:
    actor = make_actor(tmp_path, {"test_hash": test_hash})
    path = tmp_path / "attempt" / "predictions.parquet"
    first = next_message(actor)
    assert (first.test, path.exists()) == (None, False)
    last = next_message(actor)
    assert last.test is not None
    rows = pq.read_table(path)
    assert rows.num_rows == last.test.num_images
    assert pc.mean(pc.equal(rows["predicted"], rows["label"])).as_py() == last.test.accuracy
    assert rows.schema.metadata == {
        b"replicate_id": b"toy/0",
        b"test_data_hash": test_hash.encode(),
        b"class_names": json.dumps([str(digit) for digit in range(10)]).encode(),
    }


def test_a_trial_has_no_predictions(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    assert [next_message(actor).test, next_message(actor).test] == [None, None]
    assert not list(tmp_path.rglob("predictions*"))


def test_predictions_that_cannot_be_written_are_a_fault_of_the_machine(tmp_path: Path, test_hash: str) -> None:
    (tmp_path / "attempt").write_text("a file where the attempt's folder should be")
    actor = make_actor(tmp_path, {"test_hash": test_hash})
    next_message(actor)
    assert read_failure(actor, OSError).kind is FailureKind.MACHINE


def test_the_inspection_of_a_replicate_is_durable_when_its_test_result_arrives(tmp_path: Path, test_hash: str) -> None:
    actor = make_actor(tmp_path, {"test_hash": test_hash}, family="lkca", kernel_size=3)
    path = tmp_path / "attempt" / INSPECTION
    assert next_message(actor).test is None
    assert not path.exists()
    assert next_message(actor).test is not None
    rows = pq.read_table(path)
    assert rows["kind"].to_pylist() == ["kernel", "receptive_field"]
    assert len(rows["weights"][0].as_py()) == 3 * 3
    assert rows.schema.metadata[b"replicate_id"] == b"toy/0"
    assert json.loads(rows.schema.metadata[b"inspection"])["failures"] == []


def test_a_trial_has_no_inspection(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    assert [next_message(actor).done, next_message(actor).done] == [False, True]
    assert not list(tmp_path.rglob(INSPECTION))


@pytest.mark.parametrize("part", ["inspect_replicate", "save_inspection"])
def test_an_inspection_that_fails_changes_no_message_of_a_replicate(
    tmp_path: Path, test_hash: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def last_message(folder: Path) -> Message:
        actor = make_actor(folder, {"test_hash": test_hash})
        next_message(actor)
        return next_message(actor)

    inspected = last_message(tmp_path)
    monkeypatch.setattr(worker, part, fail)
    without = last_message(tmp_path / "other")
    assert not (tmp_path / "other" / "attempt" / INSPECTION).exists()
    assert (without.done, without.failure) == (True, None)
    assert without.test == inspected.test
    assert without.result is not None
    assert inspected.result is not None
    assert without.result.val_loss == inspected.result.val_loss


def keep(at_least: float | None = None) -> KeepRequest:
    return KeepRequest(origin=ORIGIN, at_least=at_least)


def test_the_model_of_a_replicate_is_durable_when_its_test_result_arrives(tmp_path: Path, test_hash: str) -> None:
    actor = make_actor(tmp_path, {"test_hash": test_hash, "keep": keep()})
    assert next_message(actor).test is None
    assert not (tmp_path / "attempt" / MODEL).exists()
    last = next_message(actor)
    assert last.test is not None
    assert last.result is not None
    assert last.metadata is not None
    model = load_trained(tmp_path / "attempt")
    images = open_images("digits", "test", cache=tmp_path / "datasets")
    predicted = model.predict_probabilities(images.pixels).argmax(1)
    assert (predicted == images.labels).mean() == last.test.accuracy
    description = model.description
    assert description.metrics["val_accuracy"] == last.result.val_accuracy
    assert (description.data_hash, description.subset_hash) == (last.metadata.data_hash, last.metadata.subset_hash)
    assert (description.trial_id, description.test_hash) == (ORIGIN.trial_id, test_hash)


@pytest.mark.parametrize(("at_least", "is_kept"), [(None, True), (0.0, True), (1.0, False)])
def test_a_trial_keeps_its_model_unless_its_cell_has_a_better_one(
    tmp_path: Path, at_least: float | None, is_kept: bool
) -> None:
    actor = make_actor(tmp_path, {"keep": keep(at_least)})
    assert [next_message(actor).done, next_message(actor).done] == [False, True]
    assert [(tmp_path / "attempt" / name).exists() for name in (WEIGHTS, MODEL)] == [is_kept] * 2


def test_without_a_request_no_model_is_kept(tmp_path: Path, test_hash: str) -> None:
    actor = make_actor(tmp_path, {"test_hash": test_hash})
    assert [next_message(actor).done, next_message(actor).done] == [False, True]
    assert not list(tmp_path.rglob("model.*"))


@pytest.mark.parametrize("file", ["predictions", "model"])
def test_a_full_disk_beside_the_record_is_a_fault_of_the_storage(
    tmp_path: Path, test_hash: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, f"save_{file}", fail)
    actor = make_actor(tmp_path, {"test_hash": test_hash, "keep": keep()})
    next_message(actor)
    failure = read_failure(actor, StorageError)
    assert failure.kind is FailureKind.STORAGE
    folder = tmp_path / "attempt"
    assert failure.message == f"{folder}: No space left on device; free space on its disk (df -h, df -i)"
