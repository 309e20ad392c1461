"""Planner: computes the plan of a search without starting it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lkca_search.data.catalog import CATALOG
from lkca_search.data.store import Images
from lkca_search.errors import SearchError
from lkca_search.models.difference import is_of_architecture
from lkca_search.recipe import FEW_EPOCHS, MANY_EPOCHS
from lkca_search.records.predictions import bytes_per_image
from lkca_search.records.search.dataset import list_shortages
from lkca_search.search.planning.calibration import calibrate
from lkca_search.search.planning.notes import list_notes
from lkca_search.search.planning.packing import (
    GpuSharing,
    Resources,
    check_capacity,
    count_concurrent_trials,
    resource_request,
)
from lkca_search.search.planning.plan import DiskUse, Plan, PlannedCell, PlannedDataset
from lkca_search.search.planning.space_size import count_configurations, extreme_configurations, sampled_configurations
from lkca_search.search.planning.speed import Speed, assumed_speed
from lkca_search.search.planning.workload import (
    Workload,
    WorkloadFactory,
    sizes_with_unequal_lengths,
)
from lkca_search.search.state.dataset import describe_datasets
from lkca_search.search.studies.equal_trainings import list_partly_equal_values
from lkca_search.search.studies.space_check import check_space, sampled_models
from lkca_search.spec.cells import Cell, cells, specs_by_dataset
from lkca_search.spec.configuration import LENGTH_NAMES
from lkca_search.spec.factors import DATASET, repeats_of
from lkca_search.spec.resources import ResourcesSection, TrialResources
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile
from lkca_search.training.checkpoints import KEPT
from lkca_search.training.device import choose_device, gpu_memory_bytes
from lkca_search.training.images import DataDirs, open_all_train_images
from lkca_search.training.laws.own_code_check import check_own_code

T = TypeVar("T", int, float)
_CAPACITY_HINT = "; to plan for another machine or cluster, give --num-cpus and --num-gpus"
_MAX_SAMPLES = 48
"""Approximate number of sampled configurations over all cells with different models. Each model is built."""
_SAMPLES_PER_CELL = (6, 16)
"""Minimum and maximum number of sampled configurations per cell."""
_TRIAL_BYTES = 10_000
"""Measured size of a trial in records, tables, the ledger and the local MLflow store."""
_REPORT_BYTES = 2_500
"""Measured size of one report of a trial there."""
_INSPECTION_BYTES = 200_000
"""Measured size of the inspection of a replicate, with images of 32 pixels; 1.2 MB with a kernel per channel."""


@dataclass(frozen=True, kw_only=True)
class _SampledCell:
    """Cell with the workloads of some of its configurations."""

    cell: Cell
    extremes: list[Workload]
    """Workloads of the extreme configurations, including the smallest and the largest."""
    samples: list[Workload]
    """Workloads of evenly sampled configurations. Their mean estimates that of the cell."""

    @property
    def all(self) -> list[Workload]:
        return [*self.extremes, *self.samples]


def make_plan(
    space_file: SpaceFile,
    data_dirs: DataDirs,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    calibrate_speed: bool = False,
    on_measured: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Compute the plan of a search.

    Args:
        space_file: Space file of the search.
        data_dirs: Folders of the datasets.
        num_cpus: Cores for which to plan; by default those of this machine.
        num_gpus: GPUs for which to plan; by default 1 if this machine has any.
        calibrate_speed: True to time some configurations for about a minute.
        on_measured: Called after each timed configuration with the numbers of finished and of all configurations.

    Raises:
        SpaceFileError: A configuration cannot be trained.
        DataError: The data cannot be read.
        SearchError: No trial fits on the machine.
    """
    spec = space_file.spec
    check_space(space_file, images := open_all_train_images(spec, data_dirs))
    notes = [*space_file.notes, *check_own_code(space_file, images, data_dirs, sampled_models(spec))]
    on_gpu = choose_device(spec.resources.gpu).type != "cpu"
    num_cpus, num_gpus = num_cpus or os.cpu_count() or 1, int(on_gpu) if num_gpus is None else num_gpus
    sampled = _sample_cells(spec, images)
    node = {"CPU": float(num_cpus), "GPU": float(num_gpus)}
    sharing = _plan_gpu_sharing(spec, sampled, images, node) if spec.resources.gpu == "auto" else None
    trial = spec.resources.of_trial(gpu=sharing.share if sharing else None)
    num_slots = _count_slots(spec.resources, trial, node)
    run, speed = None, assumed_speed(trial, on_gpu=spec.resources.uses_gpu)
    workloads = [each for cell in sampled for each in cell.all]
    if calibrate_speed:
        run, speed = calibrate(spec, workloads, data_dirs, on_measured=on_measured)
    planned = tuple(_plan_cell(spec, cell, speed) for cell in sampled)
    return Plan(
        datasets=_planned_datasets(spec, images),
        cells=planned,
        num_trials=sum(cell.num_trials for cell in planned),
        num_replicates=sum(cell.num_replicates for cell in planned),
        samples=sum(cell.samples for cell in planned),
        total_flops=sum(cell.total_flops for cell in planned),
        disk=_disk_use(spec, images, sampled, planned, num_slots),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        num_slots=num_slots,
        basis="calibrated" if calibrate_speed else "assumed",
        calibration=run,
        hours=_hours(planned, num_slots),
        length_keys=tuple(_length_keys(spec)),
        few_epochs=tuple(cell.cell for cell in planned if cell.epochs[0] < FEW_EPOCHS),
        many_epochs=tuple(cell.cell for cell in planned if cell.epochs[1] > MANY_EPOCHS),
        few_steps=tuple(cell.cell for cell in planned if cell.steps[0] < (spec.training.reports or 0)),
        unequal_lengths=_unequal_lengths(sampled),
        notes=_all_notes(spec, images, sharing, [*notes, *list_notes(spec, workloads, run, on_gpu=on_gpu)]),
    )


