"""A resumed, retried or repeated training takes the backends of its record, whatever the node measures now."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.models.networks.backends import Backend, estimate_backend
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.record import Result, TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.search.rerun.trial_file import TrialFile
from lkca_search.training.assembly import open_training
from lkca_search.training.backends.choice import write_backends
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from tests.support.records import make_record
from tests.support.search.trained import rerun

SPEC = TrialSpec.model_validate(
    {
        "data": {"dataset": "digits"},
        "training": {"steps": 6, "reports": 3, "batch_size": 32},
        "resources": {"cpu": 1},
        "configuration": {"family": "lkca", "patch_size": 2, "depth": 2, "width": 16, "kernel_size": 3},
        "seed": 3,
        "split_seed": 7,
    }
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LKCA_BACKEND_CACHE", str(tmp_path / "backends"))


def let_node_prefer(backend: Backend, tmp_path: Path, data_dirs: DataDirs) -> None:
    """Let the cache of this node hold another choice, as if another node had measured."""
    opened(data_dirs)
    (path,) = (tmp_path / "backends").glob("*.json")
    content = json.loads(path.read_text())
    for choice in content["choices"].values():
        choice["backend"] = backend
    path.write_text(json.dumps(content))


def opened(data_dirs: DataDirs, *checkpoints: Path, **arguments: Any) -> tuple[TrialMetadata, Training]:
    configure_torch(num_threads=1)
    return open_training(SPEC, data_dirs, device=torch.device("cpu"), checkpoints=checkpoints, **arguments)


def backends_of(training: Training) -> list[str]:
    return [layer.backend for layer in training.model.modules() if isinstance(layer, LKCA)]


def losses(results: list[Result]) -> list[float]:
    return [result.val_loss for result in results]


def test_every_layer_has_the_backend_on_the_record(data_dirs: DataDirs, tmp_path: Path) -> None:
    for backend in ("conv", "fft"):
        let_node_prefer(backend, tmp_path, data_dirs)
        metadata, training = opened(data_dirs)
        assert metadata.backends is not None
        (choice,) = metadata.backends
        assert (choice.backend, choice.shape) == (backend, ((4, 4), 3, 1, 16))
        assert backends_of(training) == [backend, backend]


def test_a_resumed_trial_takes_the_backend_of_its_checkpoint(data_dirs: DataDirs, tmp_path: Path) -> None:
    let_node_prefer("fft", tmp_path, data_dirs)
    metadata, training = opened(data_dirs)
    iterator = training.results()
    first = next(iterator)
    attempt = tmp_path / "attempt"
    save_checkpoint(training.state(), attempt, step=first.step)
    uninterrupted = [first, *iterator]
    let_node_prefer("conv", tmp_path, data_dirs)
    resumed_metadata, resumed = opened(data_dirs, attempt)
    assert backends_of(resumed) == ["fft", "fft"]
    assert resumed_metadata.backends == metadata.backends
    assert losses(list(resumed.results())) == losses(uninterrupted)


def test_a_retried_attempt_without_a_checkpoint_takes_the_backend_of_the_first(
    data_dirs: DataDirs, tmp_path: Path
) -> None:
    let_node_prefer("fft", tmp_path, data_dirs)
    _, training = opened(data_dirs)
    attempt = tmp_path / "attempt"
    attempt.mkdir()
    write_backends(training.backends or (), attempt)
    let_node_prefer("conv", tmp_path, data_dirs)
    _, retried = opened(data_dirs, attempt)
    assert backends_of(retried) == ["fft", "fft"]
    assert losses(list(retried.results())) == losses(list(training.results()))


def test_a_checkpoint_of_an_earlier_version_resumes_with_the_estimated_backend(
    data_dirs: DataDirs, tmp_path: Path
) -> None:
    let_node_prefer("fft", tmp_path, data_dirs)
    _, training = opened(data_dirs)
    result = next(training.results())
    state = training.state()
    del state["backends"]
    save_checkpoint(state, tmp_path / "attempt", step=result.step)
    metadata, resumed = opened(data_dirs, tmp_path / "attempt")
    assert metadata.backends is None
    assert backends_of(resumed) == ["auto", "auto"]


def test_a_rerun_takes_the_recorded_backend(data_dirs: DataDirs, tmp_path: Path) -> None:
    let_node_prefer("fft", tmp_path, data_dirs)
    metadata, training = opened(data_dirs)
    curve = tuple(training.results())
    record = make_record(spec=SPEC, facts=metadata, curve=curve, value=curve[-1].val_accuracy)
    let_node_prefer("conv", tmp_path, data_dirs)
    file = TrialFile.model_validate_json(TrialFile.from_record(record).model_dump_json())
    results: list[Result] = []
    outcome = rerun(file, data_dirs, on_result=results.append).outcome
    assert (outcome.is_repeat, outcome.difference, outcome.changes) == (True, 0.0, ())
    assert losses(results) == losses(list(curve))


def test_the_rerun_of_a_record_of_an_earlier_version_estimates_the_backend_as_its_training_did(
    data_dirs: DataDirs, tmp_path: Path
) -> None:
    _, estimated = opened(data_dirs, backends=())
    assert backends_of(estimated) == 2 * [estimate_backend((4, 4), 3, 1, torch.float32)]
    curve = tuple(estimated.results())
    let_node_prefer("fft", tmp_path, data_dirs)
    metadata, _ = opened(data_dirs)
    old = metadata.model_copy(update={"backends": None})
    record = make_record(spec=SPEC, facts=old, curve=curve, value=curve[-1].val_accuracy)
    results: list[Result] = []
    outcome = rerun(TrialFile.from_record(record), data_dirs, on_result=results.append).outcome
    assert outcome.difference == 0.0
    assert losses(results) == losses(list(curve))


def test_backends_differ_in_bits_so_that_the_choice_matters(data_dirs: DataDirs, tmp_path: Path) -> None:
    curves = []
    for backend in ("conv", "fft"):
        let_node_prefer(backend, tmp_path, data_dirs)
        _, training = opened(data_dirs)
        curves.append(losses(list(islice(training.results(), 3))))
    assert curves[0] != curves[1]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
