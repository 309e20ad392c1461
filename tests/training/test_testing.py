"""The test of a replicate: loss, accuracy and predictions of all test images."""

from copy import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lkca_search.data.batches import Evaluation
from lkca_search.data.store import Images
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.evaluation import EVALUATION_BATCH, evaluate
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from lkca_search.training.metrics import FUNCTIONS
from lkca_search.training.testing import evaluate_on_test, open_test_images

CPU = torch.device("cpu")
DATA = DataSection(dataset="digits")


@pytest.fixture(scope="module")
def images(data_dirs: DataDirs) -> Images:
    return open_test_images(DATA, data_dirs)


@pytest.fixture(scope="module")
def trained(data_dirs: DataDirs) -> Training:
    spec = TrialSpec(
        data=DATA,
        training=TrainingSection(steps=200, reports=1),
        resources=TrialResources(),
        configuration=Configuration(
            family="lkca", data_fraction=0.5, patch_size=2, depth=1, width=16, kernel_size=3, learning_rate=1e-2
        ),
        seed=0,
        split_seed=0,
    )
    _, training = open_training(spec, data_dirs, device=CPU)
    list(training.results())
    return training


def test_loss_and_accuracy_are_those_of_the_evaluation_bit_for_bit(trained: Training, images: Images) -> None:
    result, _ = evaluate_on_test(trained, images, device=CPU)
    batches = Evaluation(
        images=images,
        indices=np.arange(len(images.labels)),
        mean=trained.batches.mean,
        std=trained.batches.std,
        batch_size=EVALUATION_BATCH,
        device=CPU,
    )
    evaluated = evaluate(trained.model, batches)
    assert (result.loss, result.accuracy) == (evaluated.loss, evaluated.accuracy)
    assert list(result.metrics) == list(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        assert result.metrics[name] == function(evaluated.probabilities, evaluated.labels)
    assert 0.3 < result.accuracy < 1


def test_the_accuracy_of_the_predictions_is_the_test_accuracy(trained: Training, images: Images) -> None:
    result, predictions = evaluate_on_test(trained, images, device=CPU)
    assert (predictions.predicted == predictions.labels).mean() == result.accuracy
    np.testing.assert_array_equal(predictions.labels, images.labels)
    assert predictions.data_hash == result.data_hash == images.content_hash


def test_probabilities_are_the_softmax_of_the_logits_per_image(trained: Training, images: Images) -> None:
    result, predictions = evaluate_on_test(trained, images, device=CPU)
    assert predictions.probabilities.shape == (result.num_images, 10)
    probabilities = predictions.probabilities.astype(np.float64)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=2e-3)
    true = probabilities[np.arange(result.num_images), images.labels]
    assert -np.log(true).mean() == pytest.approx(result.loss, abs=1e-3)


class NearTie(nn.Module):
    """Model whose two largest probabilities are equal in float16."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([1.0, 1.0001, 0.0] + [0.0] * 7).expand(len(images), 10)


def test_the_predicted_class_is_decided_in_float32(trained: Training, images: Images) -> None:
    training = copy(trained)
    training.model = NearTie()
    result, predictions = evaluate_on_test(training, images, device=CPU)
    assert (predictions.probabilities[:, 0] == predictions.probabilities[:, 1]).all()
    assert (predictions.predicted == 1).all()
    assert result.accuracy == (images.labels == 1).mean()