def _planned_datasets(spec: SearchSpec, images: Mapping[str | None, Images]) -> tuple[PlannedDataset, ...]:
    """Return `Plan.datasets`."""
    return tuple(
        PlannedDataset(name=level or spec.data.place_of(None), shape=opened.shape, num_classes=len(opened.class_names))
        for level, opened in images.items()
    )


def _length_keys(spec: SearchSpec) -> Iterator[str]:
    """Yield `Plan.length_keys`."""
    for section, names in (("factors", spec.factors), ("parameters", spec.parameters)):
        yield from (f"{section}.{unit}" for unit in LENGTH_NAMES if unit in names)
    if spec.training.unit is not None:
        yield f"training.{spec.training.unit}"
    if spec.training.max_steps is not None:
        yield "training.max_steps"


def _unequal_lengths(sampled: Sequence[_SampledCell]) -> tuple[str, ...]:
    """Return `Plan.unequal_lengths`."""
    differ = sizes_with_unequal_lengths(workload for cell in sampled for workload in cell.all)
    return tuple(cell.cell.key for cell in sampled if any(workload.size in differ for workload in cell.all))


def _hours(planned: Sequence[PlannedCell], num_slots: int) -> float:
    """Return `Plan.hours`."""
    return max(sum(cell.seconds for cell in planned) / num_slots, *(cell.trial_seconds[1] for cell in planned)) / 3600


def _plan_gpu_sharing(
    spec: SearchSpec, sampled: Sequence[_SampledCell], images: Mapping[str | None, Images], node: Resources
) -> GpuSharing:
    """Compute the number of trials per GPU from `resources.gpu_memory` or the GPU of this machine."""
    gigabytes = spec.resources.gpu_memory
    gpu_bytes = gpu_memory_bytes() if gigabytes is None else gigabytes * 1e9
    if gpu_bytes is None:
        raise SearchError(
            "gpu: auto needs the memory of a GPU, and this machine has none; give it as resources.gpu_memory, in GB"
        )
    trial_bytes = max(
        workload.gpu_bytes(images[workload.configuration.dataset]) for cell in sampled for workload in cell.all
    )
    return GpuSharing(trial_bytes=trial_bytes, gpu_bytes=gpu_bytes, cpu=spec.resources.cpu, nodes=[node])


def _count_slots(resources: ResourcesSection, trial: TrialResources, node: Resources) -> int:
    """Return the number of trials that run at the same time on one machine. Custom resources are ignored."""
    request = resource_request(resources.model_copy(update={"custom": {}}), trial)
    check_capacity(request, [node], hint=_CAPACITY_HINT)
    slots = count_concurrent_trials(request, [node])
    return slots if resources.max_concurrent is None else min(slots, resources.max_concurrent)


