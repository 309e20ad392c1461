"""Every precision trains in its own arithmetic, resumes bit-identically, and leaves the process as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.data.store import Images
from lkca_search.data.subsets import assign_images
from lkca_search.errors import UserError
from lkca_search.models.registry import build_model
from lkca_search.recipe import COMPILED_STEPS
from lkca_search.records.record import TIMES, Result
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration, ImageShape
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.checkpoints import load_newest_checkpoint, save_checkpoint
from lkca_search.training.device import configure_torch
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from lkca_search.training.recipe.loss import make_loss
from lkca_search.training.recipe.precision import Numerics, resolve_numerics
from lkca_search.training.recipe.schedule import Schedule

CPU = torch.device("cpu")
SHAPE = ImageShape(8, 8, 1)
GPU = pytest.param(torch.device("cuda"), marks=pytest.mark.gpu, id="cuda")
devices = pytest.mark.parametrize("device", [pytest.param(CPU, id="cpu"), GPU])
MODELS = {
    "lkca": {"patch_size": 2, "depth": 2, "width": 16, "drop_path_rate": 0.2},
    "vit": {"patch_size": 2, "depth": 2, "width": 16, "num_heads": 4, "drop_path_rate": 0.2},
    "resnet": {"depth": 1, "width": 16},
}


def make_spec(family: str = "lkca", *, steps: int = 6, **changes: Any) -> TrialSpec:
    """Return a trial on 130 images, whose batches of 32 leave a last batch of 2."""
    configuration = {"family": family, "images_per_class": 13, "learning_rate": 3e-3, **MODELS[family], **changes}
    return TrialSpec(
        data=DataSection(dataset="digits"),
        training=TrainingSection(steps=steps, batch_size=32, reports=2),
        resources=TrialResources(),
        configuration=Configuration.model_validate(configuration),
        seed=1,
        split_seed=2,
    )


def opened(spec: TrialSpec, data_dirs: DataDirs, *checkpoints: Path, device: torch.device = CPU) -> Training:
    configure_torch(num_threads=1)
    return open_training(spec, data_dirs, device=device, checkpoints=checkpoints)[1]


def measured(results: list[Result]) -> list[dict[str, Any]]:
    return [result.model_dump(exclude=TIMES) for result in results]


def weights(training: Training) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in training.model.state_dict().values()]


def assert_resumes_exactly(make: Any, folder: Path) -> None:
    """Interrupt a training at every report, and compare it with an uninterrupted one. `make` opens a training."""
    whole = make()
    curve = list(whole.results())
    attempts: list[Path] = []
    part: list[Result] = []
    for count in range(1, len(curve) + 1):
        training = make(*attempts)
        results = training.results()
        assert [next(results) for _ in part] == part
        part.append(next(results))
        attempts.append(folder / f"attempt-{count}")
        save_checkpoint(training.state(), attempts[-1], step=part[-1].step)
        assert len(part) == count
    assert measured(part) == measured(curve)
    for one, other in zip(weights(training), weights(whole), strict=True):
        assert torch.equal(one, other)


@devices
@pytest.mark.parametrize("family", MODELS)
def test_a_bfloat16_training_interrupted_at_every_report_equals_an_uninterrupted_one(
    family: str, device: torch.device, data_dirs: DataDirs, tmp_path: Path
) -> None:
    spec = make_spec(family, precision="bfloat16")
    assert_resumes_exactly(lambda *folders: opened(spec, data_dirs, *folders, device=device), tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
@pytest.mark.parametrize("family", MODELS)
def test_a_training_on_a_gpu_interrupted_at_every_report_equals_an_uninterrupted_one(
    family: str, precision: str, data_dirs: DataDirs, tmp_path: Path
) -> None:
    spec = make_spec(family, precision=precision)
    assert_resumes_exactly(lambda *folders: opened(spec, data_dirs, *folders, device=torch.device("cuda")), tmp_path)


@pytest.mark.parametrize("family", MODELS)
def test_bfloat16_trains_near_float32_and_its_weights_losses_and_logits_are_float32(
    family: str, data_dirs: DataDirs
) -> None:
    curves = {}
    for precision in ("float32", "bfloat16"):
        training = opened(make_spec(family, steps=30, precision=precision), data_dirs)
        curves[precision] = list(training.results())
        assert training.numerics.precision == precision
        assert {tensor.dtype for tensor in weights(training) if tensor.is_floating_point()} == {torch.float32}
        images, _ = training.batches.train_batch(0)
        with torch.no_grad():
            logits = training.numerics.forward(training.model, images)
        assert logits.dtype == torch.float32
        is_rounded = torch.equal(logits, logits.bfloat16().float())
        assert is_rounded == (precision == "bfloat16")  # the head computed in the short type
    losses = [[result.train_loss for result in curve] for curve in curves.values()]
    assert losses[0] != losses[1]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0.05, atol=0.02)


def test_auto_is_float32_without_compilation_on_a_cpu(data_dirs: DataDirs) -> None:
    metadata, training = open_training(make_spec(), data_dirs, device=CPU)
    assert (metadata.used_precision, metadata.compiled, metadata.channels_last) == ("float32", False, False)
    explicit = opened(make_spec(precision="float32", compile="off"), data_dirs)
    assert measured(list(training.results())) == measured(list(explicit.results()))


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_a_precision_that_a_cpu_does_not_have_is_an_error_with_rule_and_value(
    precision: str, data_dirs: DataDirs
) -> None:
    rule = f"precision must be auto, float32 or bfloat16 on a CPU, got {precision}"
    with pytest.raises(UserError, match=rule):
        opened(make_spec(precision=precision), data_dirs)


def test_compile_without_a_compiler_is_an_error_with_rule_and_value(
    data_dirs: DataDirs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"compile must be off or auto on a machine without a C\+\+ compiler"):
        opened(make_spec(compile="on"), data_dirs)
    assert not opened(make_spec(compile="auto"), data_dirs).numerics.compiled


def make_training(numerics: Numerics, images: Images, *folders: Path, family: str = "lkca", **changes: Any) -> Training:
    """Return a training with numerics that no configuration has on this machine."""
    spec = make_spec(family, **changes)
    configure_torch(num_threads=1)
    holdout = assign_images(images.labels, spec.data, spec.configuration, split_seed=2)
    batches = Batches(images=images, indices=holdout.train, batch_size=32, augment=(), seed=1, device=CPU)
    statistics = {"mean": batches.mean, "std": batches.std}
    torch.manual_seed(0)
    model = build_model(spec.configuration, SHAPE, 10)
    numerics.prepare(model)
    training = Training(
        model=model,
        batches=batches,
        validation=Evaluation(images=images, indices=holdout.validation, batch_size=100, device=CPU, **statistics),
        schedule=Schedule.plan(spec.training, spec.configuration, num_images=len(holdout.train)),
        configuration=spec.configuration,
        loss=make_loss(spec.configuration, images.labels[holdout.train], 10, CPU),
        seed=1,
        numerics=numerics,
    )
    assert load_newest_checkpoint(folders, training.load_state) == ()
    return training


@pytest.mark.parametrize("family", MODELS)
def test_a_float16_training_resumes_exactly_with_the_state_of_its_scaler(
    family: str, digits: Images, tmp_path: Path
) -> None:
    numerics = Numerics(precision="float16")
    training = make_training(numerics, digits, family=family)
    next(training.results())
    scaler = training.state()["scaler"]
    assert scaler["scale"] > 1
    assert scaler["_growth_tracker"] > 0
    assert_resumes_exactly(lambda *folders: make_training(numerics, digits, *folders, family=family), tmp_path)


def test_the_scale_of_float16_is_lowered_after_an_overflow_and_weights_stay(digits: Images) -> None:
    training = make_training(Numerics(precision="float16"), digits)
    before = weights(training)
    state = training.state()
    numerics = training.numerics
    scaler = numerics.make_scaler()
    scaler.load_state_dict({**state["scaler"], "scale": 2.0**40})
    optimizer = torch.optim.AdamW(training.model.parameters(), fused=True)
    images, labels = training.batches.train_batch(0)
    loss = nn.functional.cross_entropy(numerics.forward(training.model, images), labels)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**39
    for one, other in zip(weights(training), before, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_channels_last_changes_rounding_alone_and_resumes_exactly(
    precision: Any, digits: Images, tmp_path: Path
) -> None:
    numerics = Numerics(precision=precision, channels_last=True)
    training = make_training(numerics, digits, family="resnet")
    losses = [result.train_loss for result in training.results()]
    assert training.model.stage2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    plain = make_training(Numerics(precision=precision), digits, family="resnet")
    expected = [result.train_loss for result in plain.results()]
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected), rtol=0.05, atol=0.02)
    assert_resumes_exactly(lambda *folders: make_training(numerics, digits, *folders, family="resnet"), tmp_path)


class GraphCounter:
    """Backend of torch.compile that runs each graph as it is, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        self.count += 1
        return graph.forward


