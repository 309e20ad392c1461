"""Inspection of a trained replicate: complete, without an effect on the training, and never a fault of it."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lkca_search.data.store import Images
from lkca_search.models.networks.lkca import LKCA
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs
from lkca_search.training.inspection.replicate import NUM_IMAGES, inspect_model, inspect_replicate
from lkca_search.training.loop import Training
from lkca_search.training.recipe.precision import Numerics
from lkca_search.training.testing import evaluate_on_test, open_test_images

CPU = torch.device("cpu")
DATA = DataSection(dataset="digits")


@pytest.fixture(scope="module")
def images(data_dirs: DataDirs) -> Images:
    return open_test_images(DATA, data_dirs)


def open_small(data_dirs: DataDirs, **names: Any) -> Training:
    given: dict[str, Any] = {"data_fraction": 0.5, "patch_size": 2, "depth": 2, "width": 16, "learning_rate": 1e-2}
    spec = TrialSpec(
        data=DATA,
        training=TrainingSection(steps=20, reports=2),
        resources=TrialResources(),
        configuration=Configuration(**{**given, **names}),
        seed=0,
        split_seed=0,
    )
    return open_training(spec, data_dirs, device=CPU)[1]


@pytest.fixture(scope="module")
def trained(data_dirs: DataDirs) -> Training:
    training = open_small(data_dirs, family="lkca_grouped", num_heads=4, kernel_size=5)
    list(training.results())
    return training


def test_the_kernels_are_the_parameters_of_the_model(trained: Training, images: Images) -> None:
    inspection = inspect_replicate(trained, images, device=CPU)
    assert inspection.failures == ()
    assert inspection.num_images == NUM_IMAGES
    assert inspection.image_size == (8, 8)
    kernels = [module.kernel for module in trained.evaluated_model.modules() if isinstance(module, LKCA)]
    assert len(inspection.layers) == len(kernels) == 2
    for layer, kernel in zip(inspection.layers, kernels, strict=True):
        assert (layer.kind, layer.grid, layer.num_groups) == ("kernel", (4, 4), 4)
        np.testing.assert_array_equal(layer.weights, kernel.detach().numpy())
        np.testing.assert_allclose(layer.energy, kernel.detach().square().sum(0).numpy(), rtol=1e-6)
        np.testing.assert_allclose(layer.mass, kernel.detach().abs().sum(0).numpy(), rtol=1e-6)


def test_an_inspection_changes_no_random_state_no_weight_and_no_test_result(trained: Training, images: Images) -> None:
    before = evaluate_on_test(trained, images, device=CPU)
    state = {name: value.clone() for name, value in trained.model.state_dict().items()}
    modes = [module.training for module in trained.model.modules()]
    random = torch.get_rng_state()
    first = inspect_replicate(trained, images, device=CPU)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in trained.model.modules()] == modes
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in trained.model.parameters())
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, state[name])
    after = evaluate_on_test(trained, images, device=CPU)
    assert after[0] == before[0]
    assert after[1].probabilities.tobytes() == before[1].probabilities.tobytes()
    second = inspect_replicate(trained, images, device=CPU)
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.weights.tobytes() == other.weights.tobytes()
    assert first.receptive_field is not None
    assert second.receptive_field is not None
    assert first.receptive_field.energy.tobytes() == second.receptive_field.energy.tobytes()


def test_a_training_that_is_inspected_between_two_results_ends_in_the_same_weights(
    data_dirs: DataDirs, images: Images
) -> None:
    plain, inspected = (open_small(data_dirs, family="vit", num_heads=4, drop_path_rate=0.2) for _ in range(2))
    list(plain.results())
    for _ in inspected.results():
        assert inspect_replicate(inspected, images, device=CPU).failures == ()
    for name, value in inspected.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), name


def test_a_compiled_model_is_inspected_without_compilation(trained: Training, images: Images) -> None:
    plain = inspect_replicate(trained, images, device=CPU)
    model = copy.deepcopy(trained.evaluated_model)
    calls: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(1)
        return graph.forward

    model.compile(backend=backend)
    compiled = copy.copy(trained)
    compiled.model, compiled.numerics = model, Numerics(compiled=True)
    inspection = inspect_replicate(compiled, images, device=CPU)
    assert calls == []
    assert inspection.failures == ()
    assert inspection.receptive_field is not None
    assert plain.receptive_field is not None
    assert inspection.receptive_field.energy.tobytes() == plain.receptive_field.energy.tobytes()


class Broken(nn.Module):
    """Model that fails in each call without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 10, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            raise RuntimeError("no gradient\nand a second line")
        logits: Tensor = self.layer(pixels).mean(dim=(2, 3))
        return logits


def test_a_part_that_fails_has_its_reason_and_the_other_parts_remain(images: Images) -> None:
    model = Broken()
    inspection = inspect_model(model, images, mean=torch.zeros(1), std=torch.ones(1), device=CPU)
    assert inspection.failures == ("attention: no gradient",)
    assert inspection.layers == ()
    assert inspection.receptive_field is not None
    assert model.training


def test_a_model_of_your_own_without_maps_has_a_reason(images: Images) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    inspection = inspect_model(model, images, mean=torch.zeros(1), std=torch.ones(1), device=CPU)
    assert inspection.failures == ("receptive field: no module has an output with height and width",)