def _sample_cells(spec: SearchSpec, images: Mapping[str | None, Images]) -> list[_SampledCell]:
    factories = {level: WorkloadFactory(part, images[level]) for level, part in specs_by_dataset(spec).items()}
    all_cells = cells(spec)
    models = [
        tuple(level for name, level in cell.levels.items() if is_of_architecture(name) or name == DATASET)
        for cell in all_cells
    ]
    count = max(_SAMPLES_PER_CELL[0], min(_SAMPLES_PER_CELL[1], _MAX_SAMPLES // len(set(models))))
    return [
        _SampledCell(
            cell=cell,
            extremes=list(factory.make_all(extreme_configurations(spec, cell))),
            samples=list(factory.make_all(sampled_configurations(spec, cell, count))),
        )
        for cell in all_cells
        for factory in (factories[cell.dataset],)
    ]


def _plan_cell(spec: SearchSpec, sampled: _SampledCell, speed: Speed) -> PlannedCell:
    budget = spec.search.trials_per_cell
    num_configurations = count_configurations(spec, sampled.cell)
    num_trials = budget if num_configurations is None else min(budget, num_configurations)
    confirm = spec.confirm
    draws = confirm.draws // max(len(repeats_of(spec.factors, spec.exclude)), 1) if confirm else 0
    num_replicates = min(confirm.top, num_trials) * draws * confirm.seeds if confirm else 0
    workloads, typical = sampled.all, sampled.samples or sampled.extremes
    seconds = [speed.trial_seconds(workload) for workload in typical]
    return PlannedCell(
        cell=sampled.cell.key,
        num_trials=num_trials,
        budget=budget,
        num_replicates=num_replicates,
        num_configurations=num_configurations,
        num_train_images=_min_max([workload.num_train_images for workload in workloads]),
        batch_size=_min_max([workload.batch_size for workload in workloads]),
        steps=_min_max([workload.steps for workload in workloads]),
        epochs=_min_max([workload.epochs for workload in workloads]),
        num_parameters=_min_max([workload.cost.num_parameters for workload in workloads]),
        flops=_min_max([workload.cost.flops for workload in workloads]),
        memory_bytes=_min_max([workload.memory_bytes for workload in workloads]),
        trial_seconds=_min_max([speed.trial_seconds(workload) for workload in workloads]),
        seconds=(num_trials + num_replicates) * sum(seconds) / len(seconds),
        samples=_times_mean(num_trials + num_replicates, [workload.samples for workload in typical]),
        total_flops=_times_mean(num_trials + num_replicates, [workload.total_flops for workload in typical]),
    )


def _disk_use(
    spec: SearchSpec,
    images: Mapping[str | None, Images],
    sampled: Sequence[_SampledCell],
    planned: Sequence[PlannedCell],
    num_slots: int,
) -> DiskUse:
    num_replicates = sum(cell.num_replicates for cell in planned)
    num_trials = num_replicates + sum(cell.num_trials for cell in planned)
    num_reports = max(workload.num_reports for cell in sampled for workload in cell.all)
    largest = max(workload.checkpoint_bytes for cell in sampled for workload in cell.all)
    return DiskUse(
        images=sum(opened.pixels.nbytes + opened.labels.nbytes for opened in images.values()),
        records=num_trials * (_TRIAL_BYTES + num_reports * _REPORT_BYTES) + num_replicates * _INSPECTION_BYTES,
        checkpoints=min(num_slots, num_trials) * KEPT * largest,
        weights=sum(
            _num_models(spec, plan) * max(workload.weights_bytes for workload in cell.all)
            for cell, plan in zip(sampled, planned, strict=True)
        ),
        predictions=_predictions_bytes(spec, sampled, planned),
    )


def _num_models(spec: SearchSpec, cell: PlannedCell) -> int:
    """Return the number of models that a cell keeps."""
    return {"none": 0, "replicates": cell.num_replicates, "best": cell.num_replicates + 1}[spec.keep.weights]


def _predictions_bytes(spec: SearchSpec, sampled: Sequence[_SampledCell], planned: Sequence[PlannedCell]) -> int | None:
    """Return the size of all predictions; None if a dataset is not in the catalog, because no test image is opened."""
    total = 0
    for cell, plan in zip(sampled, planned, strict=True):
        entry = CATALOG.get(spec.data.place_of(cell.cell.dataset))
        if plan.num_replicates and entry is None:
            return None
        total += plan.num_replicates * entry.num_test * bytes_per_image(entry.num_classes) if entry else 0
    return total


def _all_notes(
    spec: SearchSpec, images: Mapping[str | None, Images], sharing: GpuSharing | None, notes: Sequence[str]
) -> tuple[str, ...]:
    """Return `Plan.notes`: a line per dataset that lacks images, the sharing of GPUs, and the other notes."""
    lacking = list_shortages(describe_datasets(spec, images).values())
    parts = specs_by_dataset(spec)
    equal = [line for level, each in images.items() for line in list_partly_equal_values(parts[level], each.labels)]
    return (*lacking, *equal, *([sharing.reason] if sharing else []), *notes)


def _min_max(numbers: Sequence[T]) -> tuple[T, T]:
    return min(numbers), max(numbers)


def _times_mean(count: int, numbers: Sequence[int]) -> int:
    """Return `count` times the mean of the numbers, rounded down; exact if all are equal."""
    return count * sum(numbers) // len(numbers)
