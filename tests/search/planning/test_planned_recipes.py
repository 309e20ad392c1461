"""Plans of searches in which batch size, augmentations and length differ between cells or trials."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lkca_search.data.store import Images
from lkca_search.models.registry import resolve
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.calibration import calibrate
from lkca_search.search.planning.planner import make_plan
from lkca_search.search.planning.space_size import extreme_configurations, sampled_configurations
from lkca_search.search.planning.workload import WorkloadFactory
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.space_file import SpaceFile, read_space_file
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs, open_train_images

SPACE = """\
data: {dataset: digits, validation: 0.2}
factors:
  family: [lkca]
  data_fraction: [0.1]
parameters:
  patch_size: {value: 4}
  kernel_size: {value: 3}
  depth: {value: 1}
  width: {value: 16}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {epochs: 20}
search: {trials_per_cell: 3}
"""


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory: pytest.TempPathFactory) -> DataDirs:
    return DataDirs(cache=tmp_path_factory.mktemp("cache"), data_dir=None)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    (tmp_path / "space.yaml").write_text(SPACE)
    return lambda *overrides: read_space_file(tmp_path / "space.yaml", overrides)


@pytest.fixture
def images(data_dirs: DataDirs, read: Any) -> Images:
    return open_train_images(read().spec.data, data_dirs)


def test_a_cell_is_planned_with_its_own_batch_size_length_and_reports(read: Any, data_dirs: DataDirs) -> None:
    file: SpaceFile = read("factors.batch_size=[16, 64]", "~training.epochs", "factors.epochs=[20, 40]")
    plan = make_plan(file, data_dirs, num_cpus=2, num_gpus=0)
    images = 116  # 10% of the 1,151 that 20% validation leaves, rounded per class
    assert [cell.batch_size for cell in plan.cells] == [(16, 16), (16, 16), (64, 64), (64, 64)]
    assert [cell.steps for cell in plan.cells] == [(160, 160), (320, 320), (40, 40), (80, 80)]
    assert [cell.samples for cell in plan.cells] == [3 * epochs * images for epochs in (20, 40, 20, 40)]
    assert plan.cells[0].memory_bytes < plan.cells[2].memory_bytes
    assert len(plan.unequal_lengths) == 4
    assert make_plan(read("~training.epochs", "factors.steps=[50]"), data_dirs, num_cpus=2).unequal_lengths == ()
    equal = make_plan(read("factors.batch_size=[16, 64]", "factors.augment=[none, light]"), data_dirs, num_cpus=2)
    assert equal.unequal_lengths == ()


def test_a_planned_trial_equals_its_training(read: Any, data_dirs: DataDirs, images: Images) -> None:
    levels = ["factors.batch_size=[7, 200]", "factors.augment=[none, [crop]]", "~training.epochs"]
    for length in ("factors.epochs=[3]", "factors.steps=[11]", "factors.samples=[333]"):
        spec = read(*levels, length).spec
        for cell in cells(spec):
            configuration = extreme_configurations(spec, cell)[0]
            workload = WorkloadFactory(spec, images).make(configuration)
            trial = TrialSpec(
                data=spec.data,
                training=spec.training,
                resources=spec.resources.of_trial(),
                configuration=resolve(configuration, images.shape, 10),
                seed=0,
                split_seed=split_seed(spec),
            )
            facts, training = open_training(trial, data_dirs, device=torch.device("cpu"), images=images)
            assert (workload.steps, workload.batch_size) == (facts.planned_steps, training.batches.batch_size)
            assert workload.samples == training.batches.samples_before(workload.steps)
            assert workload.cost.activation_bytes == facts.activation_bytes


def test_a_searched_batch_size_is_planned_at_its_ends(read: Any, images: Images) -> None:
    spec = read("parameters.batch_size={int: [8, 100]}", "~training.epochs", "parameters.steps={choice: [90, 30]}").spec
    (cell,) = cells(spec)
    workloads = list(WorkloadFactory(spec, images).make_all(extreme_configurations(spec, cell)))
    assert {(each.batch_size, each.steps) for each in workloads} == {(8, 90), (8, 30), (100, 90), (100, 30)}
    sampled = sampled_configurations(spec, cell, 40)
    assert len({each.batch_size for each in sampled}) > 20
    largest = max(workloads, key=lambda each: each.memory_bytes)
    assert largest.batch_size == 100


def test_a_calibration_times_the_batches_of_each_level(
    read: Any, data_dirs: DataDirs, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.1)
    spec = read("factors.batch_size=[8, 32, 100]", "~training.epochs", "factors.epochs=[20]").spec
    factory = WorkloadFactory(spec, images)
    workloads = [factory.make(each) for cell in cells(spec) for each in extreme_configurations(spec, cell)]
    run, _ = calibrate(spec, workloads, data_dirs)
    assert run.held_out is not None
    assert sorted(each.batch_size for each in (*run.fitted, run.held_out.measured)) == [8, 32, 100]


def test_levels_of_augment_have_speeds_of_their_own(read: Any, images: Images) -> None:
    spec = read("factors.augment=[none, [crop, rand_augment]]").spec
    kinds = {WorkloadFactory(spec, images).make(extreme_configurations(spec, cell)[0]).kind for cell in cells(spec)}
    assert kinds == {"lkca in float32, augment none", "lkca in float32, augment crop+rand_augment"}


def test_notes_have_the_bytes_per_parameter_of_the_optimizers_and_averages(read: Any, data_dirs: DataDirs) -> None:
    def memory(*overrides: str) -> str:
        return next(note for note in make_plan(read(*overrides), data_dirs).notes if note.startswith("memory"))

    assert ", 16 bytes per parameter (weight, gradient, moments" in memory()
    assert ", 12 to 20 bytes per parameter" in memory(
        "factors.optimizer=[adamw, sgd]",
        "factors.ema_decay={levels: [0.0, 0.9], when: {optimizer: [adamw]}}",
    )


def test_a_matched_width_does_not_depend_on_the_recipe(read: Any, images: Images) -> None:
    matched = ["~parameters.width", "parameters.match_parameters={value: 20k}"]
    spec = read(*matched, "factors.batch_size=[8, 32]", "factors.augment=[none, light]").spec
    resolved = [resolve(each, images.shape, 10) for cell in cells(spec) for each in extreme_configurations(spec, cell)]
    assert len({each.width for each in resolved}) == 1
    assert {(each.batch_size, each.augment) for each in resolved} == {
        (batch_size, augment) for batch_size in (8, 32) for augment in ("none", "light")
    }


def test_values_that_are_one_training_in_some_cells_are_a_note_of_the_plan(read: Any, data_dirs: DataDirs) -> None:
    file = read("parameters.batch_size={choice: [64, 128, 256]}", "factors.data_fraction=[0.1, 1.0]")
    notes = make_plan(file, data_dirs, num_cpus=2, num_gpus=0).notes
    cell = "in 1 of 2 cells, such as family=lkca,data_fraction=0.1"
    assert f"batch_size 128 and 256 are one training {cell}, and two trials" in notes
