"""Trainings that find damaged checkpoints: they resume from the one before, or begin anew, and the record lists it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.records.record import TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import read_checkpoint, save_checkpoint
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training

TINY = {"family": "lkca", "kernel_size": 3, "patch_size": 2, "depth": 1, "width": 16}
SPEC = TrialSpec(
    data=DataSection(dataset="digits"),
    training=TrainingSection(steps=6, batch_size=16, reports=6),
    resources=TrialResources(),
    configuration=Configuration.model_validate({**TINY, "data_fraction": 0.1}),
    seed=1,
    split_seed=2,
)
Damage = Callable[[Path], object]
Change = Callable[[dict[str, Any]], object]


def opened(data_dirs: DataDirs, *checkpoints: Path) -> tuple[TrialMetadata, Training]:
    configure_torch(num_threads=1)
    return open_training(SPEC, data_dirs, device=torch.device("cpu"), checkpoints=checkpoints)


def losses(training: Training) -> list[float]:
    return [result.train_loss for result in training.results()]


@pytest.fixture
def attempt(data_dirs: DataDirs, tmp_path: Path) -> Path:
    """Return the folder of an attempt that was interrupted after its third report; it has two checkpoints."""
    _, training = opened(data_dirs)
    folder = tmp_path / "attempt-0001-0001"
    for result, _ in zip(training.results(), range(3), strict=False):
        save_checkpoint(training.state(), folder, step=result.step)
    assert [path.name for path in sorted(folder.iterdir())] == ["checkpoint-00000002.pt", "checkpoint-00000003.pt"]
    return folder


def cut(size: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: round(size * path.stat().st_size)])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed(change: Change, *, old_format: bool = False) -> Damage:
    """Return a damage that changes the state and keeps the file whole, with a valid checksum or as in old versions."""

    def damage(path: Path) -> None:
        state = read_checkpoint(path)
        change(state)
        if old_format:
            torch.save(state, path)
        else:
            save_checkpoint(state, path.parent, step=int(path.stem.removeprefix("checkpoint-")))

    return damage


def replace(state: dict[str, Any], name: str) -> None:
    state["model"][name] = state["model"][name][..., :-1]


DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty": (cut(0), "EOFError"),
    "cut": (cut(0.5), "DamagedCheckpoint: the checksum of its"),
    "flipped bit": (flip, "DamagedCheckpoint: the checksum of its"),
    "missing part": (changed(lambda state: state.pop("optimizer")), "KeyError: 'optimizer'"),
    "missing tensor": (changed(lambda state: state["model"].popitem()), "1 tensors of the model are missing"),
    "other tensor": (
        changed(lambda state: state["model"].update(more=torch.zeros(1))),
        "1 tensors are not of the model, more first",
    ),
    "other shape": (changed(lambda state: replace(state, "head.weight")), "head.weight is (10, 15) torch.float32, not"),
    "other type": (
        changed(lambda state: state["model"].update({"head.bias": state["model"]["head.bias"].double()})),
        "head.bias is (10,) torch.float64",
    ),
    "other moments": (
        changed(lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(1))),
        "exp_avg of parameter 0 is (1,)",
    ),
    "other decay": (
        changed(lambda state: state["optimizer"]["param_groups"][0].update(weight_decay=0.5)),
        "weight_decay 0.5, not",
    ),
    "other steps": (
        changed(lambda state: state["curve"][-1].update(step=4), old_format=True),
        "it has results of steps",
    ),
    "no results": (changed(lambda state: state.update(curve=[]), old_format=True), "it has results of steps []"),
    "old file, other shape": (
        changed(lambda state: replace(state, "head.weight"), old_format=True),
        "head.weight is (10, 15)",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_training_resumes_from_the_checkpoint_before_a_damaged_one_and_its_record_lists_it(
    name: str, attempt: Path, data_dirs: DataDirs
) -> None:
    damage, reason = DAMAGES[name]
    damage(attempt / "checkpoint-00000003.pt")
    facts, training = opened(data_dirs, attempt)
    assert training.step == 2
    (line,) = facts.damaged_checkpoints
    assert line.startswith("attempt-0001-0001/checkpoint-00000003.pt: ")
    assert reason in line
    assert losses(training) == losses(opened(data_dirs)[1])


def test_a_training_whose_checkpoints_are_all_damaged_begins_anew(attempt: Path, data_dirs: DataDirs) -> None:
    for path in attempt.iterdir():
        DAMAGES["other shape"][0](path)
    facts, training = opened(data_dirs, attempt)
    assert (training.step, len(facts.damaged_checkpoints)) == (0, 2)
    assert losses(training) == losses(opened(data_dirs)[1])


def test_a_training_without_damaged_checkpoints_lists_none(attempt: Path, data_dirs: DataDirs) -> None:
    facts, training = opened(data_dirs, attempt)
    assert (training.step, facts.damaged_checkpoints) == (3, ())
