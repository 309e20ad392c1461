"""Tests of a plan: its cells, trials, images, steps and sizes equal those of the run; its seconds are fitted."""

import math
from itertools import product
from typing import Any

import pytest

from lkca_search.data.store import Images
from lkca_search.errors import SearchError, SpaceFileError
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.plan import Plan
from lkca_search.search.planning.planner import make_plan
from lkca_search.search.planning.space_size import sampled_configurations
from lkca_search.search.planning.workload import WORKER_BYTES, WorkloadFactory, largest_gpu_bytes
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection
from lkca_search.spec.space_file import SpaceFile
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device
from lkca_search.training.images import DataDirs
from lkca_search.training.testing import open_test_images
from tests.support.records import make_predictions


def plan_of(space_file: SpaceFile, data_dirs: DataDirs, **options: Any) -> Plan:
    return make_plan(space_file, data_dirs, num_cpus=4, num_gpus=0, **options)


def trial(spec: SearchSpec, configuration: Configuration) -> TrialSpec:
    return TrialSpec(
        data=spec.data,
        training=spec.training,
        resources=spec.resources.of_trial(),
        configuration=configuration,
        seed=1,
        split_seed=split_seed(spec),
    )


# Cells and trials


def test_a_plan_has_every_cell_with_its_trials_images_and_steps(read: Any, data_dirs: DataDirs) -> None:
    plan = plan_of(read(), data_dirs)
    assert [tuple(dataset) for dataset in plan.datasets] == [
        (("name", "digits"), ("shape", (8, 8, 1)), ("num_classes", 10))
    ]
    sizes = {0.1: 116, 1.0: 1151}
    assert [cell.cell for cell in plan.cells] == [cell.key for cell in cells(read().spec)]
    for cell, (family, fraction) in zip(plan.cells, product(("lkca", "vit"), sizes), strict=True):
        size, trials = sizes[fraction], 8 if family == "lkca" else 4
        assert cell.num_configurations == {"lkca": 12, "vit": 4}[family]
        assert (cell.num_trials, cell.budget) == (trials, 8)
        assert cell.num_train_images == (size, size)
        assert cell.steps == (3 * math.ceil(size / 64),) * 2
        assert cell.epochs == (3.0, 3.0)
        assert cell.samples == 3 * size * trials
        assert cell.num_parameters[0] < cell.num_parameters[1]
    assert plan.num_trials == 24
    assert plan.samples == sum(cell.samples for cell in plan.cells)
    assert plan.total_flops == sum(cell.total_flops for cell in plan.cells)


def test_a_planned_trial_equals_its_training(read: Any, data_dirs: DataDirs, images: Images) -> None:
    spec = read().spec
    planned = {cell.cell: cell for cell in plan_of(read(), data_dirs).cells}
    workloads = WorkloadFactory(spec, images)
    for cell in cells(spec):
        for configuration in sampled_configurations(spec, cell, 2):
            workload = workloads.make(configuration)
            facts, training = open_training(trial(spec, configuration), data_dirs, device=choose_device(0))
            assert workload.steps == facts.planned_steps == planned[cell.key].steps[0]
            assert workload.num_train_images == facts.num_train_images == planned[cell.key].num_train_images[0]
            assert workload.num_validation_images == facts.num_validation_images
            for name in ("num_parameters", "flops"):
                low, high = getattr(planned[cell.key], name)
                assert low <= getattr(facts, name) <= high
                assert getattr(workload.cost, name) == getattr(facts, name)
            assert workload.memory_bytes == WORKER_BYTES + 16 * facts.num_parameters + facts.activation_bytes
            if cell.levels["data_fraction"] == 0.1:
                *_, last = results = list(training.results())
                assert (workload.samples, workload.num_reports) == (last.samples, len(results))


