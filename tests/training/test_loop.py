import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from lkca_search.augmentations import Augmentation
from lkca_search.data.store import Images
from lkca_search.models.cost import count_activation_bytes, count_flops
from lkca_search.records.record import Result
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.training.checkpoints import save_checkpoint
from lkca_search.training.device import choose_device, configure_torch
from lkca_search.training.evaluation import evaluate
from lkca_search.training.faults import is_machine_fault
from lkca_search.training.images import DataDirs
from tests.support.trainings import CPU, FAMILIES, LKCA, SPEC, changed, measured, opened, outcome, split, weights_hash

families = pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
SGD = LKCA.model_copy(update={"optimizer": "sgd"})

FRESH_PROCESS = """
import hashlib, sys, torch
from pathlib import Path
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.records.trial import TrialSpec

data_dirs = DataDirs(cache=Path(sys.argv[1]), data_dir=None)
for text in sys.argv[2:]:
    spec = TrialSpec.model_validate_json(text)
    configure_torch(num_threads=spec.resources.cpu)
    _, training = open_training(spec, data_dirs, device=torch.device("cpu"))
    for result in training.results():
        print(result.model_dump_json())
    print(hashlib.sha256(b"".join(w.numpy().tobytes() for w in training.model.state_dict().values())).hexdigest())
"""


@families
def test_a_training_interrupted_at_every_report_equals_an_uninterrupted_one(
    spec: TrialSpec, data_dirs: DataDirs, tmp_path: Path
) -> None:
    attempts: list[Path] = []
    curve: list[Result] = []
    while len(curve) < 6:
        _, training = opened(spec, data_dirs, *attempts)
        assert training.step == (curve[-1].step if curve else 0)
        results = training.results()
        assert [next(results) for _ in curve] == curve
        curve.append(next(results))
        attempts.append(tmp_path / f"attempt-{len(attempts)}")
        save_checkpoint(training.state(), attempts[-1], step=curve[-1].step)
    assert training.step == training.last_step == 30
    assert next(results, None) is None
    assert ([measured(result) for result in curve], weights_hash(training)) == outcome(spec, data_dirs)


def test_seconds_add_up_over_attempts(data_dirs: DataDirs, tmp_path: Path) -> None:
    _, training = opened(SPEC, data_dirs)
    results = training.results()
    first = next(results)
    save_checkpoint(training.state(), tmp_path, step=first.step)
    _, training = opened(SPEC, data_dirs, tmp_path)
    seconds = [result.seconds for result in training.results()]
    assert seconds[0] == first.seconds > 0
    assert seconds == sorted(seconds)


def test_a_trial_equals_itself_after_another_in_the_same_process_and_in_a_fresh_one(data_dirs: DataDirs) -> None:
    first = {name: outcome(spec, data_dirs) for name, spec in FAMILIES.items()}
    torch.manual_seed(123)
    outcome(changed(SPEC, data_fraction=0.2, seed=99, cpu=2), data_dirs)
    assert {name: outcome(spec, data_dirs) for name, spec in FAMILIES.items()} == first
    command = [sys.executable, "-c", FRESH_PROCESS, str(data_dirs.cache)]
    command += [spec.model_dump_json() for spec in FAMILIES.values()]
    lines = iter(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())
    for curve, weights in first.values():
        assert [measured(Result.model_validate_json(next(lines))) for _ in curve] == curve
        assert next(lines) == weights


CHANGES: list[tuple[str, dict[str, object]]] = [
    ("lkca", {"seed": 5}),
    ("lkca", {"split_seed": 5}),
    ("lkca", {"draw": 1, "data_fraction": 0.5}),
    ("lkca", {"data_fraction": 0.4}),
    ("lkca", {"images_per_class": 10, "data_fraction": None}),
    ("lkca", {"validation": 0.2}),
    ("lkca", {"scale_validation": True}),
    *(("lkca", {"augment": (name,)}) for name in get_args(Augmentation)),
    ("lkca", {"batch_size": 16}),
    ("lkca", {"steps": 7}),
    ("lkca", {"patch_size": 4, "kernel_size": 1}),
    ("lkca", {"depth": 3}),
    ("lkca", {"width": 24}),
    ("lkca", {"match_parameters": 50_000, "width": None}),
    ("lkca", {"mlp_ratio": 3.0}),
    ("lkca", {"kernel_size": 5}),
    ("lkca", {"kernel_init": "delta"}),
    ("lkca", {"position_embedding": False}),
    ("vit", {"num_heads": 2}),
    ("vit", {"pooling": "mean"}),
    ("vit", {"attention_init": "mimetic"}),
    ("vit", {"shifted_patches": True}),
    ("vit", {"locality_attention": True}),
    ("vit", {"drop_path_rate": 0.5}),
    ("lkca", {"learning_rate": 1e-3}),
    ("lkca", {"weight_decay": 0.5}),
    ("lkca", {"label_smoothing": 0.0}),
    ("lkca", {"precision": "bfloat16"}),
    ("lkca", {"warmup_fraction": 0.5}),
    ("lkca", {"optimizer": "sgd", "learning_rate": 0.1}),
    ("lkca", {"optimizer": "lamb"}),
    ("lkca", {"optimizer": "lion"}),
    ("lkca_sgd", {"momentum": 0.5}),
    ("lkca", {"beta2": 0.9}),
    ("lkca", {"schedule": "linear"}),
    ("lkca", {"schedule": "constant"}),
    ("lkca", {"schedule": "warmup_stable_decay"}),
    ("lkca", {"final_lr_fraction": 0.1}),
    ("lkca", {"weight_decay_on": "weights"}),
    ("lkca", {"gradient_clip": 0.1}),
    ("lkca", {"ema_decay": 0.9}),
    ("lkca", {"class_weights": "balanced"}),
    ("lkca", {"dropout": 0.1}),
    ("lkca", {"steps": None, "epochs": 1}),
    ("lkca", {"steps": None, "samples": 300}),
]


