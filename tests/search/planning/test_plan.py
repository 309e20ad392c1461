"""Tests of a plan: its cells, trials, images, steps and sizes equal those of the run; its seconds are fitted."""

import math
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lkca_search.data.store import Images
from lkca_search.errors import SearchError, SpaceFileError
from lkca_search.records.trial import TrialSpec
from lkca_search.search.planning.calibration import calibrate
from lkca_search.search.planning.plan import Plan
from lkca_search.search.planning.planner import make_plan
from lkca_search.search.planning.space_size import count_configurations, extreme_configurations, sampled_configurations
from lkca_search.search.planning.speed import FamilyLines, Line, Speed, assumed_speed
from lkca_search.search.planning.workload import WORKER_BYTES, Workload, WorkloadFactory, largest_gpu_bytes
from lkca_search.search.state.manifests import split_seed
from lkca_search.spec.cells import Cell, cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection
from lkca_search.spec.space_file import SpaceFile, read_space_file
from lkca_search.training.assembly import open_training
from lkca_search.training.device import choose_device
from lkca_search.training.images import DataDirs, open_train_images
from lkca_search.training.testing import open_test_images
from tests.support.records import make_predictions

SPACE = """
data: {dataset: digits, validation: 0.2}
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1.0]
parameters:
  kernel_size: {choice: [3, 7, 5], when: {family: [lkca]}}
  depth: {int: [1, 2]}
  width: {choice: [16, 64]}
  patch_size: {value: 2}
  drop_path_rate: {value: 0.0}
training: {epochs: 3, batch_size: 64}
search: {trials_per_cell: 8, sampler: random}
"""


@pytest.fixture
def data_dirs(tmp_path: Path) -> DataDirs:
    return DataDirs(cache=tmp_path / "datasets", data_dir=None)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(*overrides: str) -> SpaceFile:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE)
        return read_space_file(path, overrides)

    return read


@pytest.fixture
def images(data_dirs: DataDirs, read: Any) -> Images:
    return open_train_images(read().spec.data, data_dirs)


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


@pytest.mark.parametrize(
    ("points", "base", "slope"),
    [
        ([(10, 3.0), (20, 5.0)], 1.0, 0.2),
        ([(10, 3.0)], 0.0, 0.3),
        ([(10, 1.0), (20, 4.0), (30, 9.0)], 0.0, None),
        ([(10, 3.0), (20, 2.0)], None, 0.0),
        ([(10, 3.0), (20, 5.0), (40, 9.0)], 1.0, 0.2),
    ],
)
def test_a_line_fits_its_points_with_an_intercept_and_a_slope_of_at_least_0(
    points: list[tuple[float, float]], base: float | None, slope: float | None
) -> None:
    line = Line.fit(points)
    assert line.intercept >= 0
    assert line.slope >= 0
    assert base is None or line.intercept == pytest.approx(base)
    assert slope is None or line.slope == pytest.approx(slope)


def test_a_family_has_its_own_line_or_the_overall_line_scaled_to_its_point() -> None:
    lines = FamilyLines.fit({"lkca": [(10, 3.0), (20, 5.0)], "vit": [(20, 50.0)]})
    assert lines.predict("lkca", 30) == pytest.approx(7.0)
    assert lines.predict("vit", 20) == pytest.approx(50.0)
    assert lines.predict("resnet", 20) == lines.overall.predict(20)


def test_the_seconds_of_a_trial_are_start_steps_and_evaluations(read: Any, images: Images) -> None:
    spec = read().spec
    workload = WorkloadFactory(spec, images).make(extreme_configurations(spec, cells(spec)[0])[0])
    speed = Speed(
        start_seconds=1.0,
        step=FamilyLines(overall=Line(intercept=2.0, slope=0.0)),
        evaluation=FamilyLines(overall=Line(intercept=0.5, slope=0.0)),
    )
    num_evaluated = workload.num_reports * workload.num_validation_images
    assert speed.trial_seconds(workload) == 1.0 + 2.0 * workload.steps + 0.5 * num_evaluated
    cores = [assumed_speed(TrialResources(cpu=cpu), on_gpu=False).trial_seconds(workload) for cpu in (1, 4)]
    assert cores[0] > cores[1]


