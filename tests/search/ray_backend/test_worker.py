"""What a worker says of a fault, and what it leaves to be tried again."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.errors import NodeError
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.ray_backend import worker
from lkca_search.search.ray_backend.worker import TrialActor
from tests.support.search.toy import make_spec


def make_actor(tmp_path: Path, expected: Mapping[str, str] | None = None, **configuration: Any) -> TrialActor:
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
        **(expected or {}),  # type: ignore[arg-type]
        trial_id="toy/0",
        spec=trial,
        attempt=1,
        attempt_folder=str(tmp_path / "attempt"),
        earlier_folders=(),
        checkpoint_seconds=0,
    )
    place = {"cache": str(tmp_path / "datasets"), "data_dir": None}
    return TrialActor(config={"assignment": assignment.model_dump_json(), "place": place})


def say(actor: TrialActor) -> Message:
    return Message.model_validate_json(actor.step()["message"])


def test_a_trial_says_its_results_and_then_that_it_is_done(tmp_path: Path) -> None:
    actor = make_actor(tmp_path)
    first, last = say(actor), say(actor)
    assert (first.done, last.done) == (False, True)
    assert first.facts is not None
    assert [message.result.step for message in (first, last) if message.result] == [10, 20]


def test_a_fault_of_the_trial_is_said(tmp_path: Path) -> None:
    message = say(make_actor(tmp_path, learning_rate=1e30))
    assert message.done
    assert "is not finite" in (message.error or "")
    assert message.facts is not None


def no_memory() -> Exception:
    """What torch raises where the machine has no memory left."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    return error.value


@pytest.mark.parametrize(
    "fault",
    [OSError(28, "No space left on device"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), no_memory()],
    ids=["disk", "memory", "GPU memory", "torch's allocator"],
)
def test_a_fault_of_the_machine_is_raised_so_that_the_trial_is_tried_again(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(worker, "open_training", fail)
    with pytest.raises(type(fault)):
        make_actor(tmp_path).step()


def test_a_checkpoint_that_cannot_be_written_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "attempt").write_text("a file where the attempt's folder should be")
    actor = make_actor(tmp_path)
    assert [say(actor).done, say(actor).done] == [False, True]
    assert "no checkpoint of toy/0 at step 10" in caplog.text


def test_a_node_without_the_images_is_the_nodes_fault_and_not_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make_actor(tmp_path)
    (tmp_path / "datasets").write_text("no folder")
    with pytest.raises(NodeError, match=rf"node {socket.gethostname()} cannot have the images: decoded images must"):
        actor.step()


@pytest.mark.parametrize("name", ["data_hash", "subset_hash"])
def test_a_node_with_other_images_than_the_manifest_trains_nothing(tmp_path: Path, name: str) -> None:
    facts = say(make_actor(tmp_path)).facts
    found = getattr(facts, name)
    assert say(make_actor(tmp_path, {name: found})).result is not None
    with pytest.raises(NodeError, match=f"has other images than the driver: {name} {found}, in the manifest 0000"):
        make_actor(tmp_path, {name: "0000"}).step()
