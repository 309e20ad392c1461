"""Provenance that a worker adds to a trial: the driver's command, and the files that the record names."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lkca_search.environment.packages import content_hash
from lkca_search.records.provenance import environment_files
from lkca_search.records.trial import TrialSpec
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.ray_backend.worker import TrialActor
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device
from lkca_search.training.images import DataDirs
from lkca_search.training.weights_hash import weights_hash
from tests.support.search.toy import make_spec


def run_to_end(tmp_path: Path, seed: int = 0) -> tuple[TrialSpec, list[Message]]:
    """Train a trial in an actor; return its spec and its messages."""
    spec = make_spec()
    trial = TrialSpec(
        data=spec.data,
        training=spec.training,
        resources=spec.resources.of_trial(),
        configuration={"patch_size": 2, "depth": 1, "width": 16},  # type: ignore[arg-type]
        seed=seed,
        split_seed=0,
    )
    assignment = Assignment(
        trial_id="toy/0",
        spec=trial,
        attempt=1,
        attempt_folder=str(tmp_path / f"attempt-{seed}"),
        earlier_folders=(),
        checkpoint_seconds=1e9,
    )
    config: dict[str, Any] = {
        "assignment": assignment.model_dump_json(),
        "data_dirs": {"cache": str(tmp_path / "datasets"), "data_dir": None},
        "origin": {"folder": str(tmp_path / "provenance"), "command_line": "lkca-search run a.yaml"},
    }
    actor, messages = TrialActor(config=config), []
    while not messages or not messages[-1].done:
        messages.append(Message.model_validate_json(actor.step()["message"]))
    return trial, messages


def test_the_record_names_files_with_the_package_versions_which_are_written_once(tmp_path: Path) -> None:
    for seed in range(2):
        _, messages = run_to_end(tmp_path, seed)
        assert messages[-1].metadata is not None
    provenance = messages[-1].metadata.provenance
    assert provenance.command_line == "lkca-search run a.yaml"
    assert {path.name for path in (tmp_path / "provenance").iterdir()} == set(environment_files(provenance))
    text = (tmp_path / "provenance" / f"{provenance.packages_hash}.json").read_text()
    assert content_hash(text) == provenance.packages_hash
    packages = json.loads(text)
    assert (packages["torch"], packages["ray"]) == (version("torch"), version("ray"))
    assert provenance.packages["timm"] == version("timm")
    assert provenance.cpu_model
    assert torch.backends.cpu.get_cpu_capability() in provenance.cpu_model


def test_the_last_message_has_the_hash_of_the_weights_and_a_repeat_has_the_same(tmp_path: Path) -> None:
    trial, messages = run_to_end(tmp_path)
    hashes = [message.metadata.weights_hash for message in messages if message.metadata]
    assert hashes[:-1] == [None] * (len(messages) - 1)
    dirs = DataDirs(cache=tmp_path / "datasets", data_dir=None)
    _, training = open_training(trial, dirs, device=choose_device(0))
    first = weights_hash(training.evaluated_model)
    assert list(training.results())
    assert hashes[-1] == weights_hash(training.evaluated_model) != first
    _, other = run_to_end(tmp_path, seed=1)
    assert other[-1].metadata is not None
    assert other[-1].metadata.weights_hash not in (None, hashes[-1])