@pytest.mark.parametrize(
    "length", ["steps: 7", "samples: 1000", "epochs: 2", "epochs: 2, min_steps: 9", "epochs: 3, max_steps: 4"]
)
def test_planned_steps_and_images_equal_those_of_the_loop_for_every_unit_of_length(
    read: Any, data_dirs: DataDirs, images: Images, length: str
) -> None:
    spec = read(f"training={{{length}, batch_size: 100}}", "parameters.depth={int: [1, 3]}").spec
    configuration = sampled_configurations(spec, cells(spec)[0], 1)[0]
    workload = WorkloadFactory(spec, images).make(configuration)
    _, training = open_training(trial(spec, configuration), data_dirs, device=choose_device(0))
    *_, last = training.results()
    assert (workload.steps, workload.samples, workload.epochs) == (last.step, last.samples, last.epoch)
    assert workload.total_flops == workload.cost.flops * (3 * last.samples + workload.num_evaluated)


def test_a_searched_fraction_gives_a_range_of_images_and_steps(read: Any, data_dirs: DataDirs) -> None:
    searched = "parameters.data_fraction={float: [0.1, 1.0], log: true}"
    overrides = ("~factors.data_fraction", searched, "factors.family=[vit]", "~parameters.kernel_size")
    (cell,) = plan_of(read(*overrides), data_dirs).cells
    assert (cell.num_train_images, cell.steps) == ((116, 1151), (6, 54))
    assert (cell.num_configurations, cell.num_trials) == (None, 8)
    assert 3 * 8 * 116 < cell.samples < 3 * 8 * 1151


def test_a_configuration_that_cannot_be_trained_is_refused_with_its_line(read: Any, data_dirs: DataDirs) -> None:
    with pytest.raises(SpaceFileError, match=r"kernel_size .* got 9 .*space.yaml:7|kernel_size .*override"):
        plan_of(read("parameters.kernel_size.choice=[3, 9]"), data_dirs)
    with pytest.raises(SpaceFileError, match="data_fraction must leave an image per class"):
        plan_of(read("factors.data_fraction=[0.001]"), data_dirs)


def test_several_metrics_and_a_pruner_do_not_change_the_planned_trials(read: Any, data_dirs: DataDirs) -> None:
    plain = plan_of(read(), data_dirs)
    goals = plan_of(read("search.metric=[val_accuracy, flops]", "search.goal=[maximize, minimize]"), data_dirs)
    pruned = plan_of(read("search.pruner=median"), data_dirs)
    assert goals == plain
    assert pruned.cells == plain.cells
    assert any("upper bounds" in note for note in pruned.notes)


def test_a_plan_names_the_default_family_of_a_file_without_one(read: Any, data_dirs: DataDirs) -> None:
    without = plan_of(read("~factors.family", "~parameters.kernel_size"), data_dirs)
    assert [note for note in without.notes if note.startswith("family: lkca in every cell")]
    assert not [note for note in plan_of(read(), data_dirs).notes if note.startswith("family")]


# Seconds, slots, hours


def test_the_totals_include_replicates(read: Any, data_dirs: DataDirs) -> None:
    alone = plan_of(read(), data_dirs)
    confirmed = plan_of(read("confirm.draws=3", "confirm.seeds=2", "confirm.top=2"), data_dirs)
    assert (alone.num_replicates, confirmed.num_replicates) == (0, 4 * 3 * 2 * 2)
    assert [cell.num_replicates for cell in confirmed.cells] == [12] * 4
    for with_them, without in zip(confirmed.cells, alone.cells, strict=True):
        more = (without.num_trials + 12) / without.num_trials
        assert with_them.samples == pytest.approx(without.samples * more)
        assert with_them.seconds == pytest.approx(without.seconds * more)
    assert confirmed.samples == sum(cell.samples for cell in confirmed.cells)
    repeated = plan_of(read("search.repeats=3", "confirm.draws=3", "confirm.seeds=2", "confirm.top=2"), data_dirs)
    assert (len(repeated.cells), repeated.num_replicates) == (12, confirmed.num_replicates)
    assert any("replicates: planned as trials" in note for note in confirmed.notes)
    single = plan_of(read("confirm.draws=1"), data_dirs)
    assert ["is not tested" in " ".join(plan.notes) for plan in (confirmed, single)] == [False, True]


