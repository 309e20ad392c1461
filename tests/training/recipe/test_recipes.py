"""Laws of all recipes: exact resume, and the default recipe gives the numbers of a plain loop."""

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.records.trial import TrialSpec
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import OPTIMIZERS, Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import read_checkpoint, save_checkpoint
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from lkca_search.training.recipe.averaging import averaging_decay
from lkca_search.training.recipe.loss import balanced_weights, make_loss
from lkca_search.training.testing import evaluate_on_test
from tests.support.trainings import measured

CPU = torch.device("cpu")
MODELS: dict[str, dict[str, Any]] = {
    "lkca": {"family": "lkca", "kernel_size": 3, "patch_size": 2, "depth": 1, "width": 8},
    "vit": {"family": "vit", "num_heads": 2, "pooling": "class_token", "patch_size": 2, "depth": 1, "width": 8},
    "resnet": {"family": "resnet", "depth": 1, "width": 8},
}
GOLDEN: dict[str, tuple[dict[str, Any], list[tuple[float, float]]]] = {
    "lkca": (
        {"family": "lkca", "kernel_size": 3, "patch_size": 2, "depth": 2, "width": 16},
        [(3.7407, 3.426027), (3.18643, 3.100443), (3.16354, 3.030644)],
    ),
    "vit": (
        {"family": "vit", "num_heads": 4, "pooling": "class_token", "patch_size": 2, "depth": 2, "width": 16},
        [(2.830523, 2.564593), (2.521344, 2.479197), (2.42998, 2.466737)],
    ),
    "cct": (
        {"family": "cct", "depth": 1, "width": 16, "num_heads": 2},
        [(2.305434, 2.300978), (2.299249, 2.299642), (2.302214, 2.299311)],
    ),
    "convmixer": (
        {"family": "convmixer", "depth": 2, "width": 16, "patch_size": 2, "kernel_size": 3},
        [(2.325258, 2.315781), (2.312044, 2.31662), (2.335236, 2.319396)],
    ),
    "resnet": (
        {"family": "resnet", "depth": 1, "width": 16},
        [(2.361303, 2.322594), (2.370511, 2.324776), (2.376965, 2.331622)],
    ),
}
"""Per family its configuration, and train_loss and val_loss of each report, as code without recipe names gave them."""


def spec_of(values: dict[str, Any], *, steps: int = 4, reports: int = 2, augment: tuple[str, ...] = ()) -> TrialSpec:
    return TrialSpec(
        data=DataSection.model_validate({"dataset": "digits", "augment": augment}),
        training=TrainingSection(steps=steps, batch_size=32, reports=reports),
        resources=TrialResources(),
        configuration=Configuration.model_validate(values),
        seed=1,
        split_seed=2,
    )


def opened(spec: TrialSpec, data_dirs: DataDirs, *checkpoints: Path) -> Training:
    configure_torch(num_threads=1)
    return open_training(spec, data_dirs, device=CPU, checkpoints=checkpoints)[1]