@pytest.mark.parametrize(
    ("family", "change"), CHANGES, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_every_value_of_a_spec_has_an_effect(family: str, change: dict[str, object], data_dirs: DataDirs) -> None:
    specs = FAMILIES | {"lkca_sgd": SPEC.model_copy(update={"configuration": SGD})}
    short = changed(specs[family], steps=6, reports=1, data_fraction=0.5)
    assert outcome(changed(short, **change), data_dirs) != outcome(short, data_dirs)


def test_the_effect_of_every_name_of_a_configuration_is_tested() -> None:
    names = {name for _, change in CHANGES for name in change}
    # A compilation has no effect but rounding and time: tests/training/recipe/test_precision.py.
    assert set(Configuration.model_fields) - names == {"family", "dataset", "compile"}


@families
def test_a_training_does_not_change_the_global_random_state(spec: TrialSpec, data_dirs: DataDirs) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    _, training = opened(spec, data_dirs)
    assert torch.equal(torch.get_rng_state(), before)
    for _ in training.results():
        assert torch.equal(torch.get_rng_state(), before)


@families
def test_a_training_learns(spec: TrialSpec, data_dirs: DataDirs) -> None:
    long = changed(spec, steps=300, reports=1, augment=(), drop_path_rate=0.0, learning_rate=1e-2)
    curve, _ = outcome(long, data_dirs)
    assert curve[-1]["val_accuracy"] > 0.8


def test_samples_and_epochs_are_counted_batch_by_batch(data_dirs: DataDirs) -> None:
    spec = changed(SPEC, data_fraction=0.05, batch_size=25, steps=12, reports=12)
    facts, training = opened(spec, data_dirs)
    assert facts.num_train_images % 25 != 0
    full, rest = divmod(facts.num_train_images, 25)
    sizes = ([25] * full + [rest]) * 12
    for result in training.results():
        assert result.samples == sum(sizes[: result.step])
        assert result.epoch == pytest.approx(result.samples / facts.num_train_images)


@pytest.mark.parametrize("mode", [True, False])
def test_an_evaluation_does_not_change_mode_or_weights(mode: bool, data_dirs: DataDirs) -> None:
    _, training = opened(SPEC, data_dirs)
    before = weights_hash(training)
    training.model.train(mode)
    batches = [(torch.rand(5, 1, 8, 8), torch.arange(5)), (torch.rand(2, 1, 8, 8), torch.arange(2))]
    first, second = (evaluate(training.model, batches) for _ in range(2))
    assert (first.loss, first.accuracy) == (second.loss, second.accuracy)
    assert torch.equal(first.logits, second.logits)
    assert training.model.training is mode
    assert weights_hash(training) == before


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_trial_computes_with_the_threads_of_its_spec(num_threads: int, data_dirs: DataDirs) -> None:
    facts, _ = opened(changed(SPEC, cpu=num_threads), data_dirs)
    assert torch.get_num_threads() == facts.provenance.num_threads == num_threads


@families
def test_the_validation_result_equals_one_computed_image_by_image(
    spec: TrialSpec, data_dirs: DataDirs, digits: Images
) -> None:
    _, training = opened(spec, data_dirs)
    *_, last = training.results()
    holdout, subset = split(spec, digits)
    seen = digits.pixels[subset] / 255
    training.model.eval()
    losses, hits = [], []
    for i in holdout.validation:
        image = torch.tensor((digits.pixels[i] / 255 - seen.mean()) / seen.std(), dtype=torch.float32)
        with torch.no_grad():
            logits = training.model(image.permute(2, 0, 1)[None])[0]  # (H, W, C) -> (1, C, H, W)
        losses.append(-logits.double().log_softmax(0)[digits.labels[i]].item())
        hits.append(logits.argmax().item() == digits.labels[i])
    assert last.val_loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert last.val_accuracy == np.mean(hits)


def test_a_training_learns_from_mixed_labels(data_dirs: DataDirs) -> None:
    mixed = changed(SPEC, steps=300, reports=1, augment=("cutmix", "mixup"), drop_path_rate=0.0, learning_rate=1e-2)
    curve, _ = outcome(mixed, data_dirs)
    assert curve[-1]["val_accuracy"] > 0.8


def test_a_training_with_every_augmentation_resumes_to_the_same_numbers(data_dirs: DataDirs, tmp_path: Path) -> None:
    spec = changed(SPEC, augment=("crop_reflect", "flip", "trivial_augment", "erase", "cutmix", "mixup"), reports=2)
    _, training = opened(spec, data_dirs)
    first = next(training.results())
    save_checkpoint(training.state(), tmp_path, step=first.step)
    _, training = opened(spec, data_dirs, tmp_path)
    assert ([measured(result) for result in training.results()], weights_hash(training)) == outcome(spec, data_dirs)


def test_the_metadata_describe_the_data_and_the_model(data_dirs: DataDirs, digits: Images) -> None:
    facts, training = opened(SPEC, data_dirs)
    assert facts.data_hash == digits.content_hash
    assert facts.num_parameters == sum(weight.numel() for weight in training.model.parameters())
    assert facts.model == "LKCA, one kernel for all channels (the paper's)"
    assert facts.flops == count_flops(training.model, torch.zeros(1, 1, 8, 8))
    assert facts.activation_bytes == count_activation_bytes(training.model, torch.zeros(32, 1, 8, 8))
    assert facts.planned_steps == training.last_step == 30
    assert facts.description is not None
    assert facts.description.pooling == "mean of the tokens"
    assert facts.description.configuration.mlp_ratio == 2.0
    assert facts.description.configuration.kernel_size == SPEC.configuration.kernel_size
    assert facts.provenance.device == "cpu"


def test_batch_norm_trains_on_a_subset_that_leaves_a_single_image(data_dirs: DataDirs) -> None:
    batch_norm = {"family": "timm:mobilenetv3_small_050", "kernel_size": None, "patch_size": None, "depth": None}
    spec = changed(SPEC, **batch_norm, width=None, drop_path_rate=None, steps=None, epochs=1, batch_size=19, reports=1)
    facts, training = opened(spec, data_dirs)
    assert (facts.num_train_images, facts.last_batch, facts.planned_steps) == (1293, 20, 68)
    (result,) = training.results()
    assert (result.samples, result.epoch) == (1293, 1.0)


def put(*_: object) -> None:
    """Run an operation that has no deterministic implementation on the CPU."""
    torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))