@pytest.mark.parametrize("family", ["lkca", "resnet"])
def test_a_compiled_training_is_that_of_the_model_up_to_rounding(family: str, digits: Images) -> None:
    """torch.compile traces the model and its gradients; the kernels are those of the uncompiled model (aot_eager)."""
    training = make_training(Numerics(compiled=True, compiler="aot_eager"), digits, family=family)
    plain = make_training(Numerics(), digits, family=family)
    assert list(training.model.state_dict()) == list(plain.model.state_dict())
    one, other = (next(each.results()) for each in (training, plain))
    assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


def test_a_compiled_training_interrupted_at_every_report_equals_an_uninterrupted_one(
    digits: Images, tmp_path: Path
) -> None:
    numerics = Numerics(compiled=True, compiler=GraphCounter())  # of ResNet, whose norms have a state
    assert_resumes_exactly(lambda *folders: make_training(numerics, digits, *folders, family="resnet"), tmp_path)


@pytest.mark.parametrize(("family", "graphs"), [("lkca", 2), ("vit", 2), ("resnet", 3)])
def test_one_compilation_serves_batches_of_every_size(family: str, graphs: int, digits: Images) -> None:
    """A training and an evaluation graph. torch's convolution on CPUs is another one below 16 images."""
    counter = GraphCounter()
    training = make_training(Numerics(compiled=True, compiler=counter), digits, family=family)
    assert {len(training.batches.train_batch(step)[1]) for step in range(training.last_step)} == {32, 2}
    list(training.results())  # validation images come in batches of 100 and fewer
    assert counter.count == graphs