def weights_hash(training: Training) -> str:
    tensors = [*training.model.state_dict().values(), *training.evaluated_model.state_dict().values()]
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    optimizer = draw(st.sampled_from([*OPTIMIZERS, "torch.optim.NAdam"]))
    schedule = draw(st.sampled_from(["cosine", "linear", "constant", "warmup_stable_decay"]))
    values = {
        **draw(st.sampled_from(list(MODELS.values()))),
        "data_fraction": 0.1,
        "optimizer": optimizer,
        "schedule": schedule,
        "learning_rate": draw(st.sampled_from([1e-4, 1e-2])),
        "weight_decay": draw(st.sampled_from([0.0, 0.1])),
        "weight_decay_on": draw(st.sampled_from(["all", "weights"])),
        "warmup_fraction": draw(st.sampled_from([0.0, 0.3])),
        "gradient_clip": draw(st.sampled_from([0.0, 0.5])),
        "ema_decay": draw(st.sampled_from([0.0, 0.5, 0.99])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "class_weights": draw(st.sampled_from(["none", "balanced"])),
        "precision": draw(st.sampled_from(["auto", "bfloat16"])),
        "batch_size": draw(st.sampled_from([8, 32])),
        "augment": draw(st.sampled_from(["none", "crop+flip", "erase+mixup"])),
    }
    if optimizer == "sgd":
        values["momentum"] = draw(st.sampled_from([None, 0.0, 0.8]))
    elif optimizer in OPTIMIZERS:
        values["beta2"] = draw(st.sampled_from([None, 0.95]))
    if schedule != "constant":
        values["final_lr_fraction"] = draw(st.sampled_from([None, 0.0, 0.1]))
    return values


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as a checkpoint's file gives it back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    loaded: dict[str, Any] = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    return loaded


@settings(max_examples=20, deadline=None)
@given(recipe=recipes())
def test_a_training_with_any_recipe_interrupted_at_every_report_equals_an_uninterrupted_one(
    recipe: dict[str, Any], data_dirs: DataDirs
) -> None:
    spec = spec_of(recipe, steps=3, reports=3)
    whole = opened(spec, data_dirs)
    expected = [measured(result) for result in whole.results()]
    training = opened(spec, data_dirs)
    for done in range(3):
        results = training.results()
        assert [measured(next(results)) for _ in range(done + 1)] == expected[: done + 1]
        state = stored(training.state())
        resumed = opened(spec, data_dirs)
        resumed.load_state(state)
        training = resumed
    assert weights_hash(training) == weights_hash(whole)


@pytest.mark.parametrize("family", MODELS)
def test_the_default_recipe_is_adamw_with_warm_up_and_cosine_bit_for_bit(family: str, data_dirs: DataDirs) -> None:
    steps, spec = 10, spec_of(MODELS[family], steps=10, reports=1, augment=("crop",))
    training, plain = opened(spec, data_dirs), opened(spec, data_dirs)
    optimizer = torch.optim.AdamW(plain.model.parameters(), 1e-3, (0.9, 0.999), 1e-8, 0.05, fused=True)
    for step in range(steps):
        rate = 1e-3 * (step + 1) / 1
        if step >= 1:
            rate = 1e-6 + (1e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * (step - 1) / (steps - 1)))
        optimizer.param_groups[0]["lr"] = rate
        torch.manual_seed(derive_seed(1, "step", step))
        images, labels = plain.batches.train_batch(step)
        optimizer.zero_grad()
        F.cross_entropy(plain.model.train()(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    list(training.results())
    assert weights_hash(training) == weights_hash(plain)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_default_recipe_gives_the_numbers_that_it_gave_before_recipe_names(name: str, data_dirs: DataDirs) -> None:
    values, losses = GOLDEN[name]
    training = opened(spec_of(values, steps=12, reports=3, augment=("crop",)), data_dirs)
    found = [(result.train_loss, result.val_loss) for result in training.results()]
    # Another processor rounds in another way.
    assert found == [pytest.approx(pair, rel=1e-3) for pair in losses]


def test_the_average_of_the_weights_is_evaluated_tested_and_in_the_checkpoint(
    data_dirs: DataDirs, digits: Images, tmp_path: Path
) -> None:
    spec = spec_of({**MODELS["resnet"], "ema_decay": 0.7, "learning_rate": 1e-2}, steps=3, reports=3)
    training = opened(spec, data_dirs)
    averages: dict[str, torch.Tensor] = {}
    for number, result in enumerate(training.results()):
        decay = averaging_decay(number, 0.7) if number else 0.0
        for name, tensor in training.model.state_dict().items():
            average = averages.get(name, tensor)
            averages[name] = decay * average + (1 - decay) * tensor if tensor.is_floating_point() else tensor.clone()
        path = save_checkpoint(training.state(), tmp_path, step=result.step)
    assert [averaging_decay(number, 0.7) for number in (1, 2, 100)] == [2 / 11, 3 / 12, 0.7]
    for name, tensor in training.evaluated_model.state_dict().items():
        torch.testing.assert_close(tensor, averages[name])
        assert torch.equal(read_checkpoint(path)["average"][f"module.{name}"], tensor)
    assert not torch.equal(training.model.head.weight, training.evaluated_model.head.weight)
    tested, _ = evaluate_on_test(training, digits, device=CPU)
    training.model.load_state_dict(training.evaluated_model.state_dict())
    assert evaluate_on_test(training, digits, device=CPU)[0] == tested


def test_a_checkpoint_without_its_average_is_not_used(data_dirs: DataDirs, tmp_path: Path) -> None:
    spec = spec_of({**MODELS["lkca"], "ema_decay": 0.7})
    training = opened(spec, data_dirs)
    next(training.results())
    state = training.state()
    state.pop("average")
    save_checkpoint(state, tmp_path, step=training.step)
    assert opened(spec, data_dirs, tmp_path).step == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_with_values_of_another_shape_is_not_used(
    optimizer: str, data_dirs: DataDirs, tmp_path: Path
) -> None:
    spec = spec_of({**MODELS["lkca"], "optimizer": optimizer})
    training = opened(spec, data_dirs)
    next(training.results())
    state = training.state()
    save_checkpoint(state, tmp_path, step=training.step)
    assert opened(spec, data_dirs, tmp_path).step == 2
    values = state["optimizer"]["state"][1]
    values[next(name for name in values if name != "step")] = torch.zeros(1)
    save_checkpoint(state, tmp_path, step=training.step)
    assert opened(spec, data_dirs, tmp_path).step == 0


def test_clipping_bounds_the_norm_of_the_gradient(data_dirs: DataDirs) -> None:
    norms = []
    for clip in (0.0, 1e-3):
        training = opened(spec_of({**MODELS["lkca"], "gradient_clip": clip}, steps=1, reports=1), data_dirs)
        list(training.results())
        gradients = [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]
        norms.append(float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))))
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_balanced_class_weights_are_those_of_scikit_learn(data_dirs: DataDirs, digits: Images) -> None:
    spec = spec_of({"class_weights": "balanced", "data_fraction": 0.1})
    labels = digits.labels[assign_images(digits.labels, spec.data, spec.configuration, split_seed=2).train]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    loss = make_loss(spec.configuration, labels, 10, CPU)
    assert loss.weight.tolist() == pytest.approx(expected.tolist())
    assert balanced_weights([6, 2, 0]) == [8 / 18, 8 / 6, 0]


def test_with_equal_classes_balanced_class_weights_change_nothing(data_dirs: DataDirs) -> None:
    size = {"data_fraction": None, "images_per_class": 7}
    outcomes = []
    for class_weights in ("none", "balanced"):
        training = opened(spec_of({**MODELS["lkca"], **size, "class_weights": class_weights}), data_dirs)
        outcomes.append(([measured(result) for result in training.results()], weights_hash(training)))
    assert outcomes[0] == outcomes[1]