def test_a_calibration_measures_the_extremes_of_each_family_and_holds_out_one_configuration(
    read: Any, data_dirs: DataDirs, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.5)
    diverging = "parameters.learning_rate={value: 1.0e+3}"
    spec = read("parameters.depth={int: [1, 4]}", "training={steps: 400}", diverging).spec
    workloads = [
        WorkloadFactory(spec, images).make(configuration)
        for cell in cells(spec)
        for configuration in extreme_configurations(spec, cell)
    ]
    workloads += [
        WorkloadFactory(spec, images).make(configuration)
        for cell in cells(spec)
        for configuration in sampled_configurations(spec, cell, 6)
    ]
    calls: list[tuple[int, int]] = []
    calibration, speed = calibrate(spec, workloads, data_dirs, on_measured=lambda done, of: calls.append((done, of)))
    assert calls == [(i, 7) for i in range(1, 8)]
    for family in ("lkca", "vit"):
        of_family = [workload.cost.flops for workload in workloads if workload.configuration.family == family]
        fitted = [workload.flops for workload in calibration.fitted if workload.family == family]
        assert (min(fitted), max(fitted), len(fitted)) == (min(of_family), max(of_family), 3)
    assert calibration.held_out is not None
    assert calibration.held_out.measured not in calibration.fitted
    predicted, measured = calibration.held_out.predicted_trial_seconds, calibration.held_out.measured_trial_seconds
    assert min(predicted, measured) > 0
    assert calibration.held_out.error == pytest.approx(predicted / measured - 1)
    assert all(speed.trial_seconds(workload) > 0 for workload in workloads)


# Size of a cell's space


CONDITIONAL = {
    "family": {"choice": ("lkca", "vit", "convmixer")},
    "kernel_size": {"choice": (3, 5), "when": {"family": ("lkca", "convmixer")}},
    "depth": {"int": (1, 9), "step": 2},
    "mlp_ratio": {"choice": (1.0, 2.0, 4.0), "when": {"family": ("lkca", "vit"), "depth": (1, 3)}},
    "width": {"value": 64},
}


def conditional(**more: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {
            "data": {"dataset": "digits"},
            "factors": {"data_fraction": (1.0,)},
            "parameters": {**CONDITIONAL, **more},
            "training": {"steps": 20},
            "search": {"trials_per_cell": 3},
        }
    )


def test_the_number_of_distinct_configurations_equals_that_of_their_list() -> None:
    spec = conditional()
    listed = set()
    for family, kernel, depth, ratio in product(("lkca", "vit", "convmixer"), (3, 5), (1, 3, 5, 7, 9), (1, 2, 4)):
        listed.add(
            (
                family,
                kernel if family != "vit" else None,
                depth,
                ratio if family != "convmixer" and depth <= 3 else None,
            )
        )
    (cell,) = cells(spec)
    assert count_configurations(spec, cell) == len(listed)


def test_a_range_of_floats_has_infinitely_many_configurations() -> None:
    spec = conditional(weight_decay={"float": (0.1, 0.2), "when": {"family": ("vit",)}})
    (cell,) = cells(spec)
    assert count_configurations(spec, cell) is None
    assert count_configurations(conditional(), cell) is not None
    wide = conditional(depth={"int": (1, 10**9)})
    assert count_configurations(wide, cell) == 5 * (10**9 - 2) + 2 * (2 * 3 + 3 + 2)


def test_extreme_configurations_include_the_smallest_and_the_largest_model(read: Any, images: Images) -> None:
    spec = read("parameters.depth={int: [1, 3]}", "parameters.width={choice: [48, 16, 32]}").spec
    workloads = WorkloadFactory(spec, images)
    for cell in cells(spec)[::2]:
        extremes = [workloads.make(configuration) for configuration in extreme_configurations(spec, cell)]
        kernels = (3, 5, 7) if cell.levels["family"] == "lkca" else (None,)
        all_workloads = [
            workloads.make(
                Configuration(
                    **cell.levels, kernel_size=kernel, depth=depth, width=width, patch_size=2, drop_path_rate=0.0
                )  # type: ignore[arg-type]
            )
            for kernel, depth, width in product(kernels, (1, 2, 3), (16, 32, 48))
        ]
        for size in (num_parameters, flops, memory):
            assert (min(map(size, extremes)), max(map(size, extremes))) == (
                min(map(size, all_workloads)),
                max(map(size, all_workloads)),
            )


def num_parameters(workload: Workload) -> int:
    return workload.cost.num_parameters


def flops(workload: Workload) -> int:
    return workload.cost.flops


def memory(workload: Workload) -> int:
    return workload.memory_bytes


def test_sampled_configurations_are_even_over_every_domain_and_satisfy_conditions() -> None:
    spec = conditional(learning_rate={"float": (1e-4, 1e-2), "log": True}, num_heads={"int": (1, 16), "log": True})
    draws = sampled_configurations(spec, Cell(levels={"data_fraction": 1.0}), 30)
    assert Counter(draw.family for draw in draws) == dict.fromkeys(("lkca", "vit", "convmixer"), 10)
    assert Counter(draw.depth for draw in draws) == dict.fromkeys((1, 3, 5, 7, 9), 6)
    assert sum(draw.learning_rate < 1e-3 for draw in draws) == 15
    assert sum((draw.num_heads or 0) <= 3 for draw in draws) in range(14, 18)
    for draw in draws:
        assert (draw.kernel_size is None) == (draw.family == "vit")
        assert (draw.mlp_ratio is not None) == (draw.family != "convmixer" and (draw.depth or 0) <= 3)
    assert draws == sampled_configurations(spec, Cell(levels={"data_fraction": 1.0}), 30)