def test_a_process_compiles_more_models_than_torch_counts(digits: Images) -> None:
    """A reused worker trains many models. torch stops to compile the code of a module at the ninth."""
    for _ in range(9):
        counter = GraphCounter()
        training = make_training(Numerics(compiled=True, compiler=counter), digits, family="vit")
        training.numerics.forward(training.model, training.batches.train_batch(0)[0])
        assert counter.count == 1


@pytest.mark.slow
@devices
def test_the_configuration_compiles_with_the_default_backend(
    device: torch.device, data_dirs: DataDirs, tmp_path: Path
) -> None:
    spec = make_spec("resnet", compile="on")
    assert opened(spec, data_dirs, device=device).numerics.compiled
    assert_resumes_exactly(lambda *folders: opened(spec, data_dirs, *folders, device=device), tmp_path)


@pytest.mark.gpu
def test_auto_on_a_gpu_is_bfloat16_with_channels_last_and_compiles_long_trainings(data_dirs: DataDirs) -> None:
    device = torch.device("cuda")
    numerics = opened(make_spec("resnet"), data_dirs, device=device).numerics
    assert (numerics.precision, numerics.compiled, numerics.channels_last) == ("bfloat16", False, True)
    model = build_model(make_spec("lkca").configuration, SHAPE, 10)
    numerics = resolve_numerics(Configuration(), model, device=device, steps=COMPILED_STEPS)
    assert (numerics.compiled, numerics.channels_last) == (True, False)


def test_the_precision_of_the_process_is_as_it_was_after_each_step() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for precision, expected in (("tf32", ("high", True)), ("float32", ("highest", False))):
        numerics = Numerics(precision=precision, device_type="cuda")  # type: ignore[arg-type]
        with numerics.applied():
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == expected
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
        with pytest.raises(KeyError), numerics.applied():
            raise KeyError
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_a_checkpoint_of_another_precision_is_not_resumed(data_dirs: DataDirs, tmp_path: Path) -> None:
    training = opened(make_spec(precision="bfloat16"), data_dirs)
    first = next(training.results())
    save_checkpoint(training.state(), tmp_path, step=first.step)
    metadata, other = open_training(make_spec(), data_dirs, device=CPU, checkpoints=[tmp_path])
    assert other.step == 0
    assert "it was trained with bfloat16, not float32" in metadata.damaged_checkpoints[0]
    assert opened(make_spec(precision="bfloat16"), data_dirs, tmp_path).step == first.step


def test_a_checkpoint_of_an_earlier_version_is_resumed_in_float32(data_dirs: DataDirs, tmp_path: Path) -> None:
    training = opened(make_spec(), data_dirs)
    first = next(training.results())
    old = {name: value for name, value in training.state().items() if name not in ("numerics", "scaler")}
    save_checkpoint(old, tmp_path, step=first.step)
    assert opened(make_spec(), data_dirs, tmp_path).step == first.step
    assert opened(make_spec(precision="bfloat16"), data_dirs, tmp_path).step == 0


def test_a_bfloat16_training_with_an_averaged_model_and_clipped_gradients_resumes_exactly(
    data_dirs: DataDirs, tmp_path: Path
) -> None:
    spec = make_spec("resnet", precision="bfloat16", ema_decay=0.9, gradient_clip=1.0)
    assert_resumes_exactly(lambda *folders: opened(spec, data_dirs, *folders), tmp_path)


def test_a_float16_training_with_clipped_gradients_resumes_exactly(digits: Images, tmp_path: Path) -> None:
    numerics = Numerics(precision="float16")
    assert_resumes_exactly(
        lambda *folders: make_training(numerics, digits, *folders, gradient_clip=0.5, ema_decay=0.9), tmp_path
    )