def test_the_planned_predictions_have_the_uncompressed_size_of_their_files(read: Any, data_dirs: DataDirs) -> None:
    confirmed = plan_of(read("confirm.draws=3", "confirm.seeds=2"), data_dirs)
    images = open_test_images(DataSection(dataset="digits"), data_dirs)
    predictions = make_predictions(0, num_images=len(images.labels), num_classes=len(images.class_names))
    arrays = (predictions.labels, predictions.predicted, predictions.probabilities)
    index_bytes = 4 * len(images.labels)
    assert confirmed.disk.predictions == 4 * 3 * 2 * (index_bytes + sum(array.nbytes for array in arrays))
    assert plan_of(read(), data_dirs).disk.predictions == 0


def test_the_planned_weights_are_those_of_the_models_to_keep(read: Any, data_dirs: DataDirs) -> None:
    confirm = ("confirm.draws=3", "confirm.seeds=2")
    largest = [4 * cell.num_parameters[1] for cell in plan_of(read(*confirm), data_dirs).cells]
    for kept, num_models in (("replicates", 6), ("best", 7), ("none", 0)):
        plan = plan_of(read(*confirm, f"keep.weights={kept}"), data_dirs)
        assert plan.disk.weights == num_models * sum(largest)
    assert plan_of(read(), data_dirs).disk.weights == 0


def test_hours_are_seconds_divided_by_slots_and_at_least_the_longest_trial(read: Any, data_dirs: DataDirs) -> None:
    one, four = plan_of(read("resources.cpu=4"), data_dirs), plan_of(read(), data_dirs)
    assert (one.num_slots, four.num_slots) == (1, 4)
    for plan in (one, four):
        seconds = sum(cell.seconds for cell in plan.cells)
        assert plan.hours * 3600 == pytest.approx(seconds / plan.num_slots)
    crowd = make_plan(read(), data_dirs, num_cpus=1000)
    assert crowd.hours * 3600 == pytest.approx(max(cell.trial_seconds[1] for cell in crowd.cells))
    assert (four.basis, four.calibration) == ("assumed", None)


def test_a_trial_that_exceeds_the_machine_is_refused(read: Any, data_dirs: DataDirs) -> None:
    refused = r"got {cpu: 1, gpu: 0.5} per trial, and the largest node has {cpu: 4, gpu: 0}; to plan for another"
    with pytest.raises(SearchError, match=refused):
        plan_of(read("resources.gpu=0.5"), data_dirs)


def test_concurrent_trials_are_limited_by_max_concurrent(read: Any, data_dirs: DataDirs) -> None:
    assert plan_of(read("resources.max_concurrent=3"), data_dirs).num_slots == 3
    assert plan_of(read("resources.max_concurrent=30"), data_dirs).num_slots == 4


def test_custom_resources_are_assumed_to_be_available_with_a_note(read: Any, data_dirs: DataDirs) -> None:
    plan = plan_of(read("resources.custom={a100: 0.25}"), data_dirs)
    assert plan.num_slots == 4
    assert "custom resources (a100) are assumed to be available" in plan.notes


def test_gpu_auto_is_planned_as_it_runs(read: Any, data_dirs: DataDirs, images: Images) -> None:
    auto = ("resources.gpu=auto", "resources.gpu_memory=2")
    plan = make_plan(read(*auto), data_dirs, num_cpus=12, num_gpus=2)
    trial_bytes = largest_gpu_bytes(read().spec, {None: images})
    assert int(2e9 * 0.9 // trial_bytes) == 2
    assert plan.num_slots == 4
    assert plan.notes[0].startswith("gpu: auto: 2 trials per GPU (gpu: 0.5 each); the largest trial needs")


def test_gpu_auto_without_a_known_gpu_memory_is_refused(read: Any, data_dirs: DataDirs) -> None:
    if choose_device("auto").type == "cpu":
        with pytest.raises(SearchError, match=r"this machine has none; give it as resources\.gpu_memory, in GB"):
            make_plan(read("resources.gpu=auto"), data_dirs, num_cpus=4, num_gpus=1)
