"""Peers of the benchmark train as this package does: the same model, images, steps and learning rates."""

from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.peers.agreement import p_value, superiority
from benchmarks.peers.arrays import Arrays
from benchmarks.peers.plain_training import PlainTraining, publish
from benchmarks.peers.question import Question
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.trial import TrialSpec
from lkca_search.search.state.manifests import split_seed
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.space_file import read_space_file
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training

QUESTION = Question(
    dataset="digits",
    images_per_class=13,
    augment=("crop",),
    epochs=2,
    parameters=45_000,
    batch_size=32,
    loader_workers=0,
)
VALUES = {"learning_rate": 3e-3, "weight_decay": 0.05, "drop_path_rate": 0.1}
SEED = 7


def open_both(family: str, tmp_path: Path) -> tuple[Training, PlainTraining]:
    space = tmp_path / "space.yaml"
    space.write_text(QUESTION.space_file)
    spec = read_space_file(space, ()).spec
    fixed = {"images_per_class": QUESTION.images_per_class, "match_parameters": QUESTION.parameters}
    trial = TrialSpec(
        data=spec.data,
        training=spec.training,
        resources=spec.resources.of_trial(),
        configuration=Configuration.model_validate({"family": family, **fixed, **VALUES}),
        seed=SEED,
        split_seed=split_seed(spec),
    )
    _, ours = open_training(trial, DataDirs(cache=tmp_path, data_dir=None), device=torch.device("cpu"))
    arrays = Arrays.decode(space, cache=tmp_path, data_dir=None)
    theirs = PlainTraining(QUESTION, arrays, {"family": family, **VALUES}, seed=derive_seed(SEED, "weights"))
    return ours, theirs


@pytest.mark.parametrize("family", QUESTION.families)
def test_a_peer_starts_from_the_same_weights_and_takes_the_same_steps(family: str, tmp_path: Path) -> None:
    ours, theirs = open_both(family, tmp_path)
    state = theirs.model.state_dict()
    for name, weights in ours.model.state_dict().items():
        assert torch.equal(weights, state[name]), name
    assert theirs.num_steps == ours.last_step == 2 * 5  # 130 images, 32 per batch
    rates = []
    theirs.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    accuracies = list(theirs.accuracies())
    results = list(ours.results())
    assert len(accuracies) == len(results) == QUESTION.epochs
    assert rates[4] == pytest.approx(results[0].learning_rate)
    assert rates[-1] == pytest.approx(results[-1].learning_rate)
    assert len(rates) == ours.last_step


def test_the_published_form_of_a_peer_is_the_same_function(tmp_path: Path) -> None:
    _, theirs = open_both("lkca", tmp_path)
    images, _ = next(iter(theirs.loader))
    model = theirs.model.eval()
    untrained = model(images)
    layers = [layer for layer in model.modules() if isinstance(layer, LKCA)]
    for layer in layers:
        torch.nn.init.normal_(layer.kernel, std=0.1)
    expected = model(images)
    assert not torch.allclose(expected, untrained)
    publish(model)
    assert all(isinstance(layer.forward, partial) for layer in layers)
    torch.testing.assert_close(model(images), expected)


def test_a_peer_trains_and_validates_on_the_same_images(tmp_path: Path) -> None:
    ours, theirs = open_both("vit", tmp_path)
    torch.testing.assert_close(theirs.collate.mean.flatten(), ours.batches.mean)
    torch.testing.assert_close(theirs.collate.std.flatten(), ours.batches.std)
    labels = torch.cat([labels for _, labels in theirs.loader])
    own = torch.cat([ours.batches.train_batch(step)[1] for step in range(ours.batches.steps_per_epoch)])
    assert sorted(labels.tolist()) == sorted(own.tolist())
    assert [len(labels) for _, labels in theirs.loader] == [32, 32, 32, 32, 2]


def test_equal_samples_agree_and_shifted_ones_do_not() -> None:
    sample = [0.30, 0.32, 0.34, 0.36, 0.38, 0.40]
    assert superiority(sample, sample) == 0.5
    assert p_value(sample, sample) == 1.0
    better = [value + 0.2 for value in sample]
    assert superiority(better, sample) == 1.0
    assert p_value(better, sample) < 0.01
