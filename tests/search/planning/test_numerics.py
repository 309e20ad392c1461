"""A plan takes the precision and the compilation of a trial into account: its memory, its seconds, its calibration."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.recipe import COMPILED_STEPS
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.calibration import calibrate
from lkca_search.search.planning.space_size import extreme_configurations
from lkca_search.search.planning.speed import assumed_speed
from lkca_search.search.planning.workload import WORKER_BYTES, Workload, WorkloadFactory
from lkca_search.spec.cells import cells
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.space_file import read_space_file
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs, open_train_images

SPACE = """
data: {dataset: digits, validation: 0.2}
factors: {family: [vit]}
parameters:
  depth: {value: 2}
  width: {value: 32}
  patch_size: {value: 2}
training: {steps: 100}
search: {trials_per_cell: 1}
"""


@pytest.fixture
def workloads(tmp_path: Path, data_dirs: DataDirs) -> Any:
    def workloads(*overrides: str) -> list[Workload]:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE)
        spec = read_space_file(path, overrides).spec
        factory = WorkloadFactory(spec, open_train_images(spec.data, data_dirs))
        return [factory.make(each) for cell in cells(spec) for each in extreme_configurations(spec, cell)]

    return workloads


def test_auto_is_planned_as_bfloat16_on_gpus_and_float32_on_cpus(workloads: Any) -> None:
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no bfloat16")
    (on_cpu,), (on_gpu,) = workloads(), workloads("resources.gpu=1.0")
    assert (on_cpu.precision, on_gpu.precision) == ("float32", "bfloat16")
    assert on_gpu.cost.activation_bytes < 0.75 * on_cpu.cost.activation_bytes
    parameters = on_cpu.memory_bytes - on_cpu.cost.activation_bytes
    assert on_gpu.memory_bytes - on_gpu.cost.activation_bytes == parameters > WORKER_BYTES  # weights stay float32


def test_the_planned_activations_of_a_precision_are_those_of_its_record(workloads: Any, data_dirs: DataDirs) -> None:
    for workload in workloads("factors.precision=[float32, bfloat16]"):
        spec = TrialSpec.model_validate(
            {
                "data": {"dataset": "digits", "validation": 0.2},
                "training": {"steps": 100},
                "resources": {},
                "configuration": workload.configuration.model_dump(),
                "seed": 0,
                "split_seed": 0,
            }
        )
        metadata, _ = open_training(spec, data_dirs, device=torch.device("cpu"))
        assert metadata.used_precision == workload.precision
        assert metadata.activation_bytes == workload.cost.activation_bytes


def test_a_compilation_is_planned_from_the_number_of_steps_that_pays_for_it(workloads: Any) -> None:
    def compiled(*overrides: str) -> list[bool]:
        return [workload.compiled for workload in workloads(*overrides)]

    steps = f"training.steps={COMPILED_STEPS}"
    assert compiled("resources.gpu=1.0", steps) == [True]
    assert compiled("resources.gpu=1.0", f"training.steps={COMPILED_STEPS - 1}") == [False]
    assert compiled(steps) == [False]
    plain, with_compilation = workloads("factors.compile=[off, on]")
    assert (plain.compiled, with_compilation.compiled) == (False, True)
    speed = assumed_speed(TrialResources(), on_gpu=False)
    added = speed.trial_seconds(with_compilation) - speed.trial_seconds(plain)
    assert added == pytest.approx(speed.compile_seconds)


def test_a_calibration_measures_each_precision(
    tmp_path: Path, workloads: Any, data_dirs: DataDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.05)
    made = workloads("factors.precision=[float32, bfloat16]", "parameters.depth={int: [1, 3]}")
    run, speed = calibrate(read_space_file(tmp_path / "space.yaml").spec, made, data_dirs)
    kinds = {"vit in float32", "vit in bfloat16"}
    assert {measured.kind for measured in run.fitted} == kinds
    assert speed.step.families.keys() == kinds
    assert all(measured.compile_seconds is None for measured in run.fitted)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_calibration_of_gpu_trials_on_a_cpu_measures_float32(
    tmp_path: Path, workloads: Any, data_dirs: DataDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.05)
    overrides = ("resources.gpu=1.0", "parameters.precision={value: float16}", "parameters.compile={value: on}")
    made = workloads(*overrides)
    spec = read_space_file(tmp_path / "space.yaml", overrides).spec
    run, _ = calibrate(spec, made, data_dirs)
    assert (run.device, run.fitted[0].compile_seconds) == ("cpu", None)