def test_an_operation_that_is_not_deterministic_fails_a_strict_training(data_dirs: DataDirs) -> None:
    _, training = opened(SPEC, data_dirs)
    training.model.register_forward_hook(put)
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        next(training.results())
    assert not is_machine_fault(RuntimeError("put_ does not have a deterministic implementation"))


def test_with_warn_an_operation_that_is_not_deterministic_runs_and_is_listed_and_no_number_changes(
    data_dirs: DataDirs,
) -> None:
    expected, _ = outcome(SPEC, data_dirs)
    _, training = opened(SPEC, data_dirs)
    configure_torch(num_threads=1, deterministic="warn")
    training.model.register_forward_hook(put)
    assert [measured(result) for result in training.results()] == expected
    assert training.nondeterministic == ("put_",)
    _, again = opened(SPEC, data_dirs)
    configure_torch(num_threads=1, deterministic="warn")
    next(again.results())
    assert again.nondeterministic == ()


def test_without_a_share_of_a_gpu_a_trial_trains_on_the_cpu() -> None:
    assert choose_device(0.0) == CPU
    assert choose_device(0.5) == (torch.device("cuda", 0) if torch.cuda.is_available() else CPU)


def test_a_result_survives_json_and_a_checkpoint_bit_for_bit(data_dirs: DataDirs, tmp_path: Path) -> None:
    _, training = opened(SPEC, data_dirs)
    results = [result for result, _ in zip(training.results(), range(2), strict=False)]
    save_checkpoint(training.state(), tmp_path, step=results[-1].step)
    _, resumed = opened(SPEC, data_dirs, tmp_path)
    again = resumed.results()
    for result in results:
        assert next(again) == result == Result.model_validate_json(json.dumps(json.loads(result.model_dump_json())))
